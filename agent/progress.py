"""How far a pull is, whether it still moves, and whether another one waits for its sake. Pure.

- Bytes only grow: what is no longer listed has come in whole.
- A pull has stalled when bytes of it are outstanding and none came for a while, though nobody else took the node's
  download slots meanwhile. While nothing of it is outstanding (it is being unpacked), it has not.
- Another pull starves when none of its downloads moves while ours are listed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.cri import Download


@dataclass(slots=True)
class Movement:
    """Since when a set of downloads has not changed."""

    still_since: float
    _last: frozenset[tuple[str, int]] = frozenset()

    def see(self, downloads: Iterable[Download], now: float) -> None:
        """Compare with what was there before."""
        current = frozenset((each.ref, each.received) for each in downloads)
        if current != self._last or not current:
            self._last, self.still_since = current, now


@dataclass(slots=True)
class Progress:
    """Of one pull. `began`: on the clock that `see` is given."""

    began: float
    received: int = 0
    ours: Movement = field(init=False)
    others: Movement = field(init=False)
    _totals: dict[str, int] = field(default_factory=dict)
    _coming: dict[str, int] = field(default_factory=dict)
    _started: bool = False
    _quiet_since: float = field(init=False)

    def __post_init__(self) -> None:
        self.ours, self.others = Movement(self.began), Movement(self.began)
        self._quiet_since = self.began

    def see(self, ours: list[Download], others: list[Download], now: float) -> None:
        """Take in one look at what is under way."""
        for each in ours:
            self._started = True
            self._totals[each.ref] = max(each.total, each.received)
        self._coming = {each.ref: each.received for each in ours}
        whole = sum(total for ref, total in self._totals.items() if ref not in self._coming)
        self.received = max(self.received, whole + sum(self._coming.values()))
        moved_before = self.others.still_since
        self.ours.see(ours, now)
        self.others.see(others, now)
        others_moved = bool(others) and self.others.still_since > moved_before
        if self.ours.still_since == now or others_moved:
            self._quiet_since = now

    def stalled_s(self, now: float) -> float:
        """For how long nothing came that should have; 0 while there is nothing to come."""
        if self._started and not self._coming:
            return 0.0
        return now - self._quiet_since

    def starving_s(self, now: float) -> float:
        """For how long others' downloads have waited while ours were listed."""
        return now - self.others.still_since if self._coming else 0.0
