"""Who waits for a pull from one registry, in the order in which they are served. Pure.

Images go one after the other: the first in order is begun on every node that waits for it before the next one is begun
anywhere, so an image that many nodes need is finished on some before another takes their turn. Among the nodes of one
image, those that have a part of it go first, then whoever has waited longest. Every operation costs the logarithm of
the number of images at most, but for the list of images itself.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Generic, TypeVar

from controller.plan import Order

Place = tuple[Order, bool]
"""An image's order, and whether the node has yet to begin with it."""

T = TypeVar("T", bound=Hashable)


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
