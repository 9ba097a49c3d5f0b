"""Wants, reports and budgets turned into grants: each promise of the module. Any history: test_any_fleet.py."""

import math
import random
from typing import Any

import pytest

from controller.budget import Limits
from controller.granted import LATE_S, MOST_S, START_S, Cost, Granted
from controller.grants import GONE_S
from tidegate.kube.own import Phase, Reason

HOST, OTHER = "registry.test", "other.test"
A, B, C, X = f"{HOST}/a:1", f"{HOST}/b:1", f"{HOST}/c:1", f"{OTHER}/x:1"
WIDE = Limits(in_flight=100, rate=1000.0, burst=1000)


def test_an_image_is_finished_on_some_before_the_next_is_begun_on_any(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=3, rate=1000, burst=1000), per_node=2)
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1)])
    assert bench.settle() == [("n", A), ("m", A), ("n", B)]


def test_higher_priority_goes_first(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", wants=[want(A)])
    bench.nodes("m", wants=[want(B, priority=5)])
    assert bench.settle() == [("m", B)]


@pytest.mark.parametrize(
    "missing",
    ["want", "look", "absence", "cost", "agent"],
)
def test_nothing_is_granted_before_all_is_known(make: Any, missing: str, want: Any) -> None:
    bench = make()
    if missing != "want":
        bench.grants.set_wants("n", [want(A)], 0.0)
    if missing != "agent":
        bench.grants.set_agent("n", 0.0, reports=True)
    if missing != "look":
        bench.say("n", A, Phase.PRESENT if missing == "absence" else Phase.PENDING)
    if missing != "cost":
        bench.grants.set_cost(A, Cost(1, 0), 0.0)
    assert bench.settle() == []
    bench.nodes("n", wants=[want(A)])
    assert bench.settle() == [("n", A)]


def test_an_agent_that_left_gets_no_grant_and_one_that_knows_nothing_must_look_again(make: Any, want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    bench.grants.set_agent("n", 0.0, reports=False)
    assert bench.settle() == []
    bench.grants.observe("n", A, None, 0.0)
    bench.grants.set_agent("n", 0.0, reports=True)
    assert bench.settle() == []


@pytest.mark.parametrize("per_node", [1, 2])
def test_pulls_on_one_node_are_bounded_over_all_registries(make: Any, per_node: int, want: Any) -> None:
    bench = make(per_node=per_node)
    bench.nodes("n", wants=[want(A, 0), want(X, 1), want(B, 2)])
    assert len(bench.settle()) == per_node


def test_a_busy_node_does_not_hold_up_others(make: Any, want: Any) -> None:
    bench = make()
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1)])
    assert bench.settle() == [("n", A), ("m", A)]
    bench.say("m", A, Phase.PRESENT, grant="g2")
    assert bench.settle() == [("m", B)]


