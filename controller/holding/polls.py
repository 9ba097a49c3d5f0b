"""One question after the other about each image that somebody waits for, however many wait.

The first comes at once, the next after pauses that grow, are capped and jittered: an image that arrives is seen within
`MOST_PAUSE_S` and the time of one check. A Retry-After is honoured, and what waiting will hardly mend is asked seldom.

`hurry` brings a question forward: to now, or to where a Retry-After, the rest of a slow replica or the memory of an
absence allows it, so however often somebody hurries, an image is asked about a few times a second at most.
"""

import math
import random
from collections.abc import Callable
from typing import Never, Protocol

from controller.holding.judge import is_final
from controller.workqueue import Again, WorkQueue
from tidegate.findings import Finding, ImageFinding
from tidegate.reference import ImageReference

FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 1.5
"""With the time of a check and of a write, releases come within two seconds."""
FINAL_PAUSE_S = 30.0
"""For mismatch and unsupported, which somebody has to mend."""
MOST_RETRY_AFTER_S = 60.0
CHECK_S = 10.0
"""One check, all its replicas and requests."""
REMEMBERED_ABSENCE_S = 0.25
"""What the checker's memory must forget sooner than we ask again."""
_FORGOTTEN_S = 1.05 * REMEMBERED_ABSENCE_S
_GROWTH = 1.25
_SHARE = 2.0
"""Seconds of rest for each second that a check took, up to `_MOST_REST_S`: what is slow, or limited, is asked less."""
_MOST_REST_S = 10.0
_AT_ONCE = 64
"""Checks; those of one slow registry may not keep all others waiting."""


class Checker(Protocol):
    """See `tidegate.completeness.Checker`."""

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding: ...


class Polls:
    """Asks while an image is wanted. `found` is called with every answer."""

    def __init__(
        self,
        checker: Checker,
        *,
        found: Callable[[ImageFinding, ImageReference], None],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._checker = checker
        self._found = found
        self._clock = clock
        self._chance = chance
        self._wanted: dict[str, ImageReference] = {}
        self._by_name: dict[str, dict[str, None]] = {}
        """Wanted images by `domain/path`."""
        self._last: dict[str, tuple[ImageFinding, float]] = {}
        """The last answer to each, and the pause after it."""
        self._soonest: dict[str, float] = {}
        """When each may be asked about again, on the clock; infinite while it is being asked about."""
        self._hurried: set[str] = set()
        self._queue = WorkQueue("polls", self._ask, workers=_AT_ONCE, chance=chance)

    def want(self, image: str, reference: ImageReference) -> None:
        """Ask about an image, from now until `drop`."""
        if image not in self._wanted:
            self._wanted[image] = reference
            self._by_name.setdefault(reference.name, {})[image] = None
            self._queue.add(image)

    def drop(self, image: str) -> None:
        """Nobody waits for it any more."""
        reference = self._wanted.pop(image, None)
        self._last.pop(image, None)
        self._soonest.pop(image, None)
        self._hurried.discard(image)
        if reference is not None:
            images = self._by_name[reference.name]
            del images[image]
            if not images:
                del self._by_name[reference.name]

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int:
        """Ask soon about what is wanted of `name` (`domain/path`), as something is said to have come there.

        That is what has the digest or the tag, and what was incomplete, of which a part may have come; without digest
        and tag it is all. Returns how many questions were brought forward.
        """
        hurried = [image for image in self._by_name.get(name, ()) if self._concerns(image, digest, tag)]
        for image in hurried:
            self._hurried.add(image)
            if (soonest := self._soonest.get(image)) is not None and soonest < math.inf:
                self._queue.add_later(image, max(soonest - self._clock(), 0.0))
        return len(hurried)

    def _concerns(self, image: str, digest: str | None, tag: str | None) -> bool:
        reference = self._wanted[image]
        if digest is None and tag is None:
            return True
        if reference.digest is not None and reference.digest == digest:
            return True
        if reference.digest is None and (reference.tag or "latest") == tag:
            return True
        last, _ = self._last.get(image, (None, 0.0))
        return last is not None and last.finding is Finding.INCOMPLETE

    async def run(self) -> Never:
        """Ask until cancelled."""
        await self._queue.run()

    async def _ask(self, image: str) -> None:
        reference = self._wanted.get(image)
        if reference is None:
            return
        began = self._clock()
        self._hurried.discard(image)
        self._soonest[image] = math.inf
        finding = await self._checker.check(image, reference, deadline=began + CHECK_S)
        if self._wanted.get(image) is not reference:
            return  # dropped meanwhile; if it is wanted again, that was a question of its own
        pause = self._pause(finding)
        self._last[image] = (finding, pause)
        self._found(finding, reference)
        if image not in self._wanted:
            return  # whoever was told wants it no more
        now = self._clock()
        rest = min(_SHARE * (now - began), _MOST_REST_S)
        told = min(finding.retry_after_s or 0.0, MOST_RETRY_AFTER_S)
        least = max(rest, told, _FORGOTTEN_S)
        self._soonest[image] = now + least
        raise Again(least if image in self._hurried else max(pause * self._chance.uniform(0.75, 1.0), rest, told))

    def _pause(self, finding: ImageFinding) -> float:
        """Short again whenever something moved."""
        if is_final(finding.finding):
            return FINAL_PAUSE_S
        last, pause = self._last.get(finding.image, (None, 0.0))
        if last is None or (last.finding, last.missing) != (finding.finding, finding.missing):
            return FIRST_PAUSE_S
        return min(MOST_PAUSE_S, max(pause, FIRST_PAUSE_S) * _GROWTH)
