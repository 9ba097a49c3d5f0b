"""The shipped programs as child processes: started, waited for, and ended by their own pid."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

END_S = 5.0
_POLL_S = 0.05
_EVIDENCE_BYTES = 2000


class ProgramFailed(Exception):
    """A program of the demo ended, or did not become ready; the text has the end of its log."""

    def __init__(self, name: str, words: str, log: Path) -> None:
        tail = log.read_bytes()[-_EVIDENCE_BYTES:].decode(errors="replace")
        super().__init__(f"{name} {words}\n{tail}")


class Program:
    """One running program; its log lies in a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
        """Wait for a condition while the program lives. Raises ProgramFailed."""
        try:
            async with asyncio.timeout(within_s):
                while not await holds():
                    if self._process.returncode is not None:
                        raise ProgramFailed(
                            self.name, f"ended with code {self._process.returncode} before: {what}", self._log
                        )
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as exc:
            raise ProgramFailed(self.name, f"not after {within_s:g} s: {what}", self._log) from exc

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def end(self) -> None:
        """SIGTERM, and SIGKILL for what does not listen."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(END_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()


@asynccontextmanager
async def program(module: str, *arguments: str, name: str, folder: Path) -> AsyncIterator[Program]:
    """`python -m MODULE ARGUMENTS…` for as long as the block runs."""
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
    running = Program(name, process, log)
    try:
        yield running
    finally:
        await running.end()
