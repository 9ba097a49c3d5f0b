"""Identical work is done once, and nobody's cancellation is another's."""

import asyncio

import pytest

from tidegate.registry.flights import Flights


class Work:
    def __init__(self, *, fails: bool = False) -> None:
        self.started = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.fails = fails

    async def __call__(self) -> int:
        self.started += 1
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails:
            raise KeyError(self.started)
        return self.started


async def test_a_hundred_wait_for_one() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work()
    waiting = [asyncio.create_task(flights.join("k", work)) for _ in range(100)]
    await asyncio.sleep(0)
    work.go_on.set()
    assert await asyncio.gather(*waiting) == [1] * 100
    assert await flights.join("k", work) == 2


async def test_other_keys_are_other_work() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work()
    work.go_on.set()
    assert sorted(await asyncio.gather(*(flights.join(key, work) for key in "abc"))) == [1, 2, 3]


async def test_the_first_caller_may_leave() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work()
    first, second = (asyncio.create_task(flights.join("k", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    work.go_on.set()
    assert await second == 1
    assert first.cancelled()


async def test_work_that_nobody_waits_for_is_cancelled_and_the_next_starts_anew() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work()
    waiting = [asyncio.create_task(flights.join("k", work)) for _ in range(3)]
    await asyncio.sleep(0)
    await work.begun.wait()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    work.go_on.set()
    assert await flights.join("k", work) == 2
    assert work.cancelled == 1


async def test_an_error_is_everybodys_and_is_not_remembered() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work(fails=True)
    work.go_on.set()
    results = await asyncio.gather(*(flights.join("k", work) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError] * 3
    work.fails = False
    assert await flights.join("k", work) == 2


async def test_closing_ends_what_is_in_flight() -> None:
    flights: Flights[str, int] = Flights("test")
    work = Work()
    waiting = asyncio.create_task(flights.join("k", work))
    await work.begun.wait()
    await flights.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await waiting
    assert work.cancelled == 1
