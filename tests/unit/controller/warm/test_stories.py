"""The whole way: a Deployment asks, nodes pull under the budget, its Pods start where the image is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.budget import Limits

HOLD = {"tidegate.dev/pre-pull": "hold"}
GATE = "tidegate.dev/pre-pull"
Until = Callable[..., Awaitable[None]]


@pytest.fixture
def both(cluster: Any, warming_on: Any) -> Any:
    """The agents' cluster, and the warming half's hands on it."""
    return cluster, warming_on(cluster.api, cluster.client)


async def test_a_rollout_of_three_starts_on_three_warm_nodes(both: Any, eventually: Until) -> None:
    cluster, warm = both
    for name in ("n1", "n2", "n3"):
        cluster.node(name)
    warm.put("v1", "Namespace", "shop")
    cluster.agents.gate = asyncio.Event()
    template = {"metadata": {"annotations": HOLD}, "spec": {"containers": [{"image": "registry.test/app:1"}]}}
    top = warm.owner("Deployment", "web", spec={"template": template})
    owner = warm.owner("ReplicaSet", "web-1", metadata={"ownerReferences": [top]}, spec={"replicas": 3})
    async with cluster.controlled(Limits(in_flight=1, rate=1000, burst=1000)), warm.controlled():
        for name in "abc":
            warm.pod(name, "app", owner=owner)
        await eventually(lambda: cluster.agents.running == 1)
        await eventually(lambda: "WarmingUp" in warm.events("web"))
        assert warm.held() == {"a", "b", "c"}
        cluster.agents.gate.set()
        await eventually(lambda: not warm.held())
        await eventually(lambda: all("WarmReady" in warm.events(name) for name in "abc"))
    assert [warm.prefers(name) for name in "abc"] == [["n1", "n2", "n3"]] * 3
    assert cluster.agents.peak == 1


async def test_a_new_template_is_pulled_before_its_pods_start(both: Any, eventually: Until) -> None:
    """The Pods are there before the PrePull has the new image: they wait for it, and for nothing else."""
    cluster, warm = both
    cluster.node("n1")
    warm.put("v1", "Namespace", "shop")
    template = {"metadata": {"annotations": HOLD}, "spec": {"containers": [{"image": "registry.test/app:1"}]}}
    top = warm.owner("Deployment", "web", spec={"template": template})
    async with cluster.controlled(Limits(in_flight=1, rate=1000, burst=1000)), warm.controlled():
        await eventually(lambda: ("n1", "registry.test/app:1") in cluster.agents.present)
        owner = warm.owner("ReplicaSet", "web-2", metadata={"ownerReferences": [top]}, spec={"replicas": 1})
        warm.pod("new", "new", owner=owner)
        await eventually(lambda: "WarmingUp" in warm.events("new"))
        changed = {**template, "spec": {"containers": [{"image": "registry.test/new:1"}]}}
        await warm.change_deployment("web", {"spec": {"template": changed}})
        await eventually(lambda: not warm.held())
    assert ("n1", "registry.test/new:1") in cluster.agents.present
    assert warm.prefers("new") == ["n1"]
