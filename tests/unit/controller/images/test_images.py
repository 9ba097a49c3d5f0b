"""The whole room on an API server in memory: Pods, workloads and PrePulls come and go, the objects follow."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controller.copies import Copies
from controller.images.images import Images, Sources
from tidegate.config.registries import LimitsConfig, ReplicaConfig
from tidegate.findings import Finding, ImageFinding, Missing, ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import DEPLOYMENTS, IMAGEAVAILABILITIES, PODS
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.client import ReplicaClient
from tidegate.replicas import RegistryReplicas, Replica
from tidegate.replicas.circuit import Circuit
from tidegate.testing.apiserver import ApiServerDouble

HOST = "r.example"
DIGEST = "sha256:" + "a" * 64
APP = f"{HOST}/app@{DIGEST}"
LACKING = Missing(blobs=3, of_blobs=12, bytes=7)


class NoPulls:
    def room_s(self, host: str) -> float:
        assert host == HOST
        return 0.0

    def asking(self, host: str, requests: int) -> None:
        assert (host, requests > 0) == (HOST, True)


@dataclass
class Cluster:
    api: ApiServerDouble
    client: KubeClient
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """By replica and repository; whatever was not told is there."""
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry(), program="controller"))
    ahead: timedelta = timedelta(0)
    """Of the controller's clock on the wall."""

    def wall(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def survey(
        self, reference: ImageReference, replicas: Sequence[Replica], *, deadline: float, fresh: bool = False
    ) -> Sequence[ReplicaFinding]:
        assert deadline > 0 or fresh
        return [self.answer(replica.name, reference) for replica in replicas]

    def answer(self, replica: str, reference: ImageReference) -> ReplicaFinding:
        finding = self.findings.get((replica, reference.path), Finding.OK)
        return ReplicaFinding(replica, finding, missing=LACKING if finding is Finding.INCOMPLETE else Missing())

    def pod(self, name: str, *images: str, phase: str = "Pending", node: str = "node-1", **more: Any) -> None:
        containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
        spec = {"containers": containers, **({"nodeName": node} if node else {}), **more}
        metadata = {"name": name, "namespace": "shop"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}
        self.api.put(pod, plural="pods")

    def deployment(self, name: str, image: str) -> None:
        spec = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}
        metadata = {"name": name, "namespace": "shop"}
        self.api.put(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}, plural="deployments"
        )

    def prepull(self, name: str, image: str) -> None:
        metadata = {"name": name, "namespace": "shop"}
        prepull = {"apiVersion": "tidegate.dev/v1alpha1", "kind": "PrePull", "metadata": metadata}
        self.api.put(prepull | {"spec": {"images": [image]}}, plural="prepulls")

    def objects(self) -> dict[str, dict[str, Any]]:
        """What is written, by image."""
        return {obj["spec"]["image"]: obj for obj in self.api.objects("tidegate.dev", "imageavailabilities")}

    def status(self, image: str) -> dict[str, Any]:
        status: dict[str, Any] = self.objects().get(image, {}).get("status", {})
        return status

    def namespaces(self, image: str) -> dict[str, bool]:
        """Whether it is still used, by namespace."""
        return {use["name"]: "unusedSince" not in use for use in self.status(image).get("namespaces", ())}

    def writes(self) -> int:
        return sum("imageavailabilities" in seen.path and seen.method != "GET" for seen in self.api.requests)

    def counted(self, images: Images) -> dict[str, float | None]:
        """Images in use that are unavailable, by replica."""
        images.count()
        sample, name = self.metrics.registry.get_sample_value, "tidegate_images_unavailable"
        return {one: sample(name, {"registry": HOST, "replica": one}) for one in ("home", "west")}

    def _registry(self) -> RegistryReplicas:
        now = asyncio.get_running_loop().time
        home, west = (
            Replica(
                ReplicaClient(
                    registry=HOST, name=name, config=ReplicaConfig(endpoint="http://127.0.0.1:1"), auth=(),
                    token_hosts=(), limits=LimitsConfig(), metrics=self.metrics,
                ),
                circuit=Circuit(now=now), metrics=self.metrics, now=now,
            )
            for name in ("home", "west")
        )  # fmt: skip
        return RegistryReplicas(HOST, home=home, local=(west,), failover=())

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Images]:
        """The room runs while the context lasts."""
        copies = Copies(self.client)
        sources = Sources(
            placed=copies.images.placed, pending=copies.holds.pods, workloads=copies.pulls.workloads,
            prepulls=copies.pulls.prepulls, availabilities=copies.holds.availabilities,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(reflector.run()) for _, reflector in copies.reflectors()]
            await sources.synced()
            images = Images(
                self.client, sources, surveyor=self, registries={HOST: self._registry()},
                limits={HOST: LimitsConfig()}, pulls=NoPulls(), metrics=self.metrics, wall=self.wall,
                clock=asyncio.get_running_loop().time, chance=random.Random(0),  # noqa: S311  repeatable jitter
            )  # fmt: skip
            images.start()
            running += [tasks.create_task(loop()) for loop in images.loops().values()]
            try:
                yield images
            finally:
                for task in running:
                    task.cancel()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, plural="namespaces")
        yield Cluster(api, client)


async def until(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.005)


