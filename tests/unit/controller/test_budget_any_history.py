"""The budget over any history: 300 of up to 60 steps each, and proof that a budget which breaks a promise is caught."""

import math

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from controller.budget import FLOOR_SHARE, Budget, Ending, Limits

EXAMPLES = settings(
    max_examples=300, stateful_step_count=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
ONE = settings(EXAMPLES, max_examples=3000, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)
COSTS = st.integers(1, 60)
LIMITS = st.builds(
    Limits, in_flight=st.integers(1, 6), rate=st.floats(0.05, 200, allow_subnormal=False), burst=st.integers(1, 40),
    most_in_flight=st.integers(0, 12), most_rate=st.floats(0, 800, allow_subnormal=False),
)  # fmt: skip


class AnyHistory(RuleBasedStateMachine):
    """Grants, ends, throttles, deaths, charges, clock steps and new leaders in any order.

    A model knows what flowed in, at the rates that were in force; after each step, what must never be is looked for.
    """

    make: type[Budget] = Budget

    def __init__(self) -> None:
        super().__init__()
        self.clock = 1000.0
        self.now = 1000.0
        """The latest that the budget was told: a clock may step back."""
        self.number = 0
        self.live: list[str] = []
        self.flowed = 0.0
        self.leaders = 0
        self.grants: list[tuple[float, float, int, int]] = []
        """When, what had flowed in until then, the cost, and the leader."""
        self.limits = Limits(4, 20.0, 10, 8, 80.0)
        self.budget = self.make(self.limits, now=self.now)

    @precondition(lambda self: not self.grants)
    @rule(limits=LIMITS)
    def another_registry(self, limits: Limits) -> None:
        self.limits, self.live = limits, []
        self.budget = self.make(limits, now=self.now)

    @rule(settles_after=st.floats(0, 30))
    def another_leader(self, settles_after: float) -> None:
        """It knows what is in flight, and begins with nothing in the bucket."""
        opens_at = self.now + settles_after
        self.leaders += 1
        self.budget = self.make(self.limits, now=self.now, opens_at=opens_at)
        self.budget.drain(self.now)
        for pull in self.live:
            self.budget.adopt(pull)
        assert settles_after == 0 or not self.budget.grant("too early", 1, self.now)

    @rule(seconds=st.floats(-5, 90))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        if self.clock > self.now:
            self.flowed += (self.clock - self.now) * self.budget.rate
            self.now = self.clock

    @rule(cost=COSTS)
    def somebody_wants(self, cost: int) -> None:
        wait = self.budget.wait(cost, self.clock)
        before, limit = self.budget.in_flight, self.budget.limit
        self.number += 1
        done = self.budget.grant(f"{self.number}", cost, self.clock)
        assert done == (wait == 0), "a grant that could be was not, or the other way round"
        if done:
            assert before < limit
            assert self.budget.paused_s(self.clock) == 0
            self.live.append(f"{self.number}")
            self.grants.append((self.now, self.flowed, cost, self.leaders))

    @rule(cost=COSTS)
    def somebody_waits_exactly_as_long_as_told(self, cost: int) -> None:
        wait = self.budget.wait(cost, self.clock)
        if wait == math.inf:
            assert self.budget.in_flight >= self.budget.limit >= 1
            return
        self.clock = self.now
        self.time_passes(wait)
        assert self.budget.wait(cost, self.clock) == 0
        self.somebody_wants(cost)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), ending=st.sampled_from([*Ending, None]), after=st.none() | st.floats(0, 200))
    def a_pull_ends(self, data: st.DataObject, ending: Ending | None, after: float | None) -> None:
        """Cleanly, or by a throttle (None), or otherwise: also a node that died ends so."""
        pull = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        rate, limit = self.budget.rate, self.budget.limit
        if ending is None:
            self.budget.throttled(self.clock, pull=pull, retry_after_s=after)
            assert self.budget.rate <= rate
            assert self.budget.limit <= limit
        else:
            self.budget.ended(pull, ending, self.clock)
            assert limit <= self.budget.limit <= limit + (ending is Ending.CLEAN)
            assert rate <= self.budget.rate <= (2 * rate if ending is Ending.CLEAN else rate)

    @rule(requests=st.integers(0, 5))
    def the_controller_asks(self, requests: int) -> None:
        self.budget.charge(requests, self.clock)

    @rule(seconds=st.none() | st.floats(0, 90))
    def the_controller_is_told(self, seconds: float | None) -> None:
        if seconds is None:
            self.budget.throttled(self.clock)
        else:
            self.budget.pause(seconds, self.clock)

    @invariant()
    def nobody_is_lost_and_bounds_hold(self) -> None:
        assert self.budget.in_flight == len(self.live)
        assert self.budget.in_flight <= self.limits.most_in_flight
        assert 1 <= self.budget.limit <= self.limits.most_in_flight
        assert self.limits.rate * FLOOR_SHARE <= self.budget.rate <= self.limits.most_rate

    @invariant()
    def no_window_holds_more_than_flowed_in(self) -> None:
        """Every window that ends with the last grant; those that end with earlier ones were looked at then.

        A new leader does not know what the one before had overdrawn.
        """
        if not self.grants:
            return
        end, flowed, _, last = self.grants[-1]
        total, largest = 0, 0
        for at, before, cost, leader in reversed(self.grants):
            total, largest = total + cost, max(largest, cost)
            overdrawn = (last - leader) * max(0, largest - self.limits.burst)
            share = 1e-3 + max(self.limits.burst, largest) + overdrawn
            assert total <= flowed - before + share
            assert total <= self.limits.most_rate * (end - at) + share


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = EXAMPLES


class OneMoreInFlight(Budget):
    @property
    def limit(self) -> int:
        return super().limit + 1


class FillsTooFast(Budget):
    def _advance(self, now: float) -> None:
        super()._advance(self._now + max(0.0, now - self._now) * 1.2)


class LosesGrants(Budget):
    def adopt(self, pull: str) -> None:
        if not pull.endswith("3"):
            super().adopt(pull)


class GrowsPastTheMost(Budget):
    @property
    def rate(self) -> float:
        return super().rate * 1.5


@pytest.mark.parametrize("broken", [OneMoreInFlight, FillsTooFast, LosesGrants, GrowsPastTheMost])
def test_a_budget_that_breaks_a_promise_is_caught(broken: type[Budget]) -> None:
    class Broken(AnyHistory):
        make = broken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=ONE)
