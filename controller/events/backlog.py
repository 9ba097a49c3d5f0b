"""Arrivals that a reader has not fetched yet: bounded, in order, and each there once.

Guarantees:
- At most `most` are kept; the oldest goes first, and is counted.
- One that is told again moves to the end under a new number: a reader hears of it once more, and never twice of one
  telling.
- Numbers only grow, also from one process to the next where the clock does not go back; a reader that asks after a
  number that was never given is told everything that is there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from controller.events.arrivals import Arrival

MOST_KEPT = 4096
MOST_AT_ONCE = 500


class Backlog:
    """See the module. `first` is the number to count from: milliseconds since 1970 will do."""

    def __init__(self, *, first: int, most: int = MOST_KEPT) -> None:
        self._most = most
        self._last = first
        self._first = first
        self._kept: OrderedDict[Arrival, int] = OrderedDict()
        self._more = asyncio.Event()
        self.dropped = 0
        """Of all time."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, arrivals: Sequence[Arrival]) -> None:
        """Keep what was told."""
        for arrival in arrivals:
            self._last += 1
            self._kept[arrival] = self._last
            self._kept.move_to_end(arrival)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
            self.dropped += 1
        if arrivals:
            self._more.set()
            self._more = asyncio.Event()

    def after(self, number: int) -> tuple[int, list[Arrival]]:
        """What came after a number, oldest first, `MOST_AT_ONCE` at most; and the number to go on from."""
        if not self._first <= number <= self._last:
            number = self._first
        newest = [(told, arrival) for arrival, told in islice(reversed(self._kept.items()), self._last - number)]
        due = [(told, arrival) for told, arrival in reversed(newest) if told > number][:MOST_AT_ONCE]
        return (due[-1][0] if due else self._last), [arrival for _, arrival in due]

    async def wait(self, number: int, *, at_most_s: float) -> tuple[int, list[Arrival]]:
        """As `after`, but something, unless nothing comes in time."""
        if number == self._last:
            try:
                async with asyncio.timeout(at_most_s):
                    await self._more.wait()
            except TimeoutError:
                pass
        return self.after(number)
