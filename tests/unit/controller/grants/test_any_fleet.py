"""Grants over any history of a fleet: 200 of up to 50 steps each. A model of the agents watches."""

import math
import random
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from controller.budget import Budget, Limits
from controller.granted import START_S, Cost, Granted
from controller.grants import GONE_S, Grants
from controller.plan import Want, host_of
from tidegate.kube.own import NodeImageStatus, Phase, Reason

HOST, OTHER = "registry.test", "other.test"
NODES, IMAGES = ("n", "m", "o"), (f"{HOST}/a:1", f"{HOST}/b:1", f"{OTHER}/x:1")
COSTS = dict(zip(IMAGES, (9, 2, 1), strict=True))
LARGEST = 9
SOME = Limits(in_flight=2, rate=4.0, burst=6, most_in_flight=4, most_rate=16.0)
EXAMPLES = settings(
    max_examples=200, stateful_step_count=50, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
ONE = settings(
    EXAMPLES, max_examples=3000, phases=[Stage.generate], report_multiple_bugs=False, print_blob=False
)  # fmt: skip
"""Until it is caught: which examples come first depends on what else was imported."""


class AnyFleet(RuleBasedStateMachine):
    """Nodes and wants come and go, agents answer or fall silent, leaders change, time passes."""

    make: type[Grants] = Grants
    mirrored: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.serial = count(1)
        self.wants: dict[str, set[str]] = {}
        self.may_pull: dict[str, tuple[Granted, float]] = {}
        """Grants under which some agent could still be pulling, and until when."""
        self.granted: list[tuple[float, str, int]] = []
        self.told: dict[tuple[str, str], NodeImageStatus] = {}
        self.leaders = 0
        self.lead()

    def lead(self) -> None:
        self.budgets = {host: Budget(SOME, now=self.now) for host in (HOST, OTHER)}
        self.grants = self.make(
            self.budgets, per_node=1, new_id=lambda: f"g{next(self.serial)}", chance=random.Random(0),  # noqa: S311
            mirrored=self.mirrored,
        )  # fmt: skip

    def plan(self, name: str, images: set[str]) -> None:
        wants = [Want(i, host_of(i), (0, "2026", "x", place)) for place, i in enumerate(IMAGES) if i in images]
        self.grants.set_wants(name, wants, self.now)
        for image in images:
            self.grants.set_cost(image, Cost(COSTS[image], 0), self.now)

    def say(self, name: str, status: NodeImageStatus) -> None:
        self.told[name, status.image] = status
        self.grants.observe(name, status.image, status, self.now)

    @rule()
    def another_leader(self) -> None:
        """It finds the grants in the API server, and hears again what agents said last.

        The grants of a deleted Node went with its NodePull; they are not looked for any more.
        """
        self.leaders += 1
        found = {granted.id: granted for name in NODES for granted in self.grants.live(name).values()}
        self.lead()
        for budget in self.budgets.values():
            budget.drain(self.now)
        for one in found.values():
            self.grants.adopt(
                Granted(one.id, one.node, one.image, one.host, one.seconds, at=self.now, deadline=one.deadline)
            )
        adopted = {one.id: one for name in NODES for one in self.grants.live(name).values()}
        assert found.keys() <= adopted.keys(), "a grant was lost"
        self.may_pull = {key: (adopted[key], until) for key, (_, until) in self.may_pull.items() if key in found}
        for name, images in self.wants.items():
            self.plan(name, images)
            self.grants.set_agent(name, self.now, reports=True)
            for (node, _), status in list(self.told.items()):
                if node == name:
                    self.grants.observe(name, status.image, status, self.now)

    @rule(name=st.sampled_from(NODES), images=st.sets(st.sampled_from(IMAGES)))
    def a_node_is_planned(self, name: str, images: set[str]) -> None:
        self.plan(name, images)
        self.wants[name] = images

    @precondition(lambda self: self.wants)
    @rule(data=st.data())
    def a_node_is_deleted(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.wants)))
        del self.wants[name]
        self.told = {key: status for key, status in self.told.items() if key[0] != name}
        self.grants.forget_node(name, self.now)
        for key, (granted, until) in self.may_pull.items():
            if granted.node == name:
                self.may_pull[key] = (granted, min(until, self.now + GONE_S))

    @precondition(lambda self: self.wants)
    @rule(data=st.data(), there=st.booleans())
    def an_agent_looks(self, data: st.DataObject, there: bool) -> None:  # noqa: FBT001  hypothesis passes it
        name = data.draw(st.sampled_from(sorted(self.wants)))
        self.grants.set_agent(name, self.now, reports=there)
        for image in self.grants.images(name):
            if image not in self.grants.live(name):
                self.say(name, NodeImageStatus(image=image))

    @precondition(lambda self: self.may_pull)
    @rule(
        data=st.data(),
        phase=st.sampled_from([Phase.PULLING, Phase.PRESENT, Phase.PRESENT, Phase.FAILED]),
        reason=st.sampled_from(Reason),
    )
    def an_agent_answers(self, data: st.DataObject, phase: Phase, reason: Reason) -> None:
        key = data.draw(st.sampled_from(sorted(self.may_pull)))
        granted, until = self.may_pull[key]
        if self.grants.live(granted.node).get(granted.image) is not granted:
            return
        if phase is Phase.PULLING:
            self.may_pull[key] = (granted, min(until, self.now + granted.seconds))
        else:
            del self.may_pull[key]
        why = reason if phase is Phase.FAILED else Reason.NONE
        self.say(granted.node, NodeImageStatus(
            image=granted.image, phase=phase, grant=granted.id, reason=why, started_at="2026-01-01T00:00:00Z"
        ))  # fmt: skip

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.may_pull = {k: (granted, until) for k, (granted, until) in self.may_pull.items() if until > self.now}

    @rule(sooner=st.booleans())
    def it_settles(self, sooner: bool) -> None:  # noqa: FBT001  hypothesis passes it
        at = self.grants.next_at(self.now)
        if sooner and self.now < at < math.inf:
            self.time_passes(at - self.now)
        for granted in self.grants.settle(self.now):
            assert granted.image in self.wants.get(granted.node, ()), "not wanted"
            assert self.budgets[granted.host].paused_s(self.now) == 0, "in a pause"
            self.may_pull[granted.id] = (granted, self.now + START_S + granted.seconds)
            self.granted.append((self.now, granted.host, COSTS[granted.image]))
        assert self.grants.next_at(self.now) > self.now, "it would spin"

    @invariant()
    def never_more_than_the_budget_could_be_pulling(self) -> None:
        for host in (HOST, OTHER):
            pulling = [granted for granted, _ in self.may_pull.values() if granted.host == host]
            assert len(pulling) <= self.budgets[host].in_flight <= SOME.most_in_flight

    @invariant()
    def no_node_has_more_than_its_share(self) -> None:
        for name in NODES:
            assert len(self.grants.live(name)) <= 1

    @invariant()
    def no_window_holds_more_than_the_bucket_allows(self) -> None:
        for host in (HOST, OTHER):
            total, end = 0, None
            for at, where, cost in reversed(self.granted):
                if where == host:
                    end = at if end is None else end
                    total += cost
                    overdrawn = self.leaders * (LARGEST - SOME.burst)
                    assert total <= SOME.most_rate * (end - at) + LARGEST + overdrawn + 1e-3


