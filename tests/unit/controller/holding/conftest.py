"""An API server in memory with held Pods, replicas that answer as they are told, and the controller's holding half."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controller.holding.holds import Holds
from controller.holding.judge import Rules
from controller.holding.mirror import HoldMirror
from controller.holding.polls import Checker
from controller.holding.reports import Reports
from controller.images.images import Images, Sources
from controller.images.mirror import ImageMirror
from controller.owners.mirror import OwnerMirror
from controller.owners.wakes import Wakes
from tidegate.config.registries import LimitsConfig, ReplicaConfig
from tidegate.findings import Finding, ImageFinding, Missing, Mode, ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.own import REPLICA_GATE, RETRIED_ANNOTATION
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import DAEMONSETS, DEPLOYMENTS, JOBS, PODS, PREPULLS, STATEFULSETS
from tidegate.metrics import Metrics
from tidegate.policy import Policy, Settings
from tidegate.pull_secrets import PullSecrets
from tidegate.reference import ImageReference
from tidegate.registry.client import ReplicaClient
from tidegate.replicas import RegistryReplicas, Replica
from tidegate.replicas.circuit import Circuit
from tidegate.testing.apiserver import ApiServerDouble

HOST = "r.example"
DIGEST = "sha256:" + "a" * 64
LACKING = Missing(blobs=3, of_blobs=12, bytes=1_100_000_000)
ENFORCED = Policy(Settings(mode=Mode.ENFORCE))


def pinned(name: str) -> str:
    return f"{HOST}/{name}@{DIGEST}"


@dataclass
class Replicas:
    """Findings by repository path; whatever was not told is absent."""

    findings: dict[str, Finding] = field(default_factory=dict)
    retry_after_s: float | None = None
    asked: Counter[str] = field(default_factory=Counter)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        assert deadline > asyncio.get_running_loop().time()
        self.asked[reference.path] += 1
        await asyncio.sleep(0)
        answer = self._answer(reference)
        return ImageFinding(
            image, answer.finding, digest=reference.digest, replica="westeurope", missing=answer.missing,
            retry_after_s=self.retry_after_s, replicas=(answer,),
        )  # fmt: skip

    async def survey(
        self,
        reference: ImageReference,
        replicas: Sequence[Replica],
        *,
        deadline: float,
        fresh: bool = False,
    ) -> Sequence[ReplicaFinding]:
        """Of images in use; not counted as asked for held Pods."""
        assert deadline > asyncio.get_running_loop().time() or fresh
        return [self._answer(reference) for _ in replicas]

    def _answer(self, reference: ImageReference) -> ReplicaFinding:
        finding = self.findings.get(reference.path, Finding.ABSENT)
        missing = LACKING if finding is Finding.INCOMPLETE else Missing()
        return ReplicaFinding("westeurope", finding, missing=missing)


def registry(metrics: Metrics) -> RegistryReplicas:
    """One whose only replica is never really called."""
    now = asyncio.get_running_loop().time
    client = ReplicaClient(
        registry=HOST, name="westeurope", config=ReplicaConfig(endpoint="http://127.0.0.1:1"), auth=(), token_hosts=(),
        limits=LimitsConfig(), metrics=metrics,
    )  # fmt: skip
    replica = Replica(client, circuit=Circuit(now=now), metrics=metrics, now=now)
    return RegistryReplicas(HOST, home=replica, local=(replica,), failover=())


@dataclass
class Cluster:
    api: ApiServerDouble
    client: KubeClient
    replicas: Replicas = field(default_factory=Replicas)
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), program="controller"))
    ahead_s: float = 0.0
    """How far the controller's clock on the wall is ahead of the API server's."""

    def wall(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def pod(self, name: str, *images: str, gates: tuple[str, ...] = (REPLICA_GATE,), **more: Any) -> None:
        containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
        metadata = {"name": name, "namespace": more.pop("namespace", "default"), **more.pop("metadata", {})}
        spec = {"containers": containers, "schedulingGates": [{"name": gate} for gate in gates], **more}
        self.api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, plural="pods")

    def owner(self, kind: str, name: str, **parts: Any) -> dict[str, Any]:
        """Put a workload (`spec`, `status`, `metadata`) and return the reference of a Pod to it."""
        group, plural = ("batch/v1", "jobs") if kind == "Job" else ("apps/v1", f"{kind.lower()}s")
        metadata = {"name": name, "namespace": "default", **parts.pop("metadata", {})}
        made = self.api.put({"apiVersion": group, "kind": kind, "metadata": metadata, **parts}, plural=plural)
        return {"apiVersion": group, "kind": kind, "name": name, "uid": made["metadata"]["uid"], "controller": True}

    def woken(self) -> set[str]:
        """Names of the workloads that were woken."""
        collections = (("apps", "replicasets"), ("apps", "statefulsets"), ("apps", "daemonsets"), ("batch", "jobs"))
        return {
            obj["metadata"]["name"]
            for group, plural in collections
            for obj in self.api.objects(group, plural)
            if RETRIED_ANNOTATION in obj["metadata"].get("annotations", {})
        }

    def namespace(self, name: str, **labels: str) -> None:
        metadata = {"name": name, "labels": {key.replace("__", "/"): value for key, value in labels.items()}}
        self.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, plural="namespaces")

    def gates(self) -> dict[str, list[str]]:
        """The gates of every Pod by name."""
        return {
            pod["metadata"]["name"]: [gate["name"] for gate in pod["spec"].get("schedulingGates") or []]
            for pod in self.api.objects("", "pods")
        }

    def held(self) -> set[str]:
        return {name for name, gates in self.gates().items() if REPLICA_GATE in gates}

    def events(self, pod: str) -> dict[str, str]:
        """Notes by reason, in the order in which they were told."""
        told = [obj for obj in self.api.objects("events.k8s.io", "events") if obj["regarding"]["name"] == pod]
        return {obj["reason"]: obj["note"] for obj in sorted(told, key=lambda obj: str(obj["eventTime"]))}

    def patches(self) -> int:
        return sum(seen.method == "PATCH" and "/pods/" in seen.path for seen in self.api.requests)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def nudge(self, name: str) -> None:
        """Change something about a Pod that is no matter of holding."""
        patch = {"metadata": {"annotations": {"nudged": str(random.random())}}}  # noqa: S311
        await self.client.merge_patch(PODS, name, patch, namespace="default")

    @asynccontextmanager
    async def controlled(
        self, policy: Policy = ENFORCED, *, checker: Checker | None = None, pull_secrets: Iterable[str] = ()
    ) -> AsyncIterator[Holds]:
        """The holding half runs while the context lasts. `pull_secrets`: the namespaces where they count."""
        mirror, chance = HoldMirror(self.client), random.Random(0)  # noqa: S311  repeatable jitter
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(reflector.run(), name=name) for name, reflector in mirror.reflectors()]
            await mirror.synced()
            workloads = {one: Reflector(self.client, one) for one in (DEPLOYMENTS, STATEFULSETS, DAEMONSETS, JOBS)}
            running += [tasks.create_task(one.run(), name="owners") for one in workloads.values()]
            for one in workloads.values():
                await one.synced.wait()
            tenants, listed = PullSecrets(self.client), frozenset(pull_secrets)
            running.append(tasks.create_task(tenants.run(lambda: listed), name="pull secrets"))
            holds_rules = Rules(policy, frozenset({HOST}), {HOST: listed} if listed else {})
            owners = OwnerMirror(mirror.replicasets, workloads)
            placed, prepulls = ImageMirror(self.client).placed, Reflector(self.client, PREPULLS)
            running += [tasks.create_task(one.run(), name="uses") for one in (placed, prepulls)]
            sources = Sources(
                placed=placed,
                pending=mirror.pods,
                workloads=workloads,
                prepulls=prepulls,
                availabilities=mirror.availabilities,
            )
            await sources.synced()
            images = Images(
                self.client,
                sources,
                surveyor=self.replicas,
                registries={HOST: registry(self.metrics)},
                limits={HOST: LimitsConfig()},
                pulls=SimpleNamespace(room_s=lambda _: 0.0, asking=lambda *_: None),  # nobody pulls here
                metrics=self.metrics,
                wall=self.wall,
                clock=asyncio.get_running_loop().time,
                chance=chance,
            )
            holds = Holds(
                self.client,
                pods=mirror.pods,
                namespaces=mirror.namespaces,
                availabilities=mirror.availabilities,
                owners=owners,
                rules=holds_rules,
                checker=checker or self.replicas,
                tenant=tenants.tenant,
                reports=Reports(self.client, instance="test", wall=self.wall, chance=chance),
                on_finding=images.found,
                metrics=self.metrics,
                wall=self.wall,
                clock=asyncio.get_running_loop().time,
                chance=chance,
            )
            wakes = Wakes(
                self.client,
                owners=owners,
                availabilities=mirror.availabilities,
                namespaces=mirror.namespaces,
                rules=holds_rules,
                wall=self.wall,
                clock=asyncio.get_running_loop().time,
                chance=chance,
            )
            images.start()
            holds.start()
            wakes.start()
            loops = {**images.loops(), **holds.loops(), **wakes.loops()}
            running += [tasks.create_task(loop(), name=name) for name, loop in loops.items()]
            try:
                yield holds
            finally:
                for task in running:
                    task.cancel()


@pytest.fixture
async def held() -> AsyncIterator[Cluster]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        yield Cluster(api, client)