async def test_whatever_names_an_image_gives_it_an_object(cluster: Cluster) -> None:
    cluster.pod("placed", f"{HOST}/placed:1", ephemeralContainers=[{"name": "e", "image": f"{HOST}/debug:1"}])
    cluster.pod("gated", f"{HOST}/gated:1", node="")
    async with cluster.followed():
        cluster.deployment("web", f"{HOST}/deployment:1")
        cluster.prepull("soon", f"{HOST}/prepull:1")
        cluster.pod("foreign", "nginx", "UPPER/case:no:reference")
        wanted = {f"{HOST}/{name}:1" for name in ("placed", "debug", "gated", "deployment", "prepull")} | {"nginx"}
        await until(lambda: set(cluster.objects()) == wanted)
        await until(lambda: all(len(cluster.status(one).get("replicas", ())) == 2 for one in wanted - {"nginx"}))
        spec = cluster.objects()["nginx"]["spec"]
        assert spec == {"registry": "docker.io", "repository": "library/nginx", "tag": "latest", "image": "nginx"}
        assert cluster.status("nginx").get("replicas", []) == []


async def test_thirty_pods_of_one_image_are_one_object_written_as_seldom_as_can_be(cluster: Cluster) -> None:
    cluster.findings["west", "app"] = Finding.INCOMPLETE
    async with cluster.followed() as images:
        for number in range(30):
            cluster.pod(f"p{number}", APP)
        await until(lambda: cluster.status(APP).get("missingOn") == "west")
        await until(lambda: cluster.status(APP).get("completeOn") == "home")
        await until(lambda: cluster.counted(images) == {"home": 0, "west": 1})
        for number in range(30):
            cluster.pod(f"p{number}", APP, phase="Running")
        await until(lambda: cluster.namespaces(APP) == {"shop": True})
        written = cluster.writes()
        assert written <= 5, "made; what each replica said; that it runs"
        failing = ReplicaFinding("west", Finding.UNREACHABLE)
        for _ in range(5):
            images.found(ImageFinding(APP, failing.finding, replicas=(failing,)), ImageReference.parse(APP))
            await asyncio.sleep(0.01)
        for number in range(30):
            cluster.pod(f"p{number}", APP, phase="Succeeded")
        await asyncio.sleep(0.05)
        assert cluster.writes() == written


async def test_an_image_that_arrives_and_one_that_is_lost(cluster: Cluster) -> None:
    cluster.findings["west", "app"] = Finding.INCOMPLETE
    cluster.pod("a", APP, phase="Running")
    async with cluster.followed() as images:
        await until(lambda: cluster.status(APP).get("missingOn") == "west")
        await until(lambda: cluster.status(APP).get("completeOn") == "home")
        whole = ReplicaFinding("west", Finding.OK)
        images.found(ImageFinding(APP, Finding.OK, replicas=(whole,)), ImageReference.parse(APP))
        await until(lambda: cluster.status(APP).get("completeOn") == "home,west")
        sample = cluster.metrics.registry.get_sample_value
        labels = {"registry": HOST, "replica": "west"}
        assert sample("tidegate_replica_lag_seconds_count", labels) == 1
        await until(lambda: cluster.counted(images)["west"] == 0)

        lost = ReplicaFinding("west", Finding.ABSENT, missing=Missing(manifests=1))
        images.found(ImageFinding(APP, Finding.ABSENT, replicas=(lost,)), ImageReference.parse(APP))
        await until(lambda: cluster.status(APP).get("missingOn") == "west")
        await until(lambda: cluster.counted(images)["west"] == 1)  # an alert, before the next node needs it
        assert sample("tidegate_replica_lag_seconds_count", labels) == 1


async def test_what_ran_is_remembered_over_a_restart_and_for_a_day(cluster: Cluster) -> None:
    cluster.deployment("web", APP)
    cluster.pod("a", APP, phase="Running")
    async with cluster.followed():
        await until(lambda: cluster.namespaces(APP) == {"shop": True})
        await until(lambda: cluster.status(APP).get("completeOn") == "home,west")
    before, written = cluster.objects()[APP], cluster.writes()
    await cluster.client.delete(PODS, "a", namespace="shop")
    async with cluster.followed():
        await asyncio.sleep(0.1)
        assert (cluster.objects()[APP], cluster.writes()) == (before, written), "its template names it"
    await cluster.client.delete(DEPLOYMENTS, "web", namespace="shop")
    async with cluster.followed():
        await until(lambda: cluster.namespaces(APP) == {"shop": False})
        assert cluster.status(APP)["namespaces"][0]["since"] == before["status"]["namespaces"][0]["since"]
    cluster.ahead = timedelta(hours=23)
    async with cluster.followed() as images:
        images.sweep()
        await asyncio.sleep(0.05)
        assert cluster.namespaces(APP) == {"shop": False}
        cluster.ahead = timedelta(hours=25)
        images.sweep()
        await until(lambda: cluster.objects() == {})


async def test_an_object_that_somebody_deletes_is_learned_again(cluster: Cluster) -> None:
    cluster.pod("a", APP, phase="Running")
    async with cluster.followed():
        await until(lambda: cluster.status(APP).get("completeOn") == "home,west")
        (name,) = (obj["metadata"]["name"] for obj in cluster.objects().values())
        uid = cluster.objects()[APP]["metadata"]["uid"]
        await cluster.client.delete(IMAGEAVAILABILITIES, name)
        await until(lambda: cluster.objects().get(APP, {}).get("metadata", {}).get("uid", uid) != uid)
        await until(lambda: cluster.status(APP).get("completeOn") == "home,west")
        await until(lambda: cluster.namespaces(APP) == {"shop": True})


async def test_the_api_server_may_refuse_for_a_while(cluster: Cluster) -> None:
    async with cluster.followed():
        cluster.api.fail_next(3)
        cluster.pod("a", APP, phase="Running")
        await until(lambda: cluster.status(APP).get("completeOn") == "home,west")
        await until(lambda: cluster.namespaces(APP) == {"shop": True})
