"""Wants, reports and budgets turned into grants: each promise of the module, then all of them over any history."""

import math
import random
from itertools import count
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.budget import Budget, Limits
from controller.granted import LATE_S, MOST_S, START_S, Cost, Granted
from controller.grants import GONE_S, Grants
from controller.plan import Want, host_of
from tidegate.kube.shapes import NodeImageStatus, Phase, Reason

HOST, OTHER = "registry.test", "other.test"
A, B, C, X = f"{HOST}/a:1", f"{HOST}/b:1", f"{HOST}/c:1", f"{OTHER}/x:1"
WIDE = Limits(in_flight=100, rate=1000.0, burst=1000)


def want(image: str, place: int = 0, priority: int = 0) -> Want:
    return Want(image, host_of(image), (-priority, "2026", "default/x", place))


class Bench:
    """Grants with everything known and every agent there, unless a test says otherwise."""

    def __init__(self, limits: Limits = WIDE, *, per_node: int = 1) -> None:
        serial = count(1)
        self.budgets = {host: Budget(limits, now=0.0) for host in (HOST, OTHER)}
        chance = random.Random(0)  # noqa: S311  repeatable jitter
        self.grants = Grants(self.budgets, per_node=per_node, new_id=lambda: f"g{next(serial)}", chance=chance)

    def nodes(self, *names: str, wants: list[Want], now: float = 0.0, cost: int = 1) -> None:
        for name in names:
            self.grants.set_wants(name, wants, now)
            self.grants.set_agent(name, now, reports=True)
            for one in wants:
                self.say(name, one.image, now=now)
        for one in wants:
            self.grants.set_cost(one.image, Cost(requests=cost, bytes=0), now)

    def say(self, node: str, image: str, phase: Phase = Phase.PENDING, *, now: float = 0.0, **more: Any) -> None:
        started = None if phase is Phase.PENDING else "2026-01-01T00:00:00Z"
        status = NodeImageStatus(image=image, phase=phase, **{"started_at": started, **more})
        self.grants.observe(node, image, status, now)

    def settle(self, now: float = 0.0) -> list[tuple[str, str]]:
        return [(granted.node, granted.image) for granted in self.grants.settle(now)]

    def results(self) -> list[str]:
        return [ended.result for ended in self.grants.take_ended()]


def test_an_image_is_finished_on_some_before_the_next_is_begun_on_any() -> None:
    bench = Bench(Limits(in_flight=3, rate=1000, burst=1000), per_node=2)
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1)])
    assert bench.settle() == [("n", A), ("m", A), ("n", B)]


def test_higher_priority_goes_first() -> None:
    bench = Bench(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", wants=[want(A)])
    bench.nodes("m", wants=[want(B, priority=5)])
    assert bench.settle() == [("m", B)]


@pytest.mark.parametrize(
    "missing",
    ["want", "look", "absence", "cost", "agent"],
)
def test_nothing_is_granted_before_all_is_known(missing: str) -> None:
    bench = Bench()
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


def test_an_agent_that_left_gets_no_grant_and_one_that_knows_nothing_must_look_again() -> None:
    bench = Bench()
    bench.nodes("n", wants=[want(A)])
    bench.grants.set_agent("n", 0.0, reports=False)
    assert bench.settle() == []
    bench.grants.observe("n", A, None, 0.0)
    bench.grants.set_agent("n", 0.0, reports=True)
    assert bench.settle() == []


@pytest.mark.parametrize("per_node", [1, 2])
def test_pulls_on_one_node_are_bounded_over_all_registries(per_node: int) -> None:
    bench = Bench(per_node=per_node)
    bench.nodes("n", wants=[want(A, 0), want(X, 1), want(B, 2)])
    assert len(bench.settle()) == per_node


def test_a_busy_node_does_not_hold_up_others() -> None:
    bench = Bench()
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1)])
    assert bench.settle() == [("n", A), ("m", A)]
    bench.say("m", A, Phase.PRESENT, grant="g2")
    assert bench.settle() == [("m", B)]


