"""Identical work in flight is done once.

Whoever comes first starts it, everybody waits for it, and nobody's cancellation hurts the others. Work that nobody
waits for any more is cancelled, or goes on if it is `lasting`: work that is bounded by itself and worth its result.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class Flights(Generic[K, V]):
    """Work in flight by key. Nothing is remembered of work that has ended."""

    def __init__(self, name: str, *, lasting: bool = False) -> None:
        self._name = name
        self._lasting = lasting
        self._flights: dict[K, _Flight[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Wait for the work under `key`, starting it if there is none. Its error is every waiter's error."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._take_off(key, start)
        flight.waiting += 1
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done() and not self._lasting:
                self._land(key, flight)
                flight.task.cancel()
        if flight.task.cancelled():
            message = f"{self._name}: closed while somebody waited"
            raise RuntimeError(message)
        return flight.task.result()

    async def aclose(self) -> None:
        """Cancel what is still in flight, and see it end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take_off(self, key: K, start: Callable[[], Coroutine[Any, Any, V]]) -> _Flight[V]:
        flight = _Flight(asyncio.create_task(start(), name=self._name))
        self._flights[key] = flight
        self._tasks.add(flight.task)
        flight.task.add_done_callback(self._tasks.discard)
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        if self._lasting:
            flight.task.add_done_callback(_heard)
        return flight

    def _land(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody waited for is nobody's surprise at the end of the loop."""
    if not task.cancelled():
        task.exception()
