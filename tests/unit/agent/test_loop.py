"""The agent's promises, one by one, in virtual time and without I/O."""

from collections.abc import Callable
from typing import Any

import pytest

from agent.loop import Settings
from tidegate.cri import PullError
from tidegate.kube.own import NodePullStatus, Phase, Reason

pytestmark = pytest.mark.looptime

A, B, C = "registry.test/a:1", "registry.test/b:1", "registry.test/c:1"
PENDING, PULLING, PRESENT, FAILED = Phase.PENDING, Phase.PULLING, Phase.PRESENT, Phase.FAILED

StartAgent = Callable[..., Any]


async def test_without_a_grant_it_looks_and_does_not_pull(start: StartAgent) -> None:
    world = start()
    world.runtime.here.add(A)
    world.plan(world.wanted(A), world.wanted(B))
    await world.settle()
    assert world.runtime.pulled == []
    assert [(each.image, each.phase) for each in world.sink.written[-1].images] == [(A, PRESENT), (B, PENDING)]


async def test_a_status_names_the_node_the_agent_and_what_was_looked_at(start: StartAgent) -> None:
    world = start()
    world.plan(world.wanted(A))
    await world.settle()
    (status,) = world.sink.written
    assert (status.node_uid, status.agent, status.observed_generation) == ("uid-of-node-1", "nonce-1", 1)
    assert (status.wanted, status.present, status.pulling) == (1, 0, "")


