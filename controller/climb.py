"""A quantity that follows a limit which nobody has told: it climbs while all goes well, and halves at too much. Pure.

Guarantees, over any history of calls:

- `value` stays between `floor` and `most`.
- `halve` remembers where it was too much. Up to `NEAR` of that it climbs at full speed, and stops there once; from
  there on, until it is as far past it, at `SLOWLY` of the speed. Beyond, what was remembered is no longer true, and is
  forgotten: a limit that was raised is found, and one that was lowered is met again, lower.

No clock: what a step is, and when it is earned, is the caller's.
"""

NEAR = 0.75
SLOWLY = 1 / 8


class Climb:
    """See the module. It begins at `start`."""

    def __init__(self, start: float, *, most: float, floor: float) -> None:
        self.value = start
        self.start = start
        self._most = max(start, most)
        self._floor = floor
        self._too_much: float | None = None

    def climb(self, step: float, *, most: float) -> None:
        """Up by a step, or by a part of it near where it was too much; not past `most`, and never down."""
        most = min(most, self._most)
        if self._too_much is None:
            reached = self.value + step
        elif self.value < NEAR * self._too_much:
            reached = min(self.value + step, NEAR * self._too_much)
        else:
            reached = self.value + step * SLOWLY
        self.value = max(self.value, min(most, reached))
        if self._too_much is not None and self.value > self._too_much / NEAR:
            self._too_much = None

    def halve(self) -> None:
        """It was too much."""
        self._too_much = self.value
        self.value = max(self._floor, self.value / 2)
