"""Work on named things, a few at a time, where only the latest state of each matters.

Guarantees:
- A key is worked on by one worker at a time; one added meanwhile is worked on once more afterwards.
- However often a key is added before its turn, it has one turn.
- What fails with `KubeError` is tried again after a pause that grows, is capped and jittered; what a handler raises
  otherwise ends `run`.
- Urgent keys go before all others.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Never

import structlog

from tidegate.kube.errors import KubeError

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.1
_MOST_PAUSE_S = 30.0
_QUIET_FAILURES = 2
"""A conflict or two is how optimistic writing works; what goes on is worth a line."""


class Again(Exception):
    """Raised by a handler: not yet, but in `after_s` seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"again in {after_s} s")
        self.after_s = after_s


class WorkQueue:
    """See the module. `handle(key)` has its own bound."""

    def __init__(
        self, name: str, handle: Callable[[str], Awaitable[None]], *, workers: int, chance: random.Random
    ) -> None:
        self._name = name
        self._handle = handle
        self._workers = workers
        self._chance = chance
        self._urgent: deque[str] = deque()
        self._normal: deque[str] = deque()
        self._queued: dict[str, bool] = {}
        """Whether a queued key is urgent."""
        self._working: set[str] = set()
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._there = asyncio.Event()

    def add(self, key: str, *, urgent: bool = False) -> None:
        """Work on `key` soon."""
        if (timer := self._later.pop(key, None)) is not None:
            timer.cancel()
        if self._queued.get(key, None) in {True, urgent}:
            return
        self._queued[key] = urgent
        (self._urgent if urgent else self._normal).append(key)
        self._there.set()

    def add_later(self, key: str, after_s: float) -> None:
        """Work on `key` in so many seconds, or sooner: if it is added before, or was to come sooner anyway."""
        if key in self._queued:
            return
        loop = asyncio.get_running_loop()
        if (timer := self._later.get(key)) is not None:
            if timer.when() <= loop.time() + after_s:
                return
            timer.cancel()
        self._later[key] = loop.call_later(after_s, self._due, key)

    async def run(self) -> Never:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._workers):
                    tasks.create_task(self._work(), name=f"{self._name}-{number}")
        finally:
            for timer in self._later.values():
                timer.cancel()
        raise AssertionError  # the workers never return

    def _due(self, key: str) -> None:
        del self._later[key]
        self.add(key)

    async def _work(self) -> Never:
        while True:
            key = self._take()
            if key is None:
                self._there.clear()
                await self._there.wait()
                continue
            self._working.add(key)
            try:
                await self._handle(key)
                self._failures.pop(key, None)
            except Again as again:
                self.add_later(key, again.after_s)
            except KubeError as exc:
                self._failed(key, exc)
            finally:
                self._working.discard(key)
                if key in self._queued:
                    self._there.set()

    def _take(self) -> str | None:
        """The next key that nobody works on; keys that are worked on stay queued."""
        for queue in (self._urgent, self._normal):
            for _ in range(len(queue)):
                key = queue.popleft()
                if self._queued.get(key) is not (queue is self._urgent):
                    continue  # it was made urgent, and had its place there
                if key in self._working:
                    queue.append(key)
                    continue
                del self._queued[key]
                return key
        return None

    def _failed(self, key: str, exc: KubeError) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
        pause = max(pause, min(exc.retry_after_s or 0.0, _MOST_PAUSE_S)) * self._chance.uniform(0.5, 1.0)
        if failures > _QUIET_FAILURES:
            log.warning("controller.write_failed", queue=self._name, key=key, failures=failures, error=str(exc))
        self.add_later(key, pause)
