"""What lets a leader's writes through, and nobody else's.

A process that was frozen goes on where it stopped, before its timers have told it that its time is over: so every
write asks here at the moment at which it is sent.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tidegate.kube.client import REQUEST_S
from tidegate.kube.errors import Unavailable

CLOSING_S = 2.0


class Fence:
    """Of one client; `leads` says whether this process may write now. Open at first."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._closed = False
        self._under_way = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._clock = asyncio.get_running_loop().time
        self.settled_at = -math.inf
        """When a write that was broken off can no longer come to be."""

    def is_settled(self) -> bool:
        """Whether of all that was written it is known what became of it."""
        return not self._under_way and self._clock() >= self.settled_at

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around one write. Raises Unavailable where there may be none."""
        if self._closed or not self._leads():
            message = "nothing is written now: this process does not lead"
            raise Unavailable(message)
        self._under_way += 1
        self._calm.clear()
        try:
            yield
        except asyncio.CancelledError:
            self.settled_at = self._clock() + REQUEST_S
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._calm.set()

    async def close(self) -> None:
        """Let no more writes begin; returns when those under way are answered, or after `CLOSING_S`."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._calm.wait()

    def open(self) -> None:
        """Let writes through again."""
        self._closed = False
