"""What happened to notifications, told in one line now and then: a flood of them is none of lines."""

from collections import Counter
from enum import StrEnum

import structlog

log = structlog.get_logger()


class Outcome(StrEnum):
    """What became of a request."""

    TAKEN = "taken"
    REFUSED = "refused"
    """A wrong secret, or none."""
    MALFORMED = "malformed"
    BUSY = "busy"


class Tally:
    """Counts until it is told."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, outcome: Outcome, *, arrivals: int = 0) -> None:
        """One request more, and what it told of."""
        self._counts[outcome.value] += 1
        if arrivals:
            self._counts["arrivals"] += arrivals

    def tell(self, *, dropped: int) -> None:
        """Log what was counted since the last time, if anything was. `dropped`: of all time."""
        if self._counts:
            counts, self._counts = self._counts, Counter()
            log.info("events.received", **counts, dropped=dropped)