async def test_a_granted_image_is_pulled_and_reported(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1", size=1000))
    await world.settle(0.5)
    assert world.runtime.pulling == {A}
    pulling = world.said(A)
    assert (pulling.phase, pulling.grant, pulling.attempts, pulling.bytes) == (PULLING, "g1", 1, 0)
    assert world.sink.written[-1].pulling == A

    world.runtime.finish(A)
    await world.settle(0.5)
    present = world.said(A)
    assert (present.phase, present.reason, present.grant, present.bytes) == (PRESENT, Reason.NONE, "g1", 1000)
    assert present.started_at == pulling.started_at == "2026-11-24T12:00:00.000Z"
    assert present.finished_at == "2026-11-24T12:00:00.500Z"
    assert world.sink.written[-1].pulling == ""


async def test_what_is_there_already_answers_a_grant_without_a_pull(start: StartAgent) -> None:
    world = start()
    world.runtime.here.add(A)
    world.plan(world.granted(A, "g1"))
    await world.settle()
    assert world.runtime.pulled == []
    status = world.said(A)
    assert (status.phase, status.grant, status.started_at) == (PRESENT, "g1", None)


@pytest.mark.parametrize(
    "error, throttled",
    [
        pytest.param(PullError(Reason.THROTTLED, "429 Too Many Requests"), True, id="throttled"),
        pytest.param(PullError(Reason.NOT_FOUND, "not found"), False, id="not-found"),
        pytest.param(PullError(Reason.NO_SPACE, "no space left on device"), False, id="no-space"),
        pytest.param(PullError(Reason.UNAUTHORIZED, "401 Unauthorized"), False, id="unauthorized"),
        pytest.param(PullError(Reason.OTHER, "503"), False, id="other"),
    ],
)
async def test_a_failed_pull_is_told_apart_and_not_tried_again(
    start: StartAgent, error: PullError, *, throttled: bool
) -> None:
    world = start()
    world.plan(world.granted(A, "g1", size=1000))
    await world.settle()
    world.runtime.finish(A, error)
    await world.settle(600)
    status = world.said(A)
    assert (status.phase, status.reason, status.message) == (FAILED, error.reason, error.message)
    assert (status.throttled, status.bytes, status.attempts) == (throttled, 0, 1)
    assert world.runtime.pulled == [A]


async def test_a_new_grant_is_a_new_attempt(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.runtime.finish(A, PullError(Reason.THROTTLED, "429"))
    await world.settle()
    world.plan(world.granted(A, "g2"))
    await world.settle()
    status = world.said(A)
    assert (status.phase, status.grant, status.attempts, status.throttled) == (PULLING, "g2", 2, False)
    world.runtime.finish(A)
    await world.settle()
    assert world.phases(A) == [PULLING, FAILED, PULLING, PRESENT]


@pytest.mark.parametrize("expires_s", [pytest.param(0, id="just over"), pytest.param(-3540, id="a clock one hour off")])
async def test_a_grant_that_is_over_starts_nothing_and_is_given_back_at_once(start: StartAgent, expires_s: int) -> None:
    world = start()
    world.plan(world.granted(A, "g1", expires_s=expires_s))
    await world.settle(1)
    status = world.said(A)
    assert (status.phase, status.reason, status.grant, status.started_at) == (FAILED, Reason.CANCELED, "g1", None)
    await world.settle(120)
    assert (world.runtime.pulled, len(world.sink.written)) == ([], 1)
    world.plan(world.granted(A, "g2"))
    await world.settle()
    assert world.runtime.pulled == [A]


async def test_a_clock_that_steps_during_a_pull_changes_nothing(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    grant = world.granted(A, "g1", expires_s=-3600)
    world.plan(grant)
    await world.settle()
    world.runtime.finish(A)
    await world.settle()
    assert world.phases(A) == [PULLING, PRESENT]


async def test_a_pull_that_has_begun_may_outlive_the_expiry_by_its_seconds(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1", expires_s=1, seconds=100))
    await world.settle(99)
    assert world.runtime.pulling == {A}
    await world.settle(2)
    assert world.runtime.canceled == [A]
    status = world.said(A)
    assert (status.phase, status.reason) == (FAILED, Reason.CANCELED)
    assert status.message == "not done within the 100 s of its grant"


async def test_a_pull_ends_with_its_grant(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.plan(world.wanted(A))
    await world.settle()
    assert world.runtime.canceled == [A]
    status = world.said(A)
    assert (status.phase, status.reason, status.grant) == (FAILED, Reason.CANCELED, "g1")
    assert status.message == "the grant was taken back"


async def test_a_replaced_grant_is_used_once_the_old_pull_has_ended(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.plan(world.granted(A, "g2"))
    await world.settle()
    assert (world.runtime.canceled, world.runtime.pulled) == ([A], [A, A])
    status = world.said(A)
    assert (status.phase, status.grant, status.attempts) == (PULLING, "g2", 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda world: world.plan(), id="image"),
        pytest.param(lambda world: world.plans.put(None), id="plan"),
    ],
)
async def test_what_is_no_longer_wanted_is_no_longer_pulled(start: StartAgent, change: Callable[[Any], None]) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    change(world)
    await world.settle()
    assert world.runtime.canceled == [A]
    assert world.runtime.pulling == set()


@pytest.mark.parametrize("at_once", [1, 2])
async def test_so_many_at_once_and_the_oldest_grant_first(start: StartAgent, at_once: int) -> None:
    world = start(settings=Settings(at_once=at_once))
    world.plan(world.granted(A, "g1"), world.wanted(B), world.granted(C, "g3"))
    await world.settle()
    assert world.runtime.pulled == [A, C][:at_once]
    world.plan(world.granted(A, "g1"), world.granted(B, "g2"), world.granted(C, "g3"))
    await world.settle()
    assert len(world.runtime.pulling) == at_once
    world.runtime.finish(A)
    await world.settle()
    assert world.runtime.pulled == [A, C, B][: 1 + at_once]


async def test_only_listed_registries_are_pulled_from(start: StartAgent) -> None:
    world = start()
    world.plan(
        world.granted("elsewhere.test/a:1", "g1"), world.granted("registry.test/UPPER", "g2"), world.granted(A, "g3")
    )
    await world.settle()
    assert world.runtime.pulled == [A]
    first, second, _ = world.sink.written[-1].images
    assert (first.phase, first.reason, first.grant) == (FAILED, Reason.OTHER, "g1")
    assert first.message == "not a listed registry: elsewhere.test"
    assert (second.phase, second.message, second.grant) == (FAILED, "not an image reference", "g2")


async def test_a_plan_for_a_node_of_the_past_is_not_pulled(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"), node_uid="uid-of-another")
    await world.settle()
    assert world.runtime.pulled == []
    assert world.sink.written[-1].node_uid == "uid-of-node-1"


async def test_a_node_that_was_made_anew_is_noticed_by_the_plan_that_names_it(start: StartAgent) -> None:
    world = start()
    world.plan(world.wanted(A))
    await world.settle()
    world.plans.uid = "uid-2"
    world.plan_uid = "plan-2"
    world.plan(world.granted(A, "g1"), node_uid="uid-2")
    await world.settle()
    assert world.sink.written[-1].node_uid == "uid-2"
    assert world.runtime.pulled == [A]
    reads = world.plans.uid_reads
    world.plan(world.granted(A, "g1"), node_uid="uid-2")
    await world.settle()
    assert world.plans.uid_reads == reads == 2


async def test_what_was_collected_is_pending_again_after_the_next_look(start: StartAgent) -> None:
    world = start(settings=Settings(recheck_s=60))
    world.runtime.here.add(A)
    world.plan(world.wanted(A))
    await world.settle()
    world.runtime.here.clear()
    await world.settle(61)
    status = world.said(A)
    assert status.phase is PENDING
    assert "collected" in status.message


async def test_what_came_without_us_is_present_after_the_next_look(start: StartAgent) -> None:
    world = start(settings=Settings(recheck_s=60))
    world.plan(world.wanted(A))
    await world.settle()
    world.runtime.here.add(A)
    await world.settle(61)
    assert world.phases(A) == [PENDING, PRESENT]


async def test_what_the_runtime_does_not_know_by_this_name_is_not_present(start: StartAgent) -> None:
    world = start()
    world.runtime.keeps = False
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.runtime.finish(A)
    await world.settle()
    assert (world.said(A).phase, world.said(A).reason) == (FAILED, Reason.OTHER)


async def test_an_idle_agent_writes_nothing(start: StartAgent) -> None:
    world = start()
    world.runtime.here.add(A)
    world.plan(world.wanted(A))
    await world.settle(3600)
    assert len(world.sink.written) == 1
    assert len(world.runtime.looked) in {60, 61}


async def test_a_status_that_somebody_else_overwrote_is_told_again_at_the_next_look(start: StartAgent) -> None:
    world = start(settings=Settings(recheck_s=60))
    world.runtime.here.add(A)
    world.plan(world.wanted(A))
    await world.settle(1)
    world.plan(world.wanted(A), status=NodePullStatus(node_uid="another", agent="somebody"))
    await world.settle(60)
    assert len(world.sink.written) == 2
    assert (world.said(A).phase, world.sink.written[-1].agent) == (PRESENT, "nonce-1")
    await world.settle(600)
    assert len(world.sink.written) == 2


async def test_a_new_generation_that_changes_nothing_is_told_at_the_next_look_only(start: StartAgent) -> None:
    world = start(settings=Settings(recheck_s=60))
    world.plan(world.wanted(A))
    await world.settle()
    for _ in range(5):
        world.plan(world.wanted(A))
        await world.settle()
    assert len(world.sink.written) == 1
    await world.settle(60)
    assert [status.observed_generation for status in world.sink.written] == [1, 6]


async def test_without_a_plan_it_waits(start: StartAgent) -> None:
    world = start()
    await world.settle(600)
    assert (world.sink.tries, world.runtime.looked) == (0, [])


async def test_clean_pulls_are_timed_and_weighed_and_the_controller_counts_results(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1", size=1000), world.granted(B, "g2"))
    await world.settle(2)
    world.runtime.finish(A)
    await world.settle()
    world.runtime.finish(B, PullError(Reason.THROTTLED, "429"))
    await world.settle()

    def sample(name: str, **labels: str) -> float | None:
        return world.metrics.registry.get_sample_value(name, {"registry": "registry.test", **labels})

    assert sample("tidegate_pulls_total", result="clean") is None
    assert sample("tidegate_throttled_total", caller="agent") is None
    assert sample("tidegate_pull_bytes_total") == 1000
    assert sample("tidegate_pull_duration_seconds_count") == 1
    assert sample("tidegate_pull_duration_seconds_sum") == pytest.approx(2, abs=0.1)
