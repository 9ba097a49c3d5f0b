"""Identical work in flight is one piece of work, which no caller owns.

Each flight runs in a task of its own with a bound of its own. Callers wait with their own deadlines; one that gives
up or is cancelled changes nothing for the others. A flight that nobody waits for any more goes on to its end, within
its bound: its answer is remembered for the next caller, and breaking it off would waste what was asked already. How
many there may be at once is bounded for each place of departure (a replica, say), so that one that stalls does not
ground the others; who finds no place waits for one, within their deadline.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """Open until `aclose`, which cancels what is in flight and waits for it."""

    def __init__(self, *, bound_s: float, most: int, departure: Callable[[K], Hashable]) -> None:
        """`most` flights at once of the keys with one `departure`, of which there may be few."""
        self._bound_s = bound_s
        self._departure = departure
        self._places: defaultdict[Hashable, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most))
        self._flights: dict[K, asyncio.Task[T]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, T]], *, until: float) -> T:
        """The result of the flight of this key, begun with `work` if there is none.

        `until` is in the loop's time. Raises TimeoutError when it comes first or when the flight met its bound, and
        what the work raised.
        """
        if until <= asyncio.get_running_loop().time():
            raise TimeoutError
        async with asyncio.timeout_at(until):
            task = self._flights.get(key) or await self._begin(key, work)
            await asyncio.wait({task})  # unlike awaiting the task, this never cancels it
        if task.cancelled():
            message = "the flight was cancelled, as everything is being closed"
            raise TimeoutError(message)
        return task.result()

    async def aclose(self) -> None:
        self._closed = True
        tasks = list(self._flights.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        places = self._places[self._departure(key)]
        await places.acquire()
        if self._closed:
            places.release()
            message = "the flights are closed"
            raise RuntimeError(message)
        if (task := self._flights.get(key)) is not None:  # begun by another while this one waited for a place
            places.release()
            return task
        # An empty context: what the first caller binds for its log lines is not true of the others.
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._bounded(work), name=f"flight {key}", context=Context())
        self._flights[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def _bounded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with asyncio.timeout(self._bound_s):
            return await work()

    def _landed(self, key: K, task: asyncio.Task[T]) -> None:
        del self._flights[key]
        self._places[self._departure(key)].release()
        # Looked at here, as perhaps nobody waits; a caller gets it too.
        if not task.cancelled() and (exc := task.exception()) is not None and not isinstance(exc, TimeoutError):
            log.error("flight.failed", key=str(key), error=repr(exc)[:256])
