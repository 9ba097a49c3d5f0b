"""How often anybody may ask: a bucket for each name. Pure; the clock is passed in."""

from cachetools import LRUCache

_NAMES = 16_384
"""Names that are remembered; one that is forgotten has a full bucket again."""


class Pace:
    """`burst` at once, then `per_s`."""

    def __init__(self, *, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left: LRUCache[str, tuple[float, float]] = LRUCache(_NAMES)

    def lets(self, name: str, now: float) -> bool:
        """Whether this one may ask once more, now."""
        left, at = self._left.get(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_s)
        may = left >= 1
        self._left[name] = (left - 1 if may else left, now)
        return may
