"""Images that nodes get from each other: two seed them, then as many pull at once as have them already. Pure.

For registries behind a peer-to-peer mirror on the nodes (`registries[].pulls.mirror`). A herd that finds the image on
nobody would go through to the registry, so the first two seed it, and from then on the number of nodes that have it
doubles. While it does, a pull costs the registry little: the HEAD that a runtime may send past its mirror. A throttle
says that the mirror does not hold what it promised: from then on the image's pulls are charged in full.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

SEEDS = 2
FROM_PEERS = 1
"""Requests of a pull that peers serve."""

T = TypeVar("T")


@dataclass(slots=True)
class _Image(Generic[T]):
    present: int = 0
    live: int = 0
    doubted: bool = False
    standing_back: dict[T, None] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return max(SEEDS, self.present) - self.live


class Mirrored(Generic[T]):
    """Counts, by image; T is who waits for one."""

    def __init__(self) -> None:
        self._images: dict[str, _Image[T]] = {}

    def count(self, image: str, *, present: int = 0, live: int = 0) -> None:
        """So many more (or fewer) nodes have it, or are pulling it."""
        counted = self._images.setdefault(image, _Image())
        counted.present += present
        counted.live += live
        if not (counted.present or counted.live or counted.standing_back):
            del self._images[image]

    def doubt(self, image: str) -> None:
        """A pull of it was throttled."""
        if image in self._images:
            self._images[image].doubted = True

    def may_begin(self, image: str) -> bool:
        """Whether one more node may begin with it."""
        return image not in self._images or self._images[image].free > 0

    def requests(self, image: str, alone: int) -> int:
        """What a pull costs the registry, where it costs `alone` without peers."""
        counted = self._images.get(image)
        if counted is None or counted.doubted or counted.present < SEEDS:
            return alone
        return min(alone, FROM_PEERS)

    def stand_back(self, image: str, who: T) -> None:
        """Wait until more have it."""
        self._images[image].standing_back[who] = None

    def step_forward(self, take: Callable[[T], bool]) -> None:
        """Offer those that need not stand back any more, first come first, until as many are taken as may begin."""
        for counted in self._images.values():
            back, free = counted.standing_back, counted.free
            while back and free > 0:
                who = next(iter(back))
                del back[who]
                free -= take(who)
