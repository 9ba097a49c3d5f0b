"""A circuit: after repeated failures nothing is sent for a while, then one call is let through to see.

Never open for longer than 5 s without letting a call through; that call alone decides. A call that was let through and
ends without an answer either way (it was cancelled) gives its turn to the next.
"""

import random
from collections.abc import Callable
from enum import Enum, auto

FAILURES_TO_OPEN = 3
"""In a row."""
SHORTEST_S, LONGEST_S = 2.5, 5.0
"""Between trials; drawn at random, so that processes do not try together."""


class Admission(Enum):
    """Whether a call may be made: as usual, as the one trial, or not now."""

    USUAL = auto()
    TRIAL = auto()
    REFUSED = auto()


class Circuit:
    """Pure but for the clock and the draw that it is given."""

    def __init__(self, *, now: Callable[[], float], draw: Callable[[float, float], float] = random.uniform) -> None:
        self._now = now
        self._draw = draw
        self._failures = 0
        self._doubtful = False
        self._try_at: float | None = None
        self._trying = False

    @property
    def open(self) -> bool:
        return self._try_at is not None

    @property
    def refuses(self) -> bool:
        """Whether a call made now would be refused."""
        return self._try_at is not None and (self._trying or self._now() < self._try_at)

    def admit(self) -> Admission:
        """Ask before each call; anything but REFUSED must be followed by one of the three below."""
        if not self.open:
            return Admission.USUAL
        if self.refuses:
            return Admission.REFUSED
        self._trying = True
        return Admission.TRIAL

    @property
    def trial_in_s(self) -> float:
        """Seconds until a trial is due; 0 if one is, or if none is needed."""
        return 0.0 if self._try_at is None else max(0.0, self._try_at - self._now())

    @property
    def doubtful(self) -> bool:
        """Whether nothing has been answered since the last failure."""
        return self._doubtful

    def answered(self, *, lightly: bool = False) -> None:
        """Whatever the answer was, there was one. One to a probe proves less: the next failure opens the circuit."""
        if not lightly:
            self._failures = 0
        elif self.open:
            self._failures = FAILURES_TO_OPEN - 1
        self._doubtful = False
        self._try_at = None
        self._trying = False

    def failed(self, admission: Admission) -> None:
        """Calls from before the circuit opened do not prolong it; the trial does."""
        self._failures += 1
        self._doubtful = True
        if admission is Admission.TRIAL or (not self.open and self._failures >= FAILURES_TO_OPEN):
            self._try_at = self._now() + self._draw(SHORTEST_S, LONGEST_S)
            self._trying = False

    def abandoned(self, admission: Admission) -> None:
        if admission is Admission.TRIAL:
            self._trying = False
