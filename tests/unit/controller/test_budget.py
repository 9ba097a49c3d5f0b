"""The budget of one registry: each clause of its module's promise as a row, and as a property of histories."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.budget import FLOOR_SHARE, MOST_PAUSE_S, Budget, Ending, Limits

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


class AnyHistory(RuleBasedStateMachine):
    """Grants, ends, throttles, charges and clock steps in any order; after each, what must never be is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.number = 0
        self.live: list[str] = []
        self.grants: list[tuple[float, int]] = []
        self.budget = Budget(LIMITS, now=self.now)
        self.limits = LIMITS

    @precondition(lambda self: not self.grants)
    @rule(limits=LIMITS_ANY, drained=st.booleans())
    def begin(self, limits: Limits, drained: bool) -> None:  # noqa: FBT001  hypothesis passes it
        self.limits, self.live = limits, []
        self.budget = Budget(limits, now=self.now)
        if drained:
            self.budget.drain(self.now)

    @rule(seconds=st.floats(-5, 90))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(cost=COSTS)
    def somebody_wants(self, cost: int) -> None:
        wait = self.budget.wait(cost, self.now)
        before, limit = self.budget.in_flight, self.budget.limit
        self.number += 1
        done = self.budget.grant(f"{self.number}", cost, self.now)
        assert done == (wait == 0), "a grant that could be was not, or the other way round"
        if done:
            assert before < limit
            assert self.budget.paused_s(self.now) == 0
            self.live.append(f"{self.number}")
            self.grants.append((max([self.now] + [at for at, _ in self.grants[-1:]]), cost))

    @rule(cost=COSTS)
    def somebody_waits_exactly_as_long_as_told(self, cost: int) -> None:
        wait = self.budget.wait(cost, self.now)
        if wait == math.inf:
            assert self.budget.in_flight >= self.budget.limit >= 1
            return
        self.now = max([self.now] + [at for at, _ in self.grants[-1:]]) + wait
        self.somebody_wants(cost)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), ending=st.sampled_from([*Ending, None]), after=st.none() | st.floats(0, 200))
    def a_pull_ends(self, data: st.DataObject, ending: Ending | None, after: float | None) -> None:
        pull = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        rate, limit = self.budget.rate, self.budget.limit
        if ending is None:
            self.budget.throttled(self.now, pull=pull, retry_after_s=after)
            assert self.budget.rate <= rate
            assert self.budget.limit <= limit
        else:
            self.budget.ended(pull, ending, self.now)
            assert limit <= self.budget.limit <= limit + 1

    @rule(requests=st.integers(0, 5))
    def the_controller_asks(self, requests: int) -> None:
        self.budget.charge(requests, self.now)

    @invariant()
    def nobody_is_lost_and_bounds_hold(self) -> None:
        assert self.budget.in_flight == len(self.live) <= self.limits.in_flight
        assert 1 <= self.budget.limit <= self.limits.in_flight
        assert self.limits.rate * FLOOR_SHARE <= self.budget.rate <= self.limits.rate

    @invariant()
    def no_window_holds_more_than_the_bucket_allows(self) -> None:
        if not self.grants:
            return
        end, _ = self.grants[-1]
        total, largest = 0, 0
        for at, cost in reversed(self.grants):
            total, largest = total + cost, max(largest, cost)
            assert total <= self.limits.rate * (end - at) + max(self.limits.burst, largest) + 1e-3


TestAnyHistory = AnyHistory.TestCase


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
