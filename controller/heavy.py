"""Which images are pre-pulled without being asked for: those of workloads that say nothing, from a size on. Pure.

- A workload that says nothing asks for those of its images whose compressed bytes, on the dearest of the cluster's
  platforms, are more than `heavy_bytes`. What nobody can tell the size of is not asked for.
- A size is found once for each image, however many workloads use it, and kept while one does.
- A workload is undecided while an image's size is still to come; one that could not be found is not waited for.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from controller.derive import Derived
from controller.granted import Cost


class Heavy:
    """By NAMESPACE/NAME of the PrePull that each workload would have."""

    def __init__(self, heavy_bytes: int) -> None:
        self._heavy_bytes = heavy_bytes
        self._silent: dict[str, Derived] = {}
        self._users: defaultdict[str, set[str]] = defaultdict(set)
        """Image → the workloads that have it."""
        self._costs: dict[str, Cost] = {}
        self._given_up: set[str] = set()
        self._unknown: set[str] = set()
        self._undecided: set[str] = set()

    def put(self, key: str, silent: Derived | None) -> None:
        """A workload that says nothing has these images now; None: it is gone, or says something."""
        old = self._silent.pop(key, None)
        before = set(old.spec.images) if old is not None else set()
        now = set(silent.spec.images) if silent is not None else set()
        for image in before - now:
            self._users[image].discard(key)
            if not self._users[image]:
                self._forget(image)
        for image in now - before:
            if image not in self._users:
                self._unknown.add(image)
            self._users[image].add(key)
        if silent is not None:
            self._silent[key] = silent
        self._decide(key)

    def price(self, image: str, cost: Cost | None) -> set[str]:
        """What a pull of it takes, or that nobody can tell for now. Returns the workloads that this may change."""
        if image not in self._users:
            return set()
        if cost is None:
            self._given_up.add(image)
        else:
            self._costs[image] = cost
        users = set(self._users[image])
        for key in users:
            self._decide(key)
        return users

    def asks(self, key: str) -> Derived | None:
        """What the workload asks for, as far as it is known; None: nothing."""
        silent = self._silent.get(key)
        if silent is None:
            return None
        heavy = [image for image in silent.spec.images if self._is_heavy(image)]
        if not heavy:
            return None
        return replace(silent, spec=msgspec.structs.replace(silent.spec, images=heavy))

    def cost(self, image: str) -> Cost | None:
        """What is known of it."""
        return self._costs.get(image)

    def is_wanted(self, image: str) -> bool:
        """Whether its size is still to be found."""
        return image in self._users and image not in self._costs

    def undecided(self) -> Iterator[Derived]:
        """Workloads that may yet ask for more."""
        return (self._silent[key] for key in self._undecided)

    def take_unknown(self) -> set[str]:
        """Images that came since the last call, and whose size has to be found."""
        unknown, self._unknown = self._unknown, set()
        return unknown

    def _is_heavy(self, image: str) -> bool:
        cost = self._costs.get(image)
        return cost is not None and cost.bytes > self._heavy_bytes

    def _decide(self, key: str) -> None:
        silent = self._silent.get(key)
        known = silent is None or all(image in self._costs or image in self._given_up for image in silent.spec.images)
        (self._undecided.discard if known else self._undecided.add)(key)

    def _forget(self, image: str) -> None:
        del self._users[image]
        self._costs.pop(image, None)
        self._given_up.discard(image)
        self._unknown.discard(image)