def test_one_registry_does_not_hold_up_another() -> None:
    bench = Bench(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", "m", wants=[want(A)])
    bench.nodes("o", wants=[want(X)])
    assert bench.settle() == [("n", A), ("o", X)]


def test_a_dear_pull_is_waited_for_and_not_overtaken() -> None:
    bench = Bench(Limits(in_flight=9, rate=10, burst=10))
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
def test_an_answer_ends_the_grant(phase: Phase, more: dict[str, Any], result: str) -> None:
    bench = Bench()
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
def test_other_words_do_not(status: dict[str, Any]) -> None:
    bench = Bench()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.say("n", A, **status)
    bench.grants.observe("n", A, None, 0.0)
    assert (bench.results(), bench.budgets[HOST].in_flight) == ([], 1)


def test_a_throttle_halves_the_budget_and_nothing_starts_in_the_pause() -> None:
    bench = Bench(Limits(in_flight=4, rate=1000, burst=1000))
    bench.nodes(*"nmopqr", wants=[want(A)])
    assert len(bench.settle()) == 4
    bench.say("n", A, Phase.FAILED, now=1.0, grant="g1", reason=Reason.THROTTLED, retry_after_seconds=5.0)
    for number, node in enumerate("mop", start=2):
        bench.say(node, A, Phase.PRESENT, now=1.5, grant=f"g{number}")
    assert bench.settle(5.9) == []
    assert bench.grants.next_at(5.9) == pytest.approx(6.0)
    assert bench.settle(6.0) == [("n", A), ("q", A)], "where a part is already goes first, two at once"


def test_a_node_that_fails_again_and_again_no_longer_goes_first() -> None:
    bench = Bench(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", "m", wants=[want(A)])
    for turn, now in enumerate((0.0, 20.0, 40.0, 60.0), start=1):
        assert bench.settle(now) == [("n", A)]
        bench.say("n", A, Phase.FAILED, now=now, grant=f"g{turn}", reason=Reason.THROTTLED)
    assert bench.settle(80.0) == [("m", A)]


@pytest.mark.parametrize(
    "reason, first, most",
    [(Reason.OTHER, 2, 300), (Reason.CANCELED, 2, 300), (Reason.NOT_FOUND, 30, 600), (Reason.NO_SPACE, 60, 600)],
)
def test_a_failure_backs_off_longer_each_time_up_to_a_cap(reason: Reason, first: float, most: float) -> None:
    bench, now, pauses = Bench(), 0.0, []
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


def test_a_grant_that_nobody_answers_ends_when_nobody_can_be_pulling_any_more() -> None:
    bench = Bench()
    bench.nodes("n", wants=[want(A)])
    [granted] = bench.grants.settle(0.0)
    last = START_S + granted.seconds + LATE_S
    assert bench.grants.next_at(0.0) == last
    assert bench.settle(last - 0.1) == []
    assert bench.results() == []
    assert bench.settle(last) == []
    assert (bench.results(), bench.budgets[HOST].in_flight) == (["expired"], 0)
    assert bench.settle(last + 3) == [("n", A)]


def test_once_it_is_seen_to_have_begun_it_can_last_no_longer_than_its_seconds() -> None:
    bench = Bench()
    bench.nodes("n", wants=[want(A)])
    [granted] = bench.grants.settle(0.0)
    bench.say("n", A, Phase.PULLING, now=10.0, grant="g1")
    bench.say("n", A, Phase.PULLING, now=50.0, grant="g1")
    assert bench.grants.next_at(50.0) == 10.0 + granted.seconds + LATE_S


@pytest.mark.parametrize("size, seconds", [(0, 60), (2_400_000_000, 2460), (10**12, MOST_S)])
def test_time_for_a_pull_follows_its_bytes(size: int, seconds: float) -> None:
    assert Cost(1, size).seconds == seconds


def test_the_grant_of_an_image_that_nobody_wants_any_more_stays_in_flight_until_it_is_answered() -> None:
    bench = Bench()
    bench.nodes("n", wants=[want(A)])
    bench.settle()
    bench.grants.set_wants("n", [], 1.0)
    assert (bench.grants.images("n"), bench.budgets[HOST].in_flight, bench.grants.is_wanted(A)) == ([A], 1, False)
    bench.say("n", A, Phase.FAILED, now=2.0, grant="g1")
    assert (bench.grants.images("n"), bench.budgets[HOST].in_flight) == ([], 0)


def test_a_deleted_node_gives_its_grants_back_soon_and_its_successor_owes_nothing() -> None:
    bench = Bench()
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


def test_adopted_grants_are_in_flight_once() -> None:
    bench = Bench(Limits(in_flight=2, rate=1000, burst=1000))
    for name, identity, host in (("n", "old", HOST), ("n", "old", HOST), ("o", "unlisted", "gone.test")):
        bench.grants.adopt(Granted(identity, name, A, host, seconds=60, at=0.0, deadline=90.0))
    bench.nodes("n", "m", "o", wants=[want(A)])
    assert bench.settle() == [("m", A)]
    bench.say("n", A, Phase.PRESENT, grant="old")
    assert bench.results() == ["clean"]


def test_costs_are_asked_for_once_and_forgotten_with_the_last_want() -> None:
    bench = Bench()
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


class AnyFleet(RuleBasedStateMachine):
    """Nodes and wants come and go, agents answer or fall silent, time passes. A model of the agents watches."""

    NODES, IMAGES = ("n", "m", "o"), (A, B, X)
    LIMITS = Limits(in_flight=2, rate=4.0, burst=6)

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(self.LIMITS)
        self.now = 0.0
        self.wants: dict[str, set[str]] = {}
        self.may_pull: dict[str, tuple[Granted, float]] = {}
        """Grants under which some agent could still be pulling, and until when."""
        self.granted: list[tuple[float, str, int]] = []
        self.costs = {A: 9, B: 2, X: 1}

    @rule(name=st.sampled_from(NODES), images=st.sets(st.sampled_from(IMAGES)))
    def a_node_is_planned(self, name: str, images: set[str]) -> None:
        self.bench.grants.set_wants(name, [want(i, p) for p, i in enumerate(self.IMAGES) if i in images], self.now)
        self.wants[name] = images
        for image in images:
            self.bench.grants.set_cost(image, Cost(self.costs[image], 0), self.now)

    @precondition(lambda self: self.wants)
    @rule(data=st.data())
    def a_node_is_deleted(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.wants)))
        del self.wants[name]
        self.bench.grants.forget_node(name, self.now)
        for key, (granted, until) in self.may_pull.items():
            if granted.node == name:
                self.may_pull[key] = (granted, min(until, self.now + GONE_S))

    @precondition(lambda self: self.wants)
    @rule(data=st.data(), there=st.booleans())
    def an_agent_looks(self, data: st.DataObject, there: bool) -> None:  # noqa: FBT001  hypothesis passes it
        name = data.draw(st.sampled_from(sorted(self.wants)))
        self.bench.grants.set_agent(name, self.now, reports=there)
        for image in self.bench.grants.images(name):
            if image not in self.bench.grants.live(name):
                self.bench.say(name, image, now=self.now)

    @precondition(lambda self: self.may_pull)
    @rule(
        data=st.data(),
        phase=st.sampled_from([Phase.PULLING, Phase.PRESENT, Phase.FAILED]),
        reason=st.sampled_from(Reason),
    )
    def an_agent_answers(self, data: st.DataObject, phase: Phase, reason: Reason) -> None:
        key = data.draw(st.sampled_from(sorted(self.may_pull)))
        granted, until = self.may_pull[key]
        if self.bench.grants.live(granted.node).get(granted.image) is not granted:
            return
        if phase is Phase.PULLING:
            self.may_pull[key] = (granted, min(until, self.now + granted.seconds))
        else:
            del self.may_pull[key]
        self.bench.say(granted.node, granted.image, phase, now=self.now, grant=granted.id, reason=reason)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.may_pull = {k: (granted, until) for k, (granted, until) in self.may_pull.items() if until > self.now}

    @rule(sooner=st.booleans())
    def it_settles(self, sooner: bool) -> None:  # noqa: FBT001  hypothesis passes it
        at = self.bench.grants.next_at(self.now)
        if sooner and self.now < at < math.inf:
            self.time_passes(at - self.now)
        for granted in self.bench.grants.settle(self.now):
            assert granted.image in self.wants.get(granted.node, ()), "not wanted"
            self.may_pull[granted.id] = (granted, self.now + START_S + granted.seconds)
            self.granted.append((self.now, granted.host, self.costs[granted.image]))
        assert self.bench.grants.next_at(self.now) > self.now, "it would spin"

    @invariant()
    def never_more_than_the_budget_could_be_pulling(self) -> None:
        for host in (HOST, OTHER):
            pulling = [granted for granted, _ in self.may_pull.values() if granted.host == host]
            assert len(pulling) <= self.bench.budgets[host].in_flight <= self.LIMITS.in_flight

    @invariant()
    def no_node_has_more_than_its_share(self) -> None:
        for name in self.NODES:
            assert len(self.bench.grants.live(name)) <= 1

    @invariant()
    def no_window_holds_more_than_the_bucket_allows(self) -> None:
        for host in (HOST, OTHER):
            total, end = 0, None
            for at, where, cost in reversed(self.granted):
                if where == host:
                    end = at if end is None else end
                    total += cost
                    assert total <= self.LIMITS.rate * (end - at) + max(self.LIMITS.burst, 9) + 1e-3


TestAnyFleet = AnyFleet.TestCase


def test_every_node_is_warm_in_the_end_whatever_fails() -> None:
    chance = random.Random(7)  # noqa: S311  a repeatable history
    bench, now, wants = Bench(Limits(in_flight=3, rate=20, burst=10), per_node=2), 0.0, [want(A, 0), want(B, 1)]
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


def test_a_grant_whose_image_was_collected_before_anybody_heard_of_it_is_over() -> None:
    bench = Bench(Limits(in_flight=1, rate=1000, burst=1000))
    bench.nodes("n", wants=[want(A)])
    assert bench.settle() == [("n", A)]
    bench.say("n", A, now=1)  # it has not heard of the grant yet
    assert bench.results() == []
    bench.say("n", A, grant="g1", now=2)
    assert bench.results() == ["other"]
    assert (bench.settle(3), bench.settle(5)) == ([], [("n", A)])
