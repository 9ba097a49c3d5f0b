"""Who waits for a pull from one registry, in the order in which they are served. Pure.

Higher priority first; then those that are overdue, and those that were begun already; then the nodes that lack the
fewest images, so that nodes become whole one after the other and none waits half done for all the others; then the
older ask, an image at a time, so that an image that many nodes need is finished on some before it is begun on all; then
whoever has waited longest. Every operation costs the logarithm of the number of places at most, but for the list of
places itself.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Generic, TypeVar

from controller.plan import Order

Place = tuple[int, int, int, Order]
"""Minus the priority; one of the four below; how many images the node lacks; the image's own order."""

OVERDUE, AHEAD, IN_TURN, BEHIND = range(4)

T = TypeVar("T", bound=Hashable)


def place(order: Order, *, turn: int, lacking: int = 0) -> Place:
    """Who is overdue is served in the order of becoming so, whatever it wants."""
    return (order[0], turn, lacking, order if turn != OVERDUE else (order[0], "", "", 0))


class Waiting(Generic[T]):
    """A queue of queues: by `place`, then first come, first served."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._queues: dict[Place, dict[T, None]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def head(self) -> T | None:
        """Who is next."""
        return next(iter(self._queues[self._places[0]])) if self._places else None

    def add(self, place: Place, who: T) -> None:
        """Queue up; whoever is there already keeps the place."""
        queue = self._queues.get(place)
        if queue is None:
            queue = self._queues[place] = {}
            insort(self._places, place)
        queue.setdefault(who)

    def discard(self, place: Place, who: T) -> None:
        """Leave, if there."""
        queue = self._queues.get(place)
        if queue is None or who not in queue:
            return
        del queue[who]
        if not queue:
            del self._queues[place]
            del self._places[bisect_left(self._places, place)]
