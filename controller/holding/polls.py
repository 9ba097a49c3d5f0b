"""One question after the other about each image that somebody waits for, however many wait.

The first comes at once, the next after pauses that grow, are capped and jittered: an image that arrives is seen within
`MOST_PAUSE_S` and the time of one check. A Retry-After is honoured, and what waiting will hardly mend is asked seldom.
"""

import random
from collections.abc import Callable
from typing import Never, Protocol

from controller.holding.judge import is_final
from controller.workqueue import Again, WorkQueue
from tidegate.findings import ImageFinding
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
        self._last: dict[str, tuple[ImageFinding, float]] = {}
        """The last answer to each, and the pause after it."""
        self._queue = WorkQueue("polls", self._ask, workers=_AT_ONCE, chance=chance)

    def want(self, image: str, reference: ImageReference) -> None:
        """Ask about an image, from now until `drop`."""
        if image not in self._wanted:
            self._wanted[image] = reference
            self._queue.add(image)

    def drop(self, image: str) -> None:
        """Nobody waits for it any more."""
        self._wanted.pop(image, None)
        self._last.pop(image, None)

    async def run(self) -> Never:
        """Ask until cancelled."""
        await self._queue.run()

    async def _ask(self, image: str) -> None:
        reference = self._wanted.get(image)
        if reference is None:
            return
        began = self._clock()
        finding = await self._checker.check(image, reference, deadline=began + CHECK_S)
        if self._wanted.get(image) is not reference:
            return  # dropped meanwhile; if it is wanted again, that was a question of its own
        pause = self._pause(finding)
        self._last[image] = (finding, pause)
        self._found(finding, reference)
        rest = min(_SHARE * (self._clock() - began), _MOST_REST_S)
        told = min(finding.retry_after_s or 0.0, MOST_RETRY_AFTER_S)
        raise Again(max(pause * self._chance.uniform(0.75, 1.0), rest, told))

    def _pause(self, finding: ImageFinding) -> float:
        """Short again whenever something moved."""
        if is_final(finding.finding):
            return FINAL_PAUSE_S
        last, pause = self._last.get(finding.image, (None, 0.0))
        if last is None or (last.finding, last.missing) != (finding.finding, finding.missing):
            return FIRST_PAUSE_S
        return min(MOST_PAUSE_S, max(pause, FIRST_PAUSE_S) * _GROWTH)
