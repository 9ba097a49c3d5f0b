"""Who waits for a pull from one registry, in the order in which they are served. Pure.

Images go one after the other: the first in order is begun on every node that waits for it before the next one is begun
anywhere, so an image that many nodes need is finished on some before another takes their turn. Among the nodes of one
image, whoever has waited longest is first. Every operation costs the logarithm of the number of images at most.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Generic, TypeVar

from controller.plan import Order

T = TypeVar("T", bound=Hashable)


class Waiting(Generic[T]):
    """A queue of queues: by `order`, then first come, first served."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._queues: dict[Order, dict[T, None]] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def head(self) -> T | None:
        """Who is next."""
        return next(iter(self._queues[self._orders[0]])) if self._orders else None

    def add(self, order: Order, who: T) -> None:
        """Queue up; whoever is there already keeps the place."""
        queue = self._queues.get(order)
        if queue is None:
            queue = self._queues[order] = {}
            insort(self._orders, order)
        queue.setdefault(who)

    def discard(self, order: Order, who: T) -> None:
        """Leave, if there."""
        queue = self._queues.get(order)
        if queue is None or who not in queue:
            return
        del queue[who]
        if not queue:
            del self._queues[order]
            del self._orders[bisect_left(self._orders, order)]