def test_one_registry_does_not_hold_up_another(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", "m", wants=[want(A)])
    bench.nodes("o", wants=[want(X)])
    assert bench.settle() == [("n", A), ("o", X)]


def test_a_dear_pull_is_waited_for_and_not_overtaken(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=9, rate=10, burst=10))
    bench.nodes("n", wants=[want(A, 0)], cost=8)
    bench.nodes("m", wants=[want(B, 1)], cost=8)
    bench.nodes("o", wants=[want(C, 2)], cost=1)
    assert bench.settle(0.0) == [("n", A)]
    assert bench.grants.next_at(0.0) == pytest.approx(0.6)
    assert bench.settle(0.5) == []
    assert bench.settle(0.6) == [("m", B)]
    assert bench.grants.next_at(0.6) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "phase, more, result",
    [
        pytest.param(Phase.PRESENT, {}, "clean", id="pulled"),
        pytest.param(Phase.PRESENT, {"started_at": None}, "found", id="was-there-already"),
        pytest.param(Phase.PRESENT, {"grant": ""}, "found", id="came-by-itself"),
        pytest.param(Phase.FAILED, {"reason": Reason.OTHER}, "other", id="failed"),
        pytest.param(Phase.FAILED, {}, "other", id="failed-without-a-reason"),
        pytest.param(Phase.FAILED, {"reason": Reason.NOT_FOUND}, "not-found", id="not-found"),
        pytest.param(Phase.FAILED, {"reason": Reason.CANCELED}, "canceled", id="canceled"),
        pytest.param(Phase.SKIPPED, {"reason": Reason.NO_SPACE}, "no-space", id="skipped"),
        pytest.param(Phase.FAILED, {"reason": Reason.THROTTLED}, "throttled", id="throttled"),
        pytest.param(Phase.PRESENT, {"throttled": True}, "throttled", id="throttled-but-done"),
    ],
)
def test_an_answer_ends_the_grant(make: Any, phase: Phase, more: dict[str, Any], result: str, want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.say("n", A, phase, **{"grant": "g1", **more})
    assert bench.results() == [result]
    assert (bench.budgets[HOST].in_flight, dict(bench.grants.live("n"))) == (0, {})


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"phase": Phase.PENDING}, id="pending"),
        pytest.param({"phase": Phase.PULLING, "grant": "g1"}, id="pulling"),
        pytest.param({"phase": Phase.FAILED, "grant": "g0"}, id="the-answer-to-an-older-grant"),
        pytest.param({"phase": Phase.SKIPPED, "grant": ""}, id="to-none"),
    ],
)
def test_other_words_do_not(make: Any, status: dict[str, Any], want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.say("n", A, **status)
    bench.grants.observe("n", A, None, 0.0)
    assert (bench.results(), bench.budgets[HOST].in_flight) == ([], 1)


def test_a_throttle_halves_the_budget_and_nothing_starts_in_the_pause(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=4, rate=1000, burst=1000))
    bench.nodes(*"nmopqr", wants=[want(A)])
    assert len(bench.settle()) == 4
    bench.say("n", A, Phase.FAILED, now=1.0, grant="g1", reason=Reason.THROTTLED, retry_after_seconds=5.0)
    for number, node in enumerate("mop", start=2):
        bench.say(node, A, Phase.PRESENT, now=1.5, grant=f"g{number}")
    assert bench.settle(5.9) == []
    assert bench.grants.next_at(5.9) == pytest.approx(6.0)
    assert bench.settle(6.0) == [("n", A), ("q", A)], "where a part is already goes first, two at once"


