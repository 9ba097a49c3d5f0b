"""When a replica is asked again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.images import pace
from tidegate.findings import Finding, Missing, ReplicaFinding

CHANCE = random.Random(0)  # noqa: S311  jitter
LACKING = Missing(blobs=3, of_blobs=12)


def answer(finding: Finding, *, blobs: int = 0, told_s: float | None = None) -> ReplicaFinding:
    return ReplicaFinding("west", finding, missing=Missing(blobs=blobs), retry_after_s=told_s)


def pauses(*answers: ReplicaFinding) -> list[float]:
    """The pauses after each, jitter left out."""
    asked, now, seen = None, 0.0, []
    for one in answers:
        asked = pace.after(one, asked, now=now, chance=CHANCE)
        seen.append(asked.pause_s)
        now = asked.due_at
    return seen


def test_pauses_grow_while_nothing_moves_and_are_short_again_when_something_does() -> None:
    absent, part, less = (
        answer(Finding.ABSENT),
        answer(Finding.INCOMPLETE, blobs=3),
        answer(Finding.INCOMPLETE, blobs=2),
    )
    assert pauses(absent, absent, absent, part, part, less) == [2, 3, 4.5, 2, 3, 2]
    assert pauses(*[absent] * 30)[-1] == pace.MOST_PAUSE_S


@pytest.mark.parametrize(
    "finding,pause",
    [
        pytest.param(Finding.OK, pace.COMPLETE_PAUSE_S, id="whole: some hours"),
        pytest.param(Finding.MISMATCH, pace.FINAL_PAUSE_S, id="somebody has to mend it"),
        pytest.param(Finding.UNSUPPORTED, pace.FINAL_PAUSE_S, id="so here"),
        pytest.param(Finding.UNREACHABLE, pace.FIRST_PAUSE_S, id="a failure: soon at first"),
    ],
)
def test_what_follows_from_an_answer(finding: Finding, pause: float) -> None:
    assert pauses(answer(finding)) == [pause]


@given(st.sampled_from(list(Finding)), st.none() | st.floats(0, 1e6), st.integers(0, 2**32))
def test_a_retry_after_is_honoured_and_every_pause_is_bounded(finding: Finding, told: float | None, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  jitter
    asked = pace.after(answer(finding, told_s=told), None, now=100.0, chance=chance)
    assert asked.due_at - 100.0 >= min(told or 0.0, pace.MOST_RETRY_AFTER_S)
    assert 0 < asked.due_at - 100.0 <= max(pace.COMPLETE_PAUSE_S, 1.5 * pace.MOST_RETRY_AFTER_S)


def test_what_others_ask_puts_the_next_question_off() -> None:
    first = pace.after(answer(Finding.ABSENT), None, now=0.0, chance=CHANCE)
    for now in range(1, 60):
        heard = pace.heard(answer(Finding.ABSENT), first, now=float(now), chance=CHANCE)
        assert (heard.pause_s, heard.due_at > now + 1) == (first.pause_s, True)
        first = heard
    assert pace.heard(answer(Finding.OK), first, now=60.0, chance=CHANCE).pause_s == pace.COMPLETE_PAUSE_S


def test_a_start_spreads_what_is_known() -> None:
    whole = [pace.at_start(complete=True, now=0.0, chance=CHANCE).due_at for _ in range(1000)]
    assert max(whole) <= pace.COMPLETE_PAUSE_S
    assert sum(due < pace.COMPLETE_PAUSE_S / 2 for due in whole) in range(400, 600)
    assert all(pace.at_start(complete=False, now=0.0, chance=CHANCE).due_at <= pace.START_S for _ in range(100))


def test_who_is_spared_keeps_what_is_known_of_it() -> None:
    known = pace.after(answer(Finding.OK), None, now=0.0, chance=CHANCE)
    spared = pace.spared(known, now=9.0, least_s=50.0, chance=CHANCE)
    assert (spared.finding, spared.at, spared.due_at) == (Finding.OK, 0.0, 59.0)
    assert pace.spared(None, now=9.0, least_s=0.0, chance=CHANCE).due_at >= 9.0 + pace.SPARED_S / 2
