"""What is not pulled although it is granted: no room, or collected too often; and how that ends."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.collected import MOST, WINDOW_S
from agent.loop import Settings
from agent.room import FACTOR, Room, need
from tidegate.cri import RuntimeUnavailable
from tidegate.kube.own import NodeImageStatus, NodePullStatus, Phase, Reason

A, B = "registry.test/a:1", "registry.test/b:1"
GB = 10**9

StartAgent = Callable[..., Any]


@pytest.mark.parametrize(
    "available, compressed, low, words",
    [
        pytest.param(100, 10, 80, "", id="plenty"),
        pytest.param(55, 10, 80, "", id="just-enough"),
        pytest.param(
            54, 10, 80,
            "needs 35.0 GB, and 34.0 GB are free below the 80 % of 100.0 GB down to which kubelet collects images",
            id="one-too-few",
        ),
        pytest.param(
            10, 1, 80,
            "needs 3.5 GB, and 0.0 GB are free below the 80 % of 100.0 GB down to which kubelet collects images",
            id="past-the-threshold-already",
        ),
        pytest.param(54, 10, 85, "", id="another-threshold"),
        pytest.param(20, 0, 80, "", id="unknown-size-and-nothing-to-collect"),
        pytest.param(
            19, 0, 80,
            "needs 0.0 GB, and 0.0 GB are free below the 80 % of 100.0 GB down to which kubelet collects images",
            id="unknown-size-on-a-full-disk",
        ),
    ],
)  # fmt: skip
def test_room_is_what_is_free_down_to_kubelets_low_threshold(
    available: int, compressed: int, low: int, words: str
) -> None:
    room = Room(100 * GB, available * GB)
    assert room.shortfall(need(compressed * GB), low_percent=low) == words


@pytest.mark.looptime
class TestNoSpace:
    async def test_an_image_without_room_is_skipped_and_its_grant_given_back(self, start: StartAgent) -> None:
        world = start()
        world.disk.free = 100
        world.plan(world.granted(A, "g1", size=1000), world.granted(B, "g2", size=10))
        await world.settle()
        status = world.said(A)
        assert (status.phase, status.reason, status.grant) == (Phase.SKIPPED, Reason.NO_SPACE, "g1")
        assert status.message == "needs 3500, and 100 are free"
        assert world.runtime.pulled == [B]

    async def test_it_is_looked_at_again_and_pending_once_there_is_room(self, start: StartAgent) -> None:
        world = start()
        world.disk.free = 100
        world.plan(world.granted(A, "g1", size=1000))
        await world.settle(61)
        assert world.said(A).phase is Phase.SKIPPED
        world.disk.free = 10**6
        await world.settle(60)
        assert (world.said(A).phase, world.said(A).reason, world.said(A).message) == (Phase.PENDING, Reason.NONE, "")
        world.plan(world.granted(A, "g2", size=1000))
        await world.settle()
        assert world.runtime.pulled == [A]

    async def test_what_is_being_pulled_counts(self, start: StartAgent) -> None:
        world = start(settings=Settings(at_once=2))
        world.plan(world.granted(A, "g1", size=1000), world.granted(B, "g2", size=100))
        await world.settle()
        assert world.disk.asked == [1000 * FACTOR, 1100 * FACTOR]


@pytest.mark.looptime
class TestCollected:
    async def pulled(self, world: Any, grant: str) -> None:
        world.plan(world.granted(A, grant))
        await world.settle()
        world.runtime.finish(A)
        await world.settle()
        assert world.said(A).phase is Phase.PRESENT

    async def test_what_the_runtime_says_is_gone_is_pending_at_once(self, start: StartAgent) -> None:
        world = start()
        await self.pulled(world, "g1")
        world.runtime.here.clear()
        world.agent.image_changed(A)
        await world.settle()
        assert (world.said(A).phase, world.said(A).collected) == (Phase.PENDING, 1)

    async def test_what_kubelet_pulled_by_itself_is_present_at_once(self, start: StartAgent) -> None:
        world = start()
        world.plan(world.wanted(A))
        await world.settle()
        world.runtime.here.add(A)
        world.agent.image_changed(A)
        await world.settle()
        assert world.said(A).phase is Phase.PRESENT

    async def test_news_of_other_images_asks_about_none_of_ours(self, start: StartAgent) -> None:
        world = start()
        world.plan(world.wanted(A))
        await world.settle()
        looked = len(world.runtime.looked)
        world.agent.image_changed("registry.test/other:1")
        world.agent.image_changed("sha256:" + "0" * 64)
        await world.settle()
        assert len(world.runtime.looked) == looked

    async def test_after_so_many_times_it_is_left_alone_until_a_day_has_passed(self, start: StartAgent) -> None:
        world = start()
        for number in range(MOST):
            await self.pulled(world, f"g{number}")
            world.runtime.here.clear()
            world.agent.image_changed(A)
            await world.settle()
        status = world.said(A)
        assert (status.phase, status.reason, status.collected) == (Phase.SKIPPED, Reason.COLLECTED, MOST)
        assert "collected 3 times within a day" in status.message
        world.plan(world.granted(A, "late"))
        await world.settle()
        assert (world.said(A).reason, world.said(A).grant) == (Reason.COLLECTED, "late")
        assert len(world.runtime.pulled) == MOST
        lost = world.metrics.registry.get_sample_value(
            "tidegate_pulls_total", {"registry": "registry.test", "result": "collected"}
        )
        assert lost == MOST
        await world.settle(WINDOW_S + 61)
        assert (world.said(A).phase, world.said(A).reason) == (Phase.PENDING, Reason.NONE)
        await self.pulled(world, "next day")

    async def test_an_agent_after_it_leaves_it_alone_too(self, start: StartAgent) -> None:
        world = start()
        before = NodePullStatus(
            node_uid="uid-of-node-1",
            images=[NodeImageStatus(image=A, phase=Phase.SKIPPED, reason=Reason.COLLECTED, collected=3)],
        )
        world.plan(world.granted(A, "g1"), status=before)
        await world.settle()
        assert world.runtime.pulled == []
        assert (world.said(A).reason, world.said(A).collected, world.said(A).grant) == (Reason.COLLECTED, 3, "g1")


@pytest.mark.looptime
async def test_a_runtime_that_comes_back_is_asked_for_everything_at_once(start: StartAgent) -> None:
    world = start()
    world.runtime.here |= {A, B}
    world.plan(world.wanted(A), world.wanted(B))
    await world.settle()
    world.runtime.broken = RuntimeUnavailable("gone")
    world.agent.runtime_is_back()
    await world.settle(1)
    assert [world.said(image).phase for image in (A, B)] == [Phase.PRESENT] * 2
    world.runtime.broken = None
    world.runtime.here.clear()
    await world.settle(2)
    assert [world.said(image).phase for image in (A, B)] == [Phase.PENDING] * 2
