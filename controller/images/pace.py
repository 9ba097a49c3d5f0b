"""When a replica is asked about an image again. Pure, but for the draw of chance that it is given.

Soon while something is missing, then after pauses that grow; every few hours once all is there, as registries collect
garbage; what somebody has to mend, seldom. A Retry-After is honoured. All of it is jittered, so that what was begun
together does not stay together.
"""

import random
from dataclasses import dataclass

from tidegate.findings import Finding, Missing, ReplicaFinding

FIRST_PAUSE_S = 2.0
MOST_PAUSE_S = 300.0
GROWTH = 1.5
FINAL_PAUSE_S = 900.0
"""After mismatch and unsupported."""
COMPLETE_PAUSE_S = 6 * 3600.0
MOST_RETRY_AFTER_S = 600.0
SPARED_S = 30.0
"""For a replica that is paused, or that has failed so often that it is left alone: nobody is asked meanwhile."""
START_S = 10.0
"""Over which a start spreads what was not complete."""
LEAST_GAP_S = 1.0
"""Between two questions to one replica about one image, however often somebody says that it should be soon."""

_FINAL = frozenset({Finding.MISMATCH, Finding.UNSUPPORTED})


@dataclass(frozen=True, slots=True)
class Asked:
    """What one replica answered about one image, and when (a monotonic clock's seconds); the next time is `due_at`."""

    at: float
    finding: Finding
    missing: Missing
    pause_s: float
    due_at: float


def after(answer: ReplicaFinding, before: Asked | None, *, now: float, chance: random.Random) -> Asked:
    """The pause that follows an answer."""
    pause = _pause_s(answer, before)
    told = min(answer.retry_after_s or 0.0, MOST_RETRY_AFTER_S)
    due_at = now + max(pause * chance.uniform(0.75, 1.0), told * chance.uniform(1.0, 1.5))
    return Asked(now, answer.finding, answer.missing, pause, due_at)


def heard(answer: ReplicaFinding, before: Asked | None, *, now: float, chance: random.Random) -> Asked:
    """The pause after an answer that somebody else had asked for: where it is no news, pauses do not grow by it."""
    if before is not None and not _is_news(answer, before):
        return Asked(now, answer.finding, answer.missing, before.pause_s, max(before.due_at, now + before.pause_s))
    return after(answer, before, now=now, chance=chance)


def at_start(*, complete: bool, now: float, chance: random.Random) -> Asked:
    """What an object says of a replica, at a start.

    What was complete is looked at again some time in the hours that follow, what was not in the next moments.
    """
    finding = Finding.OK if complete else Finding.DEADLINE
    spread = COMPLETE_PAUSE_S if complete else START_S
    return Asked(now, finding, Missing(), FIRST_PAUSE_S, now + chance.uniform(0.0, spread))


def spared(before: Asked | None, *, now: float, least_s: float, chance: random.Random) -> Asked:
    """Not asked, as it is to be left alone for another `least_s`."""
    due_at = now + max(least_s, chance.uniform(SPARED_S / 2, SPARED_S))
    if before is None:
        return Asked(float("-inf"), Finding.DEADLINE, Missing(), FIRST_PAUSE_S, due_at)
    return Asked(before.at, before.finding, before.missing, before.pause_s, due_at)


def _pause_s(answer: ReplicaFinding, before: Asked | None) -> float:
    if answer.finding is Finding.OK:
        return COMPLETE_PAUSE_S
    if answer.finding in _FINAL:
        return FINAL_PAUSE_S
    if before is None or _is_news(answer, before):
        return FIRST_PAUSE_S
    return min(MOST_PAUSE_S, max(before.pause_s, FIRST_PAUSE_S) * GROWTH)


def _is_news(answer: ReplicaFinding, before: Asked) -> bool:
    return (before.finding, before.missing) != (answer.finding, answer.missing)
