"""Twelve nodes that have nothing yet: their runtimes, and how far each is."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from tidegate.cli.demo.result import ScaleOutResult
from tidegate.cli.demo.scene import BANDWIDTH, HOST, NODES, REPOSITORY, throttle
from tidegate.cri.client import CriImages
from tidegate.testing.images import Image
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.runtime import RuntimeDouble

_LOOK_S = 0.05


class State(StrEnum):
    """What a node is doing."""

    COLD = "cold"
    PULLING = "pulling"
    THROTTLED = "throttled"
    """The registry refused; the node waits before it tries again."""
    WARM = "warm"


@dataclass(slots=True)
class DemoNode:
    """One node as the screen shows it."""

    name: str
    state: State = State.COLD
    tries: int = 0
    warm_s: float | None = None


@dataclass(slots=True)
class Fleet:
    """Twelve nodes and the replica that they pull from; the clock starts when they want the image."""

    title: str
    replica: RegistryDouble
    runtimes: Mapping[str, CriImages]
    sockets: Mapping[str, str]
    nodes: Mapping[str, DemoNode] = field(default_factory=lambda: {name: DemoNode(name) for name in NODES})
    began: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """Since the clock started; it stops with the last node, or at the cut-off."""
        if self.began is None:
            return 0.0
        return (self.ended or asyncio.get_running_loop().time()) - self.began

    @property
    def warm(self) -> int:
        return sum(node.warm_s is not None for node in self.nodes.values())

    def result(self) -> ScaleOutResult:
        return ScaleOutResult(self.warm, len(self.nodes), round(self.seconds, 2), self.replica.throttled)

    async def watch(self, image: str, *, within_s: float) -> None:
        """Start the clock, ask every runtime whether the image is there, and stop it when all say so, or in the end."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        try:
            async with asyncio.timeout(within_s):
                while self.warm < len(self.nodes):
                    await asyncio.sleep(_LOOK_S)
                    await self._look(image)
        except TimeoutError:
            pass  # shown as it stands
        self.ended = loop.time()

    async def _look(self, image: str) -> None:
        cold = [node for node in self.nodes.values() if node.warm_s is None]
        present = await asyncio.gather(*(self.runtimes[node.name].present(image) for node in cold))
        for node, there in zip(cold, present, strict=True):
            if there:
                node.state, node.warm_s = State.WARM, self.seconds


@asynccontextmanager
async def open_fleet(title: str, image: Image) -> AsyncIterator[Fleet]:
    """A replica that has the image and limits who takes it, and twelve runtimes without it."""
    async with AsyncExitStack() as stack:
        replica = await stack.enter_async_context(RegistryDouble())
        replica.put(REPOSITORY, image, tag="1")
        replica.fault(throttle=throttle(), bandwidth=BANDWIDTH)
        runtimes: dict[str, CriImages] = {}
        sockets: dict[str, str] = {}
        for name in NODES:
            runtime = await stack.enter_async_context(RuntimeDouble(registries={HOST: replica.url}))
            runtimes[name] = await stack.enter_async_context(CriImages(runtime.socket))
            sockets[name] = runtime.socket
        yield Fleet(title, replica, runtimes, sockets)
