"""How hard one process may press on one replica: requests per second, connections, and pauses it asks for.

Requests form one line. A caller whose turn cannot come before its deadline is told at once, not after waiting in
vain. Time is the loop's, in seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tidegate.config.registries import LimitsConfig
from tidegate.registry.bounds import LONGEST_PAUSE_S, SHORT_PAUSE_S
from tidegate.registry.errors import Throttled

_TICK = 0.001
"""Differences of clock readings are off by less: a pause of exactly the short one is still short."""


class Limiter:
    """A token bucket, a bound on connections, and a pause. One per replica."""

    def __init__(self, limits: LimitsConfig, *, replica: str, clock: Callable[[], float]) -> None:
        self._rate = limits.requests_per_second
        self._burst = float(limits.burst)
        self._connections = asyncio.Semaphore(limits.connections)
        self._replica = replica
        self._clock = clock
        self._tokens = self._burst
        self._filled_at = clock()
        self._paused_until = self._filled_at

    def pause(self, seconds: float) -> None:
        """Leave the replica alone for so long, at most a minute; then begin at the rate, without a burst."""
        self._refill()
        self._tokens = min(self._tokens, 1.0)
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, LONGEST_PAUSE_S))

    def pause_left_s(self) -> float:
        """Seconds for which the replica is still to be left alone; 0 when it may be asked."""
        return max(0.0, self._paused_until - self._clock())

    @asynccontextmanager
    async def turn(self, *, deadline: float, counted: bool = True) -> AsyncIterator[None]:
        """Hold one connection's place, from the moment that a request may be sent.

        `counted` is False for a request that goes to another host (storage, a token realm): it costs the replica
        nothing. Raises Throttled when a pause is longer than a caller waits out, or when the turn would come
        after `deadline` (loop time).
        """
        self._refuse_long_pause(deadline)
        async with self._connections:
            await self._pass(deadline, counted=counted)
            yield

    async def _pass(self, deadline: float, *, counted: bool) -> None:
        while True:
            while (left := self.pause_left_s()) > 0:
                self._refuse_long_pause(deadline)
                await asyncio.sleep(left)
            if not counted:
                return
            await self._take(deadline)
            if self.pause_left_s() <= 0:
                return
            self._tokens += 1.0  # a 429 came in while this one waited for its token

    async def _take(self, deadline: float) -> None:
        self._refill()
        wait = max(0.0, (1.0 - self._tokens) / self._rate)
        if 0 < wait > deadline - self._clock():
            detail = f"limits.requestsPerSecond ({self._rate:g}) is used up by this process's own requests"
            raise Throttled(detail, replica=self._replica, retry_after_s=wait)
        self._tokens -= 1.0
        if wait <= 0:
            return
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            self._tokens += 1.0
            raise

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _refuse_long_pause(self, deadline: float) -> None:
        left = self.pause_left_s()
        if 0 < left > min(SHORT_PAUSE_S + _TICK, deadline - self._clock()):
            detail = f"asked to be left alone for another {left:.0f} s"
            raise Throttled(detail, replica=self._replica, retry_after_s=left)
