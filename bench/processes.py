"""Child processes: where they run, what they use, and their end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PROC = Path("/proc")
_LISTEN_S = 20.0
_LEAVE_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where; None where that cannot be chosen."""

    server: int | None
    load: int | None

    @classmethod
    def available(cls) -> "Cores":
        """The first two cores of those that this process may use."""
        allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


@dataclass(frozen=True, slots=True)
class Child:
    """A program under measurement."""

    pid: int
    port: int

    def cpu_s(self) -> float | None:
        """User and system time so far, of all its threads; None where there is no /proc."""
        try:
            fields = (_PROC / str(self.pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float | None:
        """Resident memory in 10^6 bytes."""
        try:
            pages = int((_PROC / str(self.pid) / "statm").read_text().split()[1])
        except OSError:
            return None
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def pin(core: int | None) -> None:
    """This process stays on that core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


@asynccontextmanager
async def running(
    module: str, arguments: Sequence[str], *, port: int, core: int | None, log: Path
) -> AsyncIterator[Child]:
    """`python -m module arguments` on one core, its standard error in a file, while the block runs."""
    with log.open("w+b") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, cwd=ROOT, stdout=errors, stderr=errors,
            preexec_fn=lambda: pin(core),  # one thread so far, and it only sets a mask
        )  # fmt: skip
    try:
        async with asyncio.timeout(_LISTEN_S):
            while not await _listens(port):
                if process.returncode is not None:
                    said = await asyncio.to_thread(log.read_bytes)
                    message = f"{module} ended with {process.returncode}: {said[:2000].decode(errors='replace')}"
                    raise RuntimeError(message)
                await asyncio.sleep(_POLL_S)
        yield Child(process.pid, port)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_LEAVE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
