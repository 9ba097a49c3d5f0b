"""A cluster in memory with nodes whose agents do what they are told, and the controller that tells them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controller.budget import Limits
from controller.core import Controller, Settings
from controller.granted import Cost
from controller.mirror import Mirror
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import NotFound, Unavailable
from tidegate.kube.own import NodePull
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NODEPULLS, Resource
from tidegate.metrics import Metrics
from tidegate.registry.errors import RegistryError
from tidegate.testing.apiserver import ApiServerDouble

HOST = "registry.test"
ASKS = {"tidegate.dev/pre-pull": "true"}


@dataclass
class FixedCosts:
    """Costs that are simply known, of a registry that answers as it is told to."""

    by_image: dict[str, Cost] = field(default_factory=dict)
    default: Cost = field(default_factory=lambda: Cost(requests=1, bytes=1_000_000))
    refusal: RegistryError | None = None
    """What a HEAD is answered with."""
    looks: list[str] = field(default_factory=list)
    left_alone: list[tuple[str, float]] = field(default_factory=list)
    own: int = 0
    """Requests that the controller has sent for other purposes."""

    async def cost(self, image: str) -> Cost:
        return self.by_image.get(image, self.default)

    async def look(self, image: str) -> None:
        self.looks.append(image)
        if self.refusal is not None:
            raise self.refusal

    def sent(self, host: str) -> int:
        del host
        return self.own

    def leave_alone(self, host: str, seconds: float) -> None:
        self.left_alone.append((host, seconds))


@dataclass
class Agents:
    """Every node's agent in one: looks, pulls for `seconds`, reports. `script` may make a pull end otherwise."""

    client: KubeClient
    seconds: float = 0.01
    script: Callable[[str, str], dict[str, Any] | None] = lambda _node, _image: None
    present: set[tuple[str, str]] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    """Nodes whose agent says nothing."""
    gate: asyncio.Event | None = None
    """No pull ends before it is set."""
    begun: list[tuple[float, str, str]] = field(default_factory=list)
    """Loop time, node, image of every pull that was begun."""
    running: int = 0
    peak: int = 0
    _answered: dict[tuple[str, str], str] = field(default_factory=dict)
    _entries: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def run(self) -> None:
        reflector: Reflector[NodePull] = Reflector(self.client, NODEPULLS)
        async with asyncio.TaskGroup() as tasks:
            reflector.subscribe(lambda _key, _old, new: self._take(tasks, new))
            await reflector.run()

    def _take(self, tasks: asyncio.TaskGroup, nodepull: NodePull | None) -> None:
        if nodepull is None or nodepull.metadata.name in self.deaf:
            return
        name = nodepull.metadata.name
        entries = self._entries.setdefault(name, {})
        news = nodepull.status.node_uid != nodepull.spec.node_uid
        for image in nodepull.spec.images:
            grant = image.grant.id if image.grant else ""
            if image.image not in entries:
                phase = "Present" if (name, image.image) in self.present else "Pending"
                entries[image.image] = {"image": image.image, "phase": phase}
                news = True
            if grant and self._answered.get((name, image.image)) != grant:
                self._answered[name, image.image] = grant
                tasks.create_task(self._pull(name, image.image, grant, nodepull.spec.node_uid))
        if news:
            tasks.create_task(self._report(name, nodepull.spec.node_uid))

    async def _pull(self, node: str, image: str, grant: str, uid: str) -> None:
        entry = self._entries[node][image]
        self.begun.append((asyncio.get_running_loop().time(), node, image))
        self.running += 1
        self.peak = max(self.peak, self.running)
        entry |= {"phase": "Pulling", "grant": grant, "startedAt": "2026-01-01T00:00:00Z"}
        await self._report(node, uid)
        await asyncio.sleep(self.seconds)
        if self.gate is not None:
            await self.gate.wait()
        self.running -= 1
        outcome = self.script(node, image) or {"phase": "Present"}
        entry |= {"reason": "", "throttled": False} | outcome
        if outcome["phase"] == "Present":
            self.present.add((node, image))
        await self._report(node, uid)

    async def _report(self, node: str, uid: str) -> None:
        async with self._locks.setdefault(node, asyncio.Lock()):
            while True:
                status = {"nodeUid": uid, "agent": "a1", "images": list(self._entries.get(node, {}).values())}
                try:
                    await self.client.merge_patch(NODEPULLS, node, {"status": status}, subresource="status")
                except NotFound:
                    return
                except Unavailable:
                    await asyncio.sleep(0.01)
                else:
                    return

    def forget(self, node: str) -> None:
        """The machine is gone, with all that it had."""
        self.present = {(name, image) for name, image in self.present if name != node}
        self._entries.pop(node, None)


