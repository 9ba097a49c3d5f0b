"""The budget of one registry: each clause of its module's promise as a row. Histories: test_budget_any_history.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.budget import FLOOR_SHARE, MOST_PAUSE_S, Budget, Ending, Limits
from controller.climb import NEAR

LIMITS = Limits(in_flight=4, rate=20.0, burst=10)


def granted(budget: Budget, cost: int, *, since: float, times: int) -> list[float]:
    """When so many pulls of one cost are granted if each ends at once and somebody always waits."""
    now, moments = since, []
    for number in range(times):
        now += budget.wait(cost, now)
        assert budget.grant(f"pull-{number}", cost, now)
        budget.ended(f"pull-{number}", Ending.CLEAN, now)
        moments.append(now)
    return moments


def test_pulls_that_cost_more_than_the_burst_are_paced_by_what_they_cost() -> None:
    moments = granted(Budget(LIMITS, now=0.0), 15, since=0.0, times=12)
    assert moments == pytest.approx([0.75 * number for number in range(12)])


def test_pulls_within_the_burst_start_at_once_and_then_by_the_rate() -> None:
    moments = granted(Budget(LIMITS, now=0.0), 5, since=0.0, times=5)
    assert moments == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.75])


def test_a_pull_in_flight_holds_its_place_until_it_has_ended() -> None:
    budget = Budget(Limits(in_flight=1, rate=1000.0, burst=1000), now=0.0)
    assert budget.grant("a", 1, 0.0)
    assert budget.wait(1, 5.0) == math.inf
    assert not budget.grant("b", 1, 5.0)
    budget.ended("a", Ending.OTHER, 6.0)
    assert budget.grant("b", 1, 6.0)


def test_one_pull_cannot_be_granted_twice() -> None:
    budget = Budget(LIMITS, now=0.0)
    assert budget.grant("a", 1, 0.0)
    assert not budget.grant("a", 1, 0.0)
    assert budget.in_flight == 1


def test_nothing_is_granted_before_it_opens_though_costs_may_be_asked_for() -> None:
    budget = Budget(Limits(in_flight=2, rate=20.0, burst=10), now=100.0, opens_at=125.0)
    assert (budget.wait(5, 101.0), budget.wait_to_ask(5, 101.0)) == (24.0, 0.0)
    assert not budget.grant("a", 5, 124.9)
    assert budget.grant("a", 5, 125.0)


def test_adopted_pulls_count_and_a_drained_bucket_begins_with_nothing() -> None:
    budget = Budget(Limits(in_flight=2, rate=20.0, burst=10), now=100.0)
    budget.drain(100.0)
    budget.adopt("before")
    budget.adopt("before")
    assert (budget.in_flight, budget.wait(10, 100.0)) == (1, pytest.approx(0.5))
    assert budget.grant("after", 10, 100.5)
    assert budget.wait(1, 200.0) == math.inf


@pytest.mark.parametrize(
    "retry_after, pause",
    [
        pytest.param(None, 1.0, id="hidden"),
        pytest.param(7.0, 7.0, id="told"),
        pytest.param(3600.0, MOST_PAUSE_S, id="capped"),
        pytest.param(-1.0, 0.0, id="in-the-past"),
    ],
)
def test_a_throttle_halves_both_and_pauses(retry_after: float | None, pause: float) -> None:
    budget = Budget(LIMITS, now=0.0)
    assert budget.grant("a", 1, 1.0)
    budget.throttled(2.0, pull="a", retry_after_s=retry_after)
    assert (budget.limit, budget.rate, budget.in_flight) == (2, 10.0, 0)
    assert budget.paused_s(2.0) == pause
    assert budget.wait(1, 2.0) == pytest.approx(max(pause, 0.1))


def test_many_throttles_of_one_overload_are_one_step_down() -> None:
    budget = Budget(LIMITS, now=0.0)
    for number in range(4):
        assert budget.grant(f"{number}", 1, 0.0)
    for number in range(4):
        budget.throttled(1.0 + number / 10, pull=f"{number}")
    assert (budget.limit, budget.rate) == (2, 10.0)
    assert budget.paused_s(1.3) == pytest.approx(1.0), "the last one lengthened the pause"


def test_a_throttle_under_the_lowered_budget_is_a_second_step_with_a_longer_pause() -> None:
    budget = Budget(LIMITS, now=0.0)
    assert budget.grant("a", 1, 0.0)
    budget.throttled(1.0, pull="a")
    assert budget.grant("b", 1, 3.0)
    budget.throttled(4.0, pull="b")
    assert (budget.limit, budget.rate, budget.paused_s(4.0)) == (1, 5.0, 2.0)


def test_what_the_controller_itself_is_told_counts_once_a_pause() -> None:
    budget = Budget(LIMITS, now=0.0)
    budget.throttled(1.0)
    budget.throttled(1.5)
    assert (budget.limit, budget.rate) == (2, 10.0)


def test_it_never_falls_below_one_pull_nor_below_the_floor() -> None:
    budget = Budget(LIMITS, now=0.0)
    for number in range(50):
        budget.throttled(100.0 * number)
    assert (budget.limit, budget.rate) == (1, 20.0 * FLOOR_SHARE)
    assert budget.wait(1000, 10_000.0) == 0.0


def test_clean_pulls_bring_it_back_to_where_it_started_and_not_beyond() -> None:
    budget = Budget(LIMITS, now=0.0)
    budget.throttled(0.0)
    limits, now = [], 10.0
    for number in range(8):
        now += 10
        assert budget.grant(f"{number}", 1, now)
        budget.ended(f"{number}", Ending.CLEAN, now + 1)
        limits.append(budget.limit)
    assert limits == [3, 3, 3, 3, 3, 3, 3, 3], "near where it was too much, slowly"
    for number in range(8, 160):
        now += 10
        assert budget.grant(f"{number}", 1, now)
        budget.ended(f"{number}", Ending.CLEAN, now + 1)
    assert (budget.limit, budget.rate) == (4, 20.0)


def test_pulls_from_before_the_throttle_and_failures_raise_nothing() -> None:
    budget = Budget(LIMITS, now=0.0)
    assert budget.grant("old", 1, 0.0)
    budget.throttled(1.0)
    budget.ended("old", Ending.CLEAN, 3.0)
    assert budget.grant("failed", 1, 4.0)
    budget.ended("failed", Ending.OTHER, 5.0)
    budget.ended("stranger", Ending.CLEAN, 5.0)
    assert (budget.limit, budget.rate) == (2, 10.0)


ROOM = Limits(in_flight=2, rate=10.0, burst=10, most_in_flight=8, most_rate=100.0)


def clean(budget: Budget, *, times: int, at_once: int = 1, cost: int = 10, since: float = 100.0) -> float:
    """So many pulls of a second each, begun as soon as they may, `at_once` beside each other; when the last ended."""
    now = since
    for number in range(times):
        begun = []
        for other in range(at_once):
            now += budget.wait(cost, now)
            assert budget.grant(f"{number}-{other}", cost, now)
            begun.append(f"{number}-{other}")
        now += 1.0
        for pull in begun:
            budget.ended(pull, Ending.CLEAN, now)
    return now


def test_clean_pulls_raise_the_rate_past_where_it_started_at_most_to_twice_what_each_was_granted_under() -> None:
    budget, rates, now = Budget(ROOM, now=0.0), [10.0], 0.0
    for _ in range(60):
        now = clean(budget, times=1, cost=100, since=now)
        assert rates[-1] < budget.rate <= 2 * rates[-1] or budget.rate == 100.0
        rates.append(budget.rate)
    assert rates[-1] == 100.0, "and never past the most"


def test_a_rate_that_nobody_used_does_not_grow() -> None:
    budget, now = Budget(ROOM, now=0.0), 0.0
    for _ in range(20):
        now = clean(budget, times=1, cost=5, since=now + 30)
    assert budget.rate == 10.0


def test_the_limit_grows_by_one_when_all_of_it_was_in_flight() -> None:
    budget = Budget(Limits(2, 1000.0, 1000, most_in_flight=4), now=0.0)
    clean(budget, times=1, at_once=1)
    assert budget.limit == 2
    clean(budget, times=1, at_once=2, since=200)
    assert budget.limit == 3
    clean(budget, times=9, at_once=3, since=300)
    assert budget.limit == 4


def test_the_limit_does_not_grow_while_pulls_slow_each_other_down() -> None:
    budget, now = Budget(Limits(2, 1000.0, 1000, most_in_flight=9), now=0.0), 0.0
    assert budget.grant("alone", 1, now, kind="image")
    budget.ended("alone", Ending.CLEAN, now + 1)
    for turn in range(10):
        now += 10
        for pull in ("a", "b"):
            assert budget.grant(f"{pull}{turn}", 1, now, kind="image")
        for pull in ("a", "b"):
            budget.ended(f"{pull}{turn}", Ending.CLEAN, now + 2.6)
    assert budget.limit == 2


def test_near_where_there_was_a_throttle_it_climbs_slowly_and_beyond_it_as_before() -> None:
    budget = Budget(ROOM, now=0.0)
    now = clean(budget, times=12, since=10)
    before = budget.rate
    budget.throttled(now)
    assert budget.rate == before / 2
    now = clean(budget, times=3, since=now + 10)
    assert budget.rate == pytest.approx(NEAR * before), "fast up to there"
    at = budget.rate
    now = clean(budget, times=1, since=now)
    slow = budget.rate - at
    assert 0 < slow < before / 40
    now = clean(budget, times=100, cost=200, since=now)
    assert budget.rate == 100.0, "a limit that is gone is found to be gone"


def test_a_pause_that_was_found_out_lasts_and_never_shortens_one() -> None:
    budget = Budget(LIMITS, now=0.0)
    budget.pause(20.0, 1.0)
    budget.pause(5.0, 2.0)
    assert (budget.paused_s(2.0), budget.wait(1, 2.0), budget.limit) == (19.0, 19.0, 4)
    budget.pause(3600.0, 2.0)
    assert budget.paused_s(2.0) == MOST_PAUSE_S


def test_what_the_controller_asks_itself_is_charged() -> None:
    budget = Budget(LIMITS, now=0.0)
    budget.charge(4, 0.0)
    assert budget.wait(10, 0.0) == pytest.approx(0.2)


def test_a_clock_that_steps_back_grants_nothing_more() -> None:
    budget = Budget(LIMITS, now=100.0)
    assert budget.grant("a", 10, 100.0)
    assert budget.wait(10, 50.0) == pytest.approx(0.5)
    assert not budget.grant("b", 10, 50.0)


COSTS = st.integers(1, 60)
LIMITS_ANY = st.builds(
    Limits, in_flight=st.integers(1, 6), rate=st.floats(0.05, 200, allow_subnormal=False), burst=st.integers(1, 40)
)


@given(
    limits=LIMITS_ANY,
    pulls=st.lists(st.tuples(COSTS, st.floats(0.01, 20)), min_size=1, max_size=30),
    throttle=st.sets(st.integers(0, 29), max_size=5),
)
def test_every_pull_that_waits_is_granted_in_the_end(
    limits: Limits, pulls: list[tuple[int, float]], throttle: set[int]
) -> None:
    budget, now, ends = Budget(limits, now=0.0), 0.0, list[tuple[float, str]]()

    def end_one() -> float:
        ends.sort()
        at, name = ends.pop(0)
        if int(name) in throttle:
            budget.throttled(at, pull=name)
        else:
            budget.ended(name, Ending.CLEAN, at)
        return at

    for number, (cost, seconds) in enumerate(pulls):
        while (wait := budget.wait(cost, now)) == math.inf:
            now = max(now, end_one())
        now += wait
        assert budget.grant(f"{number}", cost, now)
        ends.append((now + seconds, f"{number}"))
