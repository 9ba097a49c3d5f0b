"""An API server in memory with Pods that wait for nodes, and the controller's warming half."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.copies import Copies
from controller.holding.reports import Reports
from controller.owners.mirror import OwnerMirror
from controller.warm.warming import Settings, Warming
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import DEPLOYMENTS, PODS
from tidegate.testing.apiserver import ApiServerDouble

HOST = "registry.test"
GATE = "tidegate.dev/pre-pull"


@dataclass
class Cluster:
    api: ApiServerDouble
    client: KubeClient
    ahead_s: float = 0.0
    """How far the controller's clocks are ahead of the API server's."""

    def wall(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s

    def put(self, api_version: str, kind: str, name: str, *, namespace: str = "", **parts: Any) -> dict[str, Any]:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
        document = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}
        return self.api.put(document, plural=f"{kind.lower()}s")

    def node(self, name: str, **spec: Any) -> str:
        made = self.put("v1", "Node", name, spec=spec, status={"conditions": [{"type": "Ready", "status": "True"}]})
        return str(made["metadata"]["uid"])

    def nodes(self, *names: str) -> None:
        """Nodes whose agents have looked, and found nothing yet."""
        for name in names:
            self.node(name)

    def report(self, node: str, **phases: str) -> None:
        """What the agent on a node says of images, by their names; `Failed` has been tried often enough."""
        uid = next(o["metadata"]["uid"] for o in self.api.objects("", "nodes") if o["metadata"]["name"] == node)
        images = [{"image": f"{HOST}/{name}:1", "phase": phase, "attempts": 3} for name, phase in phases.items()]
        spec = {"nodeUid": uid, "images": [{"image": entry["image"]} for entry in images]}
        status = {"nodeUid": uid, "agent": "a1", "images": images}
        self.put("tidegate.dev/v1alpha1", "NodePull", node, spec=spec, status=status)

    def prepull(self, *names: str) -> None:
        """Somebody asks for images."""
        images = [f"{HOST}/{name}:1" for name in names]
        self.put("tidegate.dev/v1alpha1", "PrePull", "asks", namespace="shop", spec={"images": images})

    def owner(self, kind: str, name: str, **parts: Any) -> dict[str, Any]:
        """Put a workload and return the reference of what it owns to it."""
        group = "batch/v1" if kind == "Job" else "apps/v1"
        made = self.put(group, kind, name, namespace="shop", **parts)
        return {"apiVersion": group, "kind": kind, "name": name, "uid": made["metadata"]["uid"], "controller": True}

    def pod(self, name: str, *images: str, gates: tuple[str, ...] = (GATE,), word: str = "hold", **more: Any) -> None:
        metadata = {"annotations": {GATE: word}, **more.pop("metadata", {})}
        if (owner := more.pop("owner", None)) is not None:
            metadata["ownerReferences"] = [owner]
        containers = [{"name": f"c{n}", "image": f"{HOST}/{image}:1"} for n, image in enumerate(images)]
        spec = {"containers": containers, "schedulingGates": [{"name": gate} for gate in gates], **more}
        self.put("v1", "Pod", name, namespace="shop", metadata=metadata, spec=spec)

    def gates(self) -> dict[str, list[str]]:
        """The gates of every Pod by name."""
        return {
            pod["metadata"]["name"]: [gate["name"] for gate in pod["spec"].get("schedulingGates") or []]
            for pod in self.api.objects("", "pods")
        }

    def held(self) -> set[str]:
        return {name for name, gates in self.gates().items() if GATE in gates}

    def prefers(self, name: str) -> list[str]:
        """The nodes that a Pod prefers by name."""
        pod = next(pod for pod in self.api.objects("", "pods") if pod["metadata"]["name"] == name)
        affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        terms = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
        return [term["preference"]["matchFields"][0]["values"][0] for term in terms]

    def events(self, name: str) -> dict[str, str]:
        """Notes by reason, about what has this name."""
        told = [obj for obj in self.api.objects("events.k8s.io", "events") if obj["regarding"]["name"] == name]
        return {obj["reason"]: obj["note"] for obj in told}

    async def nudge(self, name: str) -> None:
        """Change something about a Pod that is no matter of waiting."""
        patch = {"metadata": {"labels": {"nudged": str(random.random())}}}  # noqa: S311
        await self.client.merge_patch(PODS, name, patch, namespace="shop")

    async def change_deployment(self, name: str, patch: dict[str, Any]) -> None:
        await self.client.merge_patch(DEPLOYMENTS, name, patch, namespace="shop")

    @asynccontextmanager
    async def controlled(self, *, deadline_s: float = 600.0) -> AsyncIterator[None]:
        """The warming half runs while the context lasts."""
        copies, chance = Copies(self.client), random.Random(0)  # noqa: S311  repeatable jitter
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(reflector.run(), name=name) for name, reflector in copies.reflectors()]
            await copies.synced()
            warming = Warming(
                self.client,
                pods=copies.holds.pods,
                namespaces=copies.holds.namespaces,
                pulls=copies.pulls,
                owners=OwnerMirror(copies.holds.replicasets, copies.pulls.workloads),
                settings=Settings(listed=frozenset({HOST}), deadline_s=deadline_s),
                reports=Reports(self.client, instance="test", wall=self.wall, chance=chance),
                wall=self.wall,
                clock=self.clock,
                chance=chance,
            )
            warming.start()
            running += [tasks.create_task(loop(), name=name) for name, loop in warming.loops().items()]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()


async def until(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
    """Wait for what other tasks bring about."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.005)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    return until


@pytest.fixture
def warming_on() -> type[Cluster]:
    """For a cluster that a test has already."""
    return Cluster


@pytest.fixture
async def warm() -> AsyncIterator[Cluster]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        cluster = Cluster(api, client)
        cluster.put("v1", "Namespace", "shop")
        yield cluster