@dataclass
class Cluster:
    """An API server, a controller on it as often as wanted, and agents."""

    api: ApiServerDouble
    client: KubeClient
    agents: Agents
    costs: FixedCosts = field(default_factory=FixedCosts)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), program="controller"))
    _serial: Any = field(default_factory=count)

    def node(self, name: str, **more: Any) -> None:
        spec, labels = more.get("spec", {}), more.get("labels", {})
        ready = [{"type": "Ready", "status": more.get("ready", "True")}]
        self.api.put(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
             "spec": spec, "status": {"conditions": ready}},
            plural="nodes",
        )  # fmt: skip

    def deployment(self, name: str, *images: str, annotations: dict[str, str] | None = None, **pod: Any) -> None:
        containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
        self.api.put(
            {"apiVersion": "apps/v1", "kind": "Deployment",
             "metadata": {"name": name, "namespace": "default", "annotations": annotations or ASKS},
             "spec": {"template": {"spec": {"containers": containers, **pod}}}},
            plural="deployments",
        )  # fmt: skip

    async def change(self, resource: Resource[Any], name: str, patch: dict[str, Any], namespace: str = "") -> None:
        await self.client.merge_patch(resource, name, patch, namespace=namespace)

    def writes(self) -> int:
        return sum(seen.method != "GET" for seen in self.api.requests)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def prepull(self, name: str, *images: str, namespace: str = "default", **spec: Any) -> None:
        self.api.put(
            {"apiVersion": "tidegate.dev/v1alpha1", "kind": "PrePull",
             "metadata": {"name": name, "namespace": namespace}, "spec": {"images": list(images), **spec}},
            plural="prepulls",
        )  # fmt: skip

    def nodepulls(self) -> dict[str, dict[str, Any]]:
        return {obj["metadata"]["name"]: obj for obj in self.api.objects("tidegate.dev", "nodepulls")}

    def prepulls(self) -> dict[str, dict[str, Any]]:
        return {obj["metadata"]["name"]: obj for obj in self.api.objects("tidegate.dev", "prepulls")}

    def warm(self) -> int:
        return len(self.agents.present)

    @asynccontextmanager
    async def controlled(self, limits: Limits, *, per_node: int = 1) -> AsyncIterator[Controller]:
        """A controller runs while the context lasts."""
        mirror = Mirror(self.client)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(reflector.run(), name=name) for name, reflector in mirror.reflectors()]
            await mirror.synced()
            controller = Controller(
                self.client,
                mirror,
                settings=Settings(limits={HOST: limits}, per_node=per_node, status_s=0.01),
                costs=self.costs,
                metrics=self.metrics,
                wall=lambda: datetime.now(UTC),
                new_id=lambda: f"grant-{next(self._serial)}",
                chance=random.Random(0),  # noqa: S311  repeatable jitter
            )
            controller.start()
            running += [tasks.create_task(loop(), name=name) for name, loop in controller.loops().items()]
            try:
                yield controller
            finally:
                for task in running:
                    task.cancel()


async def until(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
    """Wait for what other tasks bring about."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return until


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        made = Cluster(api, client, Agents(client))
        agents = asyncio.create_task(made.agents.run(), name="agents")
        try:
            yield made
        finally:
            agents.cancel()
            await asyncio.wait([agents])
