"""The agent with a runtime, a plan and a status in memory; nothing here does I/O."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from agent.loop import Agent, Settings
from agent.observed import Neighbours, Patience
from agent.ports import NotReported, PlanGone
from agent.pull import Pulls
from agent.report import Reporter
from agent.sightings import Sightings
from tidegate.cri import Download
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, NodePull, NodePullSpec, NodePullStatus, Phase
from tidegate.kube.reflector import Pauses
from tidegate.kube.shapes import Metadata
from tidegate.kube.times import milli_time
from tidegate.metrics import Metrics
from tidegate.reference import Digest

EPOCH = datetime(2026, 11, 24, 12, tzinfo=UTC)
LISTED = frozenset({"registry.test"})
NODE_UID = "uid-of-node-1"


def now() -> datetime:
    """The wall clock: it follows the loop's."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


class FakeRuntime:
    """Pulls end when a test says so."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.looked: list[str] = []
        self.pulled: list[str] = []
        self.canceled: list[str] = []
        self.broken: Exception | None = None
        self.keeps = True
        self._pulling: dict[str, asyncio.Future[None]] = {}

    @property
    def pulling(self) -> set[str]:
        return set(self._pulling)

    async def present(self, image: str) -> bool:
        self.looked.append(image)
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        return image in self.here

    async def pull(self, image: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the protocol's own
        assert timeout > 0
        self.pulled.append(image)
        self._pulling[image] = asyncio.get_running_loop().create_future()
        try:
            await self._pulling[image]
        except asyncio.CancelledError:
            self.canceled.append(image)
            raise
        finally:
            del self._pulling[image]
        if self.keeps:
            self.here.add(image)
        return "sha256:ref"

    def finish(self, image: str, error: Exception | None = None) -> None:
        if error is None:
            self._pulling[image].set_result(None)
        else:
            self._pulling[image].set_exception(error)


class FakeDownloads:
    """What a test says is under way."""

    def __init__(self) -> None:
        self.under_way: list[Download] = []
        self.manifests: dict[str, bytes] = {}
        self.broken: Exception | None = None

    async def downloads(self) -> list[Download]:
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        return list(self.under_way)

    async def manifest(self, digest: Digest) -> bytes | None:
        await asyncio.sleep(0)
        return self.manifests.get(digest)


class FakeDisk:
    def __init__(self) -> None:
        self.free = 10**15
        self.asked: list[int] = []

    async def shortfall(self, need: int) -> str:
        self.asked.append(need)
        await asyncio.sleep(0)
        return "" if need <= self.free else f"needs {need}, and {self.free} are free"


class FakePlans:
    def __init__(self) -> None:
        self.uid = NODE_UID
        self.uid_reads = 0
        self._plan: NodePull | None = None
        self._revision = 0
        self._moved = asyncio.Event()

    def current(self) -> NodePull | None:
        return self._plan

    async def changed(self, since: int) -> int:
        while self._revision <= since:
            await self._moved.wait()
            self._moved.clear()
        return self._revision

    async def node_uid(self) -> str:
        self.uid_reads += 1
        return self.uid

    def put(self, plan: NodePull | None) -> None:
        self._plan = plan
        self._revision += 1
        self._moved.set()


class FakeSink:
    """What is written shows in the plan, as at an API server."""

    def __init__(self, plans: FakePlans) -> None:
        self._plans = plans
        self.written: list[NodePullStatus] = []
        self.away = False
        self.gone = False
        self.tries = 0

    async def write(self, status: NodePullStatus) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        if self.away:
            message = "connection refused"
            raise NotReported(message)
        if self.gone:
            message = "404"
            raise PlanGone(message)
        self.written.append(status)
        plan = self._plans.current()
        if plan is not None:
            self._plans.put(msgspec.structs.replace(plan, status=status))


@dataclass
class World:
    runtime: FakeRuntime
    plans: FakePlans
    sink: FakeSink
    metrics: Metrics
    downloads: FakeDownloads = field(default_factory=FakeDownloads)
    disk: FakeDisk = field(default_factory=FakeDisk)
    agent: Agent = field(init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    generation: int = 0
    plan_uid: str = "plan-1"

    def plan(self, *images: NodeImage, node_uid: str = NODE_UID, status: NodePullStatus | None = None) -> NodePull:
        """The controller writes this spec."""
        self.generation += 1
        plan = NodePull(
            metadata=Metadata(name="node-1", uid=self.plan_uid, generation=self.generation),
            spec=NodePullSpec(node_uid=node_uid, images=list(images)),
            status=status or (self.sink.written[-1] if self.sink.written else NodePullStatus()),
        )
        self.plans.put(plan)
        return plan

    @staticmethod
    def granted(image: str, grant: str, *, seconds: float = 600.0, expires_s: float = 60.0, size: int = 0) -> NodeImage:
        """Leave to pull, from now."""
        expires = milli_time(now() + timedelta(seconds=expires_s))
        return NodeImage(image=image, bytes=size, grant=Grant(id=grant, expires_at=expires, seconds=seconds))

    @staticmethod
    def wanted(image: str) -> NodeImage:
        """Leave to look."""
        return NodeImage(image=image)

    async def settle(self, seconds: float = 0.01) -> None:
        """Let everything happen that happens within these (virtual) seconds."""
        await asyncio.sleep(seconds)

    def said(self, image: str) -> NodeImageStatus:
        """The last word on an image."""
        return next(each for each in self.sink.written[-1].images if each.image == image)

    def phases(self, image: str) -> list[Phase]:
        """The phases that were reported, in order, without repetitions."""
        phases: list[Phase] = []
        for status in self.sink.written:
            for each in status.images:
                if each.image == image and phases[-1:] != [each.phase]:
                    phases.append(each.phase)
        return phases


StartAgent = Callable[..., World]


@pytest.fixture
async def start() -> AsyncIterator[StartAgent]:
    """Starts an agent that may pull from registry.test."""
    worlds: list[World] = []

    def starting(*, settings: Settings | None = None) -> World:
        metrics = Metrics(CollectorRegistry(), program="agent")
        plans = FakePlans()
        world = World(FakeRuntime(), plans, FakeSink(plans), metrics)
        patience = Patience()
        world.agent = Agent(
            plans=world.plans,
            store=world.runtime,
            pulls=Pulls(world.runtime, world.downloads, metrics=metrics, wall=now, patience=patience),
            neighbours=Neighbours(world.downloads, patience=patience),
            disk=world.disk,
            sightings=Sightings(metrics=metrics),
            reporter=Reporter(world.sink, pauses=Pauses(first=1, most=10)),
            listed=LISTED,
            nonce="nonce-1",
            wall=now,
            settings=settings or Settings(),
        )
        world.task = asyncio.create_task(world.agent.run(world.stopping), name="agent")
        worlds.append(world)
        return world

    yield starting
    for world in worlds:
        world.stopping.set()
        if world.task is not None:
            await world.task
