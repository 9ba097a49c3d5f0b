import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.replicas.circuit import FAILURES_TO_OPEN, LONGEST_S, SHORTEST_S, Admission, Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(now=clock, draw=lambda _shortest, longest: longest)


def fail(circuit: Circuit, times: int = FAILURES_TO_OPEN) -> None:
    for _ in range(times):
        circuit.failed(circuit.admit())


def test_it_opens_at_the_third_failure_in_a_row(circuit: Circuit) -> None:
    fail(circuit, 2)
    assert circuit.admit() is Admission.USUAL
    fail(circuit, 1)
    assert circuit.open
    assert circuit.admit() is Admission.REFUSED


def test_an_answer_between_failures_begins_the_count_anew(circuit: Circuit) -> None:
    for _ in range(10):
        fail(circuit, 2)
        circuit.answered()
    assert not circuit.open


def test_one_call_is_let_through_after_five_seconds_and_only_one(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += LONGEST_S - 0.01
    assert circuit.refuses
    clock.now += 0.01
    assert not circuit.refuses
    assert circuit.admit() is Admission.TRIAL
    assert circuit.refuses
    assert circuit.admit() is Admission.REFUSED


def test_a_trial_that_is_answered_closes_it(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += LONGEST_S
    circuit.admit()
    circuit.answered()
    assert not circuit.open
    assert [circuit.admit(), circuit.admit()] == [Admission.USUAL] * 2


def test_a_trial_that_fails_waits_again(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += LONGEST_S
    circuit.failed(circuit.admit())
    assert circuit.admit() is Admission.REFUSED
    clock.now += LONGEST_S
    assert circuit.admit() is Admission.TRIAL


def test_a_trial_that_is_abandoned_gives_its_turn_to_the_next(circuit: Circuit, clock: Clock) -> None:
    fail(circuit)
    clock.now += LONGEST_S
    circuit.abandoned(circuit.admit())
    assert circuit.admit() is Admission.TRIAL


def test_late_failures_of_earlier_calls_do_not_prolong_it(circuit: Circuit, clock: Clock) -> None:
    early = [circuit.admit() for _ in range(20)]
    fail(circuit)
    clock.now += LONGEST_S - 1
    for admission in early:
        circuit.failed(admission)
        circuit.abandoned(admission)
    clock.now += 1
    assert circuit.admit() is Admission.TRIAL


def test_a_late_answer_to_an_earlier_call_closes_it(circuit: Circuit) -> None:
    fail(circuit)
    circuit.answered()
    assert circuit.admit() is Admission.USUAL


@given(st.lists(st.sampled_from(["fail", "answer", "abandon", "wait"]), max_size=60))
def test_it_is_never_open_for_longer_than_five_seconds_without_a_trial(steps: list[str]) -> None:
    clock = Clock()
    circuit = Circuit(now=clock)
    for step in steps:
        admission = circuit.admit()
        if step == "wait":
            circuit.abandoned(admission)
            clock.now += 1.0
        elif admission is not Admission.REFUSED:
            {"fail": circuit.failed, "abandon": circuit.abandoned}.get(step, lambda _: circuit.answered())(admission)
    clock.now += LONGEST_S
    assert circuit.admit() is not Admission.REFUSED


def test_processes_do_not_try_together() -> None:
    drawn = []
    circuit = Circuit(now=Clock(), draw=lambda *bounds: drawn.append(bounds) or 3.0)
    fail(circuit)
    assert drawn == [(SHORTEST_S, LONGEST_S)]
    assert 0 < SHORTEST_S < LONGEST_S <= 5