def test_a_node_that_fails_again_and_again_no_longer_goes_first(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", "m", wants=[want(A)])
    for turn, now in enumerate((0.0, 20.0, 40.0, 60.0), start=1):
        assert bench.settle(now) == [("n", A)]
        bench.say("n", A, Phase.FAILED, now=now, grant=f"g{turn}", reason=Reason.THROTTLED)
    assert bench.settle(80.0) == [("m", A)]


@pytest.mark.parametrize(
    "reason, first, most",
    [(Reason.OTHER, 2, 300), (Reason.CANCELED, 2, 300), (Reason.NOT_FOUND, 30, 600), (Reason.NO_SPACE, 60, 600)],
)
def test_a_failure_backs_off_longer_each_time_up_to_a_cap(
    make: Any, reason: Reason, first: float, most: float, want: Any
) -> None:
    bench, now, pauses = make(), 0.0, []
    bench.nodes("n", wants=[want(A)])
    for turn in range(1, 15):
        assert bench.settle(now) == [("n", A)]
        bench.say("n", A, Phase.FAILED, now=now, grant=f"g{turn}", reason=reason)
        assert bench.settle(now) == []
        at = bench.grants.next_at(now)
        assert bench.settle(math.nextafter(at, 0)) == []
        pauses.append(at - now)
        now = at
    assert first / 2 <= pauses[0] <= first
    assert most / 2 <= pauses[-1] <= most
    assert len({round(pause / most, 6) for pause in pauses[-5:]}) > 1, "without jitter"
    assert bench.settle(now) == [("n", A)]
    bench.say("n", A, Phase.PRESENT, now=now, grant="g15")
    bench.say("n", A, now=now)
    assert bench.settle(now) == [("n", A)], "what was collected is pulled again at once"


def test_a_grant_that_nobody_answers_ends_when_nobody_can_be_pulling_any_more(make: Any, want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    [granted] = bench.grants.settle(0.0)
    last = START_S + granted.seconds + LATE_S
    assert bench.grants.next_at(0.0) == last
    assert bench.settle(last - 0.1) == []
    assert bench.results() == []
    assert bench.settle(last) == []
    assert (bench.results(), bench.budgets[HOST].in_flight) == (["expired"], 0)
    assert bench.settle(last + 3) == [("n", A)]


def test_once_it_is_seen_to_have_begun_it_can_last_no_longer_than_its_seconds(make: Any, want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    [granted] = bench.grants.settle(0.0)
    bench.say("n", A, Phase.PULLING, now=10.0, grant="g1")
    bench.say("n", A, Phase.PULLING, now=50.0, grant="g1")
    assert bench.grants.next_at(50.0) == 10.0 + granted.seconds + LATE_S


@pytest.mark.parametrize("size, seconds", [(0, 60), (2_400_000_000, 2460), (10**12, MOST_S)])
def test_time_for_a_pull_follows_its_bytes(size: int, seconds: float) -> None:
    assert Cost(1, size).seconds == seconds


def test_the_grant_of_an_image_that_nobody_wants_any_more_stays_in_flight_until_it_is_answered(
    make: Any, want: Any
) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.grants.set_wants("n", [], 1.0)
    assert (bench.grants.images("n"), bench.budgets[HOST].in_flight, bench.grants.is_wanted(A)) == ([A], 1, False)
    bench.say("n", A, Phase.FAILED, now=2.0, grant="g1")
    assert (bench.grants.images("n"), bench.budgets[HOST].in_flight) == ([], 0)


def test_a_deleted_node_gives_its_grants_back_soon_and_its_successor_owes_nothing(make: Any, want: Any) -> None:
    bench = make()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.grants.forget_node("n", 1.0)
    bench.grants.forget_node("n", 1.0)
    bench.nodes("n", wants=[want(A)], now=2.0)
    assert bench.settle(2.0) == [("n", A)]
    bench.say("n", A, Phase.FAILED, now=3.0, grant="g1")
    assert bench.budgets[HOST].in_flight == 2, "an answer of the old node's is none of the new one's"
    bench.settle(1.0 + GONE_S)
    assert (bench.results(), bench.budgets[HOST].in_flight) == (["gone"], 1)


def test_adopted_grants_are_in_flight_once(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=2, rate=1000, burst=1000))
    for name, identity, host in (("n", "old", HOST), ("n", "old", HOST), ("o", "unlisted", "gone.test")):
        bench.grants.adopt(Granted(identity, name, A, host, seconds=60, at=0.0, deadline=90.0))
    bench.nodes("n", "m", "o", wants=[want(A)])
    assert bench.settle() == [("m", A)]
    bench.say("n", A, Phase.PRESENT, grant="old")
    assert bench.results() == ["clean"]


def test_costs_are_asked_for_once_and_forgotten_with_the_last_want(make: Any, want: Any) -> None:
    bench = make()
    bench.grants.set_wants("n", [want(A), want(B, 1)], 0.0)
    bench.grants.set_wants("m", [want(A)], 0.0)
    assert bench.grants.take_unpriced() == {A, B}
    assert bench.grants.take_unpriced() == set()
    bench.grants.set_cost(A, Cost(7, 1), 0.0)
    bench.grants.set_wants("n", [], 0.0)
    assert bench.grants.cost(A) == Cost(7, 1)
    bench.grants.set_wants("m", [], 0.0)
    assert bench.grants.cost(A) is None
    bench.grants.set_cost(B, Cost(1, 1), 0.0)
    assert bench.grants.cost(B) is None, "an answer that comes too late is not kept"


def test_every_node_is_warm_in_the_end_whatever_fails(make: Any, want: Any) -> None:
    chance = random.Random(7)  # noqa: S311  a repeatable history
    bench, now, wants = make(Limits(in_flight=3, rate=20, burst=10), per_node=2), 0.0, [want(A, 0), want(B, 1)]
    names = [f"n{number}" for number in range(40)]
    bench.nodes(*names, wants=wants, cost=7)
    warm: set[tuple[str, str]] = set()
    running: list[Granted] = []
    for _ in range(5000):
        running += bench.grants.settle(now)
        if len(warm) == 80:
            break
        now = min(bench.grants.next_at(now), now + 1.0) if running else bench.grants.next_at(now)
        if running and chance.random() < 0.7:
            granted = running.pop(chance.randrange(len(running)))
            fate = chance.choice([*Reason, Reason.NONE, Reason.NONE, None])
            if fate is not None:
                phase = Phase.FAILED if fate else Phase.PRESENT
                bench.say(granted.node, granted.image, phase, now=now, grant=granted.id, reason=fate)
                if not fate:
                    warm.add((granted.node, granted.image))
    assert len(warm) == 80


def test_a_grant_whose_image_was_collected_before_anybody_heard_of_it_is_over(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", wants=[want(A)])
    assert bench.settle() == [("n", A)]
    bench.say("n", A, now=1)  # it has not heard of the grant yet
    assert bench.results() == []
    bench.say("n", A, grant="g1", now=2)
    assert bench.results() == ["other"]
    assert (bench.settle(3), bench.settle(5)) == ([], [("n", A)])
