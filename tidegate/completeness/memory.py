"""What was learned of images, for as long as it may be believed.

- Presence is a fact of (registry, replica, repository, digest). Complete is remembered for hours; what a replica
  proved not to have whole, for seconds, so that its arrival is seen; a failure is never remembered.
- That an image was complete before, on the replicas that count, outlives that by days: policy lets a failure pass
  with it. Proof of the contrary ends it.
- What a whole walk found missing is kept a little longer, not as a fact, but to know what to ask for first.
- A tag is where it points for a moment only.

Everything is bounded in bytes (estimates of what CPython takes), the least recently used goes first.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from cachetools import Cache, LRUCache, TTLCache

from tidegate.completeness.walk import Presence, PullCost
from tidegate.findings import FAILURES, Finding
from tidegate.reference import Digest

_ENTRY_BYTES = 1500
"""A `Presence` with its digest, the cache's own links, and a key of three or four strings (paths end at 255)."""
_DIGEST_BYTES = 160
_BEFORE_S = 7 * 86400.0

K = TypeVar("K")
V = TypeVar("V")

PresenceKey = tuple[str, str, str, str]
"""Registry, replica, repository, digest."""
ImageKey = tuple[str, str, str]
"""Registry, repository, digest (or tag, where a tag is what was asked)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """How much is remembered, and for how long."""

    complete_s: float = 6 * 3600.0
    """A blob that a registry garbage-collects is noticed no later than this by what does not look afresh."""
    absent_s: float = 3.0
    """At most 5: so long a review may deny what has just arrived."""
    recount_s: float = 10.0
    """So long it is enough that one blob is still missing; then all are counted again."""
    tag_s: float = 1.0
    """So long a moved tag is judged by what it was."""
    complete_bytes: int = 32 << 20
    """About 22,000 images; more of them are checked again, nothing else."""
    other_bytes: int = 8 << 20
    """Of each of the smaller memories."""


class Memory:
    """Synchronous, and some microseconds for each question."""

    def __init__(self, settings: MemorySettings | None = None, *, timer: Callable[[], float] = time.monotonic) -> None:
        limits = settings or MemorySettings()

        small = limits.other_bytes
        self._complete: TTLCache[PresenceKey, Presence] = TTLCache(
            limits.complete_bytes, limits.complete_s, timer=timer, getsizeof=_presence_bytes
        )
        self._proven: TTLCache[PresenceKey, Presence] = TTLCache(
            small, limits.absent_s, timer=timer, getsizeof=_presence_bytes
        )
        self._counted: TTLCache[PresenceKey, Presence] = TTLCache(
            small, limits.recount_s, timer=timer, getsizeof=_presence_bytes
        )
        self._tags: TTLCache[PresenceKey, Digest] = TTLCache(small, limits.tag_s, timer=timer, getsizeof=_text_bytes)
        self._before: TTLCache[ImageKey, bool] = TTLCache(small, _BEFORE_S, timer=timer, getsizeof=_entry_bytes)
        self._costs: LRUCache[ImageKey, PullCost] = LRUCache(small, getsizeof=_cost_bytes)

    def presence(self, key: PresenceKey) -> Presence | None:
        """What is known of this digest there, if it still is."""
        try:
            return self._complete[key]  # half of what `get` takes, which looks twice
        except KeyError:
            return self._proven.get(key)

    def learn(self, key: PresenceKey, presence: Presence) -> None:
        """Take in what a walk found; failures leave everything as it was."""
        if presence.finding in FAILURES:
            return
        if presence.finding is Finding.OK:
            _put(self._complete, key, presence)
            self._proven.pop(key, None)
            self._counted.pop(key, None)
        else:
            self._complete.pop(key, None)
            _put(self._proven, key, presence)

    def counted(self, key: PresenceKey) -> Presence | None:
        """What a whole walk found missing a while ago. No proof of anything now."""
        return self._counted.get(key)

    def learn_count(self, key: PresenceKey, presence: Presence) -> None:
        """Keep what a whole walk found missing, if it found what is."""
        if presence.finding is Finding.INCOMPLETE:
            _put(self._counted, key, presence)

    def forget(self, key: PresenceKey) -> None:
        """It is not complete any more, or nobody says so any more; what was proven a moment ago stays."""
        self._complete.pop(key, None)

    def tag(self, key: PresenceKey) -> Digest | None:
        """Where a tag (in the digest's place) pointed a moment ago."""
        return self._tags.get(key)

    def learn_tag(self, key: PresenceKey, digest: Digest) -> None:
        _put(self._tags, key, digest)

    def was_complete(self, image: ImageKey) -> bool:
        """Whether it was complete when it could last be told."""
        return self._before.get(image, False)

    def learn_outcome(self, image: ImageKey, finding: Finding) -> None:
        """What the replicas that count said together."""
        if finding is Finding.OK:
            _put(self._before, image, True)
        elif finding not in FAILURES:
            self._before.pop(image, None)

    def cost(self, image: ImageKey) -> PullCost | None:
        """A fact of the digest (and of this cluster's platforms), so it does not fade."""
        return self._costs.get(image)

    def learn_cost(self, image: ImageKey, cost: PullCost) -> None:
        _put(self._costs, image, cost)


def _put(cache: Cache[K, V], key: K, value: V) -> None:
    """A value larger than the whole cache is forgotten, which cachetools makes an error."""
    with suppress(ValueError):
        cache[key] = value


def _presence_bytes(presence: Presence) -> int:
    return _ENTRY_BYTES + len(presence.detail) + _DIGEST_BYTES * len(presence.lacking)


def _text_bytes(text: str) -> int:
    return _ENTRY_BYTES + len(text)


def _cost_bytes(cost: PullCost) -> int:
    return _ENTRY_BYTES + _DIGEST_BYTES * len(cost.blobs)


def _entry_bytes(_value: object) -> int:
    return _ENTRY_BYTES
