"""Nodes in memory, a controller that lets them begin, and a wall clock that may be wrong; time is the loop's."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Never

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from controller.nodes.standing import Standing
from controller.nodes.startup import Startup, StartupSettings
from tidegate.kube.errors import Conflict, NotFound, Unavailable
from tidegate.kube.own import NodePull
from tidegate.kube.reflector import OnChange
from tidegate.kube.shapes import Node, ObjectReference
from tidegate.metrics import Metrics
from tidegate.testing.apiserver_objects import strategically_merged

START = datetime(2026, 1, 1, tzinfo=UTC)
TAINT = {"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Copy:
    """What a reflector is to those who read it."""

    objects: dict[str, Any] = field(default_factory=dict)
    told: list[OnChange[Any]] = field(default_factory=list)

    def subscribe(self, on_change: OnChange[Any]) -> Callable[[], None]:
        self.told.append(on_change)
        return lambda: None

    def put(self, name: str, obj: Any) -> None:
        old = self.objects.pop(name, None)
        if obj is not None:
            self.objects[name] = obj
        for tell in self.told:
            tell(name, old, obj)


@dataclass
class Fleet:
    """The nodes, as an API server has them."""

    nodes: Copy = field(default_factory=Copy)
    nodepulls: Copy = field(default_factory=Copy)
    raw: dict[str, dict[str, Any]] = field(default_factory=dict)
    stands: dict[str, Standing] = field(default_factory=dict)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    """Node, reason, note."""
    patches: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), program="controller"))
    versions: Iterator[int] = field(default_factory=count)
    down: bool = False
    """The API server answers no write."""
    wrong_by_s: float = 0.0
    """The controller's wall clock is ahead by this."""

    def add(self, name: str, *taints: dict[str, str], uid: str = "", **standing: Any) -> None:
        created = (START + timedelta(seconds=int(now()))).isoformat().replace("+00:00", "Z")
        uid = uid or f"{name}-uid"
        self._put(name, {
            "metadata": {"name": name, "uid": uid, "creationTimestamp": created}, "spec": {"taints": list(taints)},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        })  # fmt: skip
        self.stand(name, uid=uid, **standing)

    def stand(self, name: str, *, told: bool = False, **standing: Any) -> None:
        """The node stands thus now; `told`: an event says that something changed."""
        uid = self.raw[name]["metadata"]["uid"]
        plain = {"uid": uid, "usable": True, "wanted": 1, "present": 0, "decided": True}
        self.stands[name] = Standing(**(plain | standing))
        if told:
            self.nodepulls.put(name, NodePull())

    def remove(self, name: str) -> None:
        del self.raw[name], self.stands[name]
        self.nodes.put(name, None)

    def taints(self, name: str) -> list[str]:
        return [taint["key"] for taint in self.raw[name]["spec"].get("taints", [])]

    def count(self, state: str) -> float:
        return self.metrics.registry.get_sample_value("tidegate_nodes", {"state": state}) or 0.0

    def _put(self, name: str, raw: dict[str, Any]) -> None:
        raw["metadata"]["resourceVersion"] = str(next(self.versions))
        self.raw[name] = raw
        self.nodes.put(name, msgspec.convert(raw, Node))

    # What the room calls

    async def merge_patch(
        self, resource: Any, name: str, patch: Mapping[str, Any], *, resource_version: str = ""
    ) -> None:
        if resource_version != self.raw[name]["metadata"]["resourceVersion"]:
            raise Conflict("changed")  # noqa: EM101
        await self.strategic_patch(resource, name, msgspec.to_builtins(patch))

    async def strategic_patch(self, _: Any, name: str, patch: Mapping[str, Any], *, subresource: str = "") -> None:
        await asyncio.sleep(0.01)
        if self.down:
            raise Unavailable("down")  # noqa: EM101
        if name not in self.raw:
            raise NotFound("gone")  # noqa: EM101
        assert patch["metadata"]["uid"] == self.raw[name]["metadata"]["uid"]
        self.patches.append((name, patch, subresource))
        self._put(name, strategically_merged(self.raw[name], patch))

    def tell(self, about: ObjectReference, *, reason: str, note: str, **_: Any) -> None:
        self.events.append((about.name, reason, note))

    async def run(self) -> Never:
        await asyncio.Event().wait()
        raise AssertionError

    @asynccontextmanager
    async def led(self, **settings: Any) -> AsyncIterator[Startup]:
        """A controller leads while the context lasts."""
        startup = Startup(
            self,
            nodes=self.nodes,
            nodepulls=self.nodepulls,
            standing=self.stands.get,
            settings=StartupSettings(**settings),
            reports=self,
            metrics=self.metrics,
            wall=lambda: START + timedelta(seconds=now() + self.wrong_by_s),
            clock=now,
            chance=random.Random(0),  # noqa: S311  repeatable jitter
        )
        startup.start()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(loop()) for loop in startup.loops().values()]
            try:
                yield startup
            finally:
                self.nodes.told.clear()
                self.nodepulls.told.clear()
                for task in running:
                    task.cancel()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture(scope="session")
def fleet_of() -> Callable[[], Fleet]:
    """For properties, which need a new one for each example."""
    return Fleet
