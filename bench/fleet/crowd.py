"""The processes that simulate agents."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import ROOT

_LEAVE_S = 60.0


@dataclass(slots=True)
class Said:
    """What all agents together did; seconds of the machine's monotonic clock."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    planned: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


class Crowd:
    """All of them."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process], outs: Sequence[Path]) -> None:
        self._processes = processes
        self._outs = outs

    async def word(self, word: str, *, within_s: float) -> None:
        """Wait until all processes have said this."""
        async with asyncio.timeout(within_s):
            for process in self._processes:
                assert process.stdout is not None
                said = (await process.stdout.readline()).decode().strip()
                if said != word:
                    message = (
                        f"a process of agents said {said!r} in place of {word!r}; its log is {self._outs[0].parent}"
                    )
                    raise RuntimeError(message)

    async def end(self) -> Said:
        """End them, and hear what they did."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        await self.word("written", within_s=_LEAVE_S)
        said = Said()
        for out in self._outs:
            told = json.loads(await asyncio.to_thread(out.read_text))
            said.began += told["began"]
            said.ended += told["ended"]
            said.planned += told["planned"]
            said.cpu_s += told["cpu_s"]
        return said


@asynccontextmanager
async def crowd(
    kubeconfig: Path, folder: Path, *, nodes: int, each: int, images: int, pull_s: float
) -> AsyncIterator[Crowd]:
    """Agents of all nodes, at most `each` in a process."""
    async with AsyncExitStack() as stack:
        processes, outs = list[asyncio.subprocess.Process](), list[Path]()
        for first in range(0, nodes, each):
            out = folder / f"agents-{first}.json"
            numbers = {"first": first, "count": min(each, nodes - first), "images": images, "pull": pull_s}
            arguments = [text for name, value in numbers.items() for text in (f"--{name}", str(value))]
            processes.append(await stack.enter_async_context(_running(kubeconfig, out, arguments)))
            outs.append(out)
        yield Crowd(processes, outs)


@asynccontextmanager
async def _running(kubeconfig: Path, out: Path, arguments: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    with out.with_suffix(".log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.fleet.agents", "--kubeconfig", str(kubeconfig), "--out", str(out), *arguments,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
