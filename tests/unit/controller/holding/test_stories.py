"""Real requests to a replica that lags: the checker, the controller and an API server in one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from controller.holding.polls import REMEMBERED_ABSENCE_S
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import parse
from tidegate.metrics import Metrics
from tidegate.replicas import open_registries
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.registry.replication import Lag

Until = Callable[..., Awaitable[None]]


@asynccontextmanager
async def checking(home: RegistryDouble, replica: RegistryDouble, metrics: Metrics) -> AsyncIterator[Checker]:
    replicas = f"{{home: {{endpoint: '{home.url}'}}, westeurope: {{endpoint: '{replica.url}'}}}}"
    listed = f"registries: [{{host: r.example, home: home, local: westeurope, replicas: {replicas}}}]"
    config = parse(f"apiVersion: tidegate.dev/v1alpha1\nkind: Config\n{listed}\n")
    memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
    async with open_registries(config, metrics=metrics) as registries:
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics, memory=memory)
        try:
            yield checker
        finally:
            await checker.aclose()


async def test_three_pods_wait_for_the_blobs_of_their_image(held: Any, eventually: Until) -> None:
    async with RegistryDouble() as home, RegistryDouble() as replica:
        replication = replica.replicate_from(home, lag=Lag(blobs_s=None))
        image = build_image(layers=3)
        home.put("app", image, tag="1")
        for name in "abc":
            held.pod(name, f"r.example/app:1@{image.digest}")
        async with checking(home, replica, held.metrics) as checker, held.controlled(checker=checker):
            await eventually(lambda: all("ReplicaLagging" in held.events(name) for name in "abc"))
            assert "waiting for 4 of 4 blobs on westeurope" in held.events("a")["ReplicaLagging"]
            replication.catch_up()
            await eventually(lambda: not held.held(), within_s=2.0)
            await eventually(lambda: "ReplicaComplete" in held.events("a"))
        replication.stop()
        assert held.events("a")["ReplicaComplete"].endswith("for 4 of 4 blobs on westeurope")


async def test_two_images_arrive_one_after_the_other(held: Any, eventually: Until) -> None:
    async with RegistryDouble() as home, RegistryDouble() as replica:
        replication = replica.replicate_from(home, lag=Lag(manifests_s=None, blobs_s=None))
        app, web = build_image(seed=1), build_image(seed=2)
        home.put("app", app)
        home.put("web", web)
        held.pod("both", f"r.example/app@{app.digest}", f"r.example/web@{web.digest}")
        held.pod("app", f"r.example/app@{app.digest}")
        async with checking(home, replica, held.metrics) as checker, held.controlled(checker=checker):
            await eventually(lambda: "ReplicaLagging" in held.events("both"))
            replication.catch_up("app")
            await eventually(lambda: held.held() == {"both"}, within_s=2.0)
            replication.catch_up("web")
            await eventually(lambda: not held.held(), within_s=2.0)
        replication.stop()
