"""Which nodes are let go, when, and what is said about it. Time is virtual."""

import asyncio
from typing import Any

import pytest

TAINT = {"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}
AUTOSCALERS = {"key": "startup-taint.cluster-autoscaler.kubernetes.io/tidegate-not-ready", "effect": "NoSchedule"}
CILIUM = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}

pytestmark = pytest.mark.looptime


async def test_the_taint_leaves_when_the_last_image_is_there(fleet: Any) -> None:
    fleet.add("n1", TAINT, CILIUM, wanted=2, present=1)
    async with fleet.led():
        await asyncio.sleep(30)
        assert fleet.taints("n1") == [TAINT["key"], CILIUM["key"]]
        assert fleet.count("warming") == 1
        fleet.stand("n1", wanted=2, present=2, told=True)
        await asyncio.sleep(0.1)
        assert fleet.taints("n1") == [CILIUM["key"]], "and nobody else's"
        assert (fleet.count("warming"), fleet.count("warm")) == (0, 1)
    assert fleet.events == [
        ("n1", "ImagesPresent",
         "2 of 2 wanted images are there 30 s after the node's creation; removed tidegate.dev/not-ready"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "standing, reason",
    [
        pytest.param({"wanted": 0}, "NoImagesWanted", id="none-wanted"),
        pytest.param({"wanted": 3, "present": 3}, "ImagesPresent", id="all-there"),
    ],
)
async def test_a_node_that_needs_not_wait_does_not(fleet: Any, standing: dict[str, Any], reason: str) -> None:
    fleet.add("n1", TAINT, AUTOSCALERS, **standing)
    async with fleet.led():
        await asyncio.sleep(0.1)
    assert fleet.taints("n1") == []
    assert [event[1] for event in fleet.events] == [reason]
    assert len(fleet.patches) == 1, "both taints in one write"


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param({"wanted": 0, "decided": False}, id="a-workload-was-not-looked-at"),
        pytest.param({"wanted": 0, "usable": False}, id="not-ready-so-nothing-is-wanted-yet"),
        pytest.param({"wanted": 2, "present": 1}, id="an-image-is-missing"),
    ],
)
async def test_a_node_waits_until_its_deadline(fleet: Any, standing: dict[str, Any]) -> None:
    fleet.add("n1", TAINT, **standing)
    async with fleet.led(deadline_s=600):
        await asyncio.sleep(599)
        assert fleet.taints("n1") == [TAINT["key"]]
        await asyncio.sleep(1.1)
        assert fleet.taints("n1") == []
    assert [event[1] for event in fleet.events] == ["DeadlinePassed"]


async def test_a_deadline_that_passed_without_a_leader_has_passed(fleet: Any) -> None:
    fleet.add("n1", TAINT)
    async with fleet.led(deadline_s=60):
        await asyncio.sleep(30)
    await asyncio.sleep(60)
    assert fleet.taints("n1") == [TAINT["key"]]
    async with fleet.led(deadline_s=60):
        await asyncio.sleep(0.1)
    assert fleet.taints("n1") == []


async def test_an_api_server_that_is_away_strands_nobody_for_good_and_is_counted(fleet: Any) -> None:
    fleet.add("n1", TAINT)
    async with fleet.led(deadline_s=60):
        fleet.down = True
        await asyncio.sleep(120)
        assert fleet.taints("n1") == [TAINT["key"]]
        assert fleet.count("stranded") == 1
        fleet.down = False
        await asyncio.sleep(31)
        assert fleet.taints("n1") == []
        assert (fleet.count("stranded"), fleet.count("warming")) == (0, 1)


@pytest.mark.parametrize("wrong_by_s", [-86_400, -5, 0, 5, 86_400])
async def test_a_wrong_clock_costs_no_more_than_a_deadline_from_the_first_sight(fleet: Any, wrong_by_s: float) -> None:
    fleet.wrong_by_s = wrong_by_s
    fleet.add("n1", TAINT)
    async with fleet.led(deadline_s=60):
        await asyncio.sleep(10)
        fleet.wrong_by_s -= 3600  # and it steps
        await asyncio.sleep(51)
    assert fleet.taints("n1") == []


async def test_a_node_made_anew_under_its_old_name_has_its_own_deadline(fleet: Any) -> None:
    fleet.add("n1", TAINT)
    async with fleet.led(deadline_s=60):
        await asyncio.sleep(50)
        fleet.remove("n1")
        fleet.add("n1", TAINT, uid="another")
        await asyncio.sleep(50)
        assert fleet.taints("n1") == [TAINT["key"]]
        await asyncio.sleep(11)
        assert fleet.taints("n1") == []


async def test_taints_are_left_alone_where_the_configuration_says_so(fleet: Any) -> None:
    fleet.add("n1", TAINT, present=1)
    async with fleet.led(taint=False, deadline_s=60):
        await asyncio.sleep(120)
    assert fleet.taints("n1") == [TAINT["key"]]
    assert fleet.patches == []


async def test_the_condition_becomes_true_once_and_stays(fleet: Any) -> None:
    def said() -> list[tuple[str, str]]:
        return [(c["status"], c["reason"]) for c in fleet.raw["n1"]["status"]["conditions"] if "reason" in c]

    fleet.add("n1")
    async with fleet.led(condition=True):
        await asyncio.sleep(1.1)
        assert said() == [("False", "ImagesMissing")]
        fleet.stand("n1", present=1, told=True)
        await asyncio.sleep(0.1)
        assert said() == [("True", "ImagesPresent")]
        fleet.stand("n1", wanted=2, present=1, told=True)
        await asyncio.sleep(900)
        assert said() == [("True", "ImagesPresent")], "a node that works goes on working"
    assert [subresource for _, _, subresource in fleet.patches] == ["status", "status"]
    conditions = fleet.raw["n1"]["status"]["conditions"]
    assert conditions[0] == {"type": "Ready", "status": "True"}, "kubelet's own stay"


async def test_nodes_that_are_not_ready_or_gone_count_nowhere(fleet: Any) -> None:
    fleet.add("n1", usable=False)
    fleet.add("n2", present=1)
    async with fleet.led():
        await asyncio.sleep(0.1)
        assert [fleet.count(state) for state in ("warm", "warming", "stranded")] == [1, 0, 0]
        fleet.remove("n2")
        await asyncio.sleep(0.1)
        assert fleet.count("warm") == 0
