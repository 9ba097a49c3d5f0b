"""The controller on an API server in memory, with agents that do what they are granted."""

from typing import Any

import pytest

from controller.budget import Limits
from controller.grants import Cost

WIDE = Limits(in_flight=50, rate=10_000.0, burst=10_000)
IMAGE = "registry.test/app@sha256:" + "a" * 64


async def test_twelve_nodes_are_warm_and_never_more_are_pulling_than_the_budget(cluster: Any, eventually: Any) -> None:
    for number in range(12):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=3, rate=10_000, burst=10_000)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.warm() == 12)
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 12)
    assert cluster.agents.peak <= 3
    assert len(cluster.agents.begun) == 12
    [ready] = cluster.prepulls()["heavy"]["status"]["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Present")


async def test_pulls_are_paced_by_their_cost(cluster: Any, eventually: Any) -> None:
    cluster.costs.default = Cost(requests=15, bytes=1)
    for number in range(8):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=8, rate=200, burst=10)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.warm() == 8)
    times = [at for at, *_ in cluster.agents.begun]
    floor = (8 * 15 - 10 - 15) / 200
    assert times[-1] - times[0] == pytest.approx(floor, rel=0.25)