class AnyMirroredFleet(AnyFleet):
    """The same with images that nodes get from each other: they are charged less, never let in more."""

    mirrored = (HOST,)

    @invariant()
    def few_begin_before_many_have_it(self) -> None:
        for image in IMAGES[:2]:
            present = sum(
                status.phase is Phase.PRESENT and image in self.wants.get(node, ())
                for (node, of), status in self.told.items()
                if of == image
            )
            live = sum(image in self.grants.live(name) for name in NODES)
            assert live <= max(2, present + 2)


TestAnyFleet = AnyFleet.TestCase
TestAnyFleet.settings = EXAMPLES
TestAnyMirroredFleet = AnyMirroredFleet.TestCase
TestAnyMirroredFleet.settings = settings(EXAMPLES, max_examples=100)


class LosesGrants(Grants):
    def adopt(self, granted: Granted) -> None:
        """Not."""


class LetsGoTooSoon(Grants):
    def settle(self, now: float) -> list[Granted]:
        for name in NODES:
            for granted in self.live(name).values():
                granted.deadline = min(granted.deadline, granted.at + 20)
                self._wake(granted.deadline, granted)
        return super().settle(now)


@pytest.mark.parametrize("broken", [LosesGrants, LetsGoTooSoon])
def test_what_breaks_a_promise_is_caught(broken: type[Grants]) -> None:
    class Broken(AnyFleet):
        make = broken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=ONE)
