"""The queue that writers work from."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from controller.workqueue import Again, WorkQueue
from tidegate.kube.errors import Conflict, Unavailable

Handle = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def working(handle: Handle, *, workers: int = 2, first: tuple[str, ...] = ()) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue("test", handle, workers=workers, chance=random.Random(0))  # noqa: S311  repeatable jitter
    for key in first:
        queue.add(key)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


async def idle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_key_added_often_has_one_turn_and_urgent_ones_go_first() -> None:
    done: list[str] = []

    async def handle(key: str) -> None:
        done.append(key)

    queue = WorkQueue("test", handle, workers=1, chance=random.Random(0))  # noqa: S311
    for key in ("a", "b", "a", "c"):
        queue.add(key)
    queue.add("c", urgent=True)
    queue.add("d", urgent=True)
    queue.add("c")
    task = asyncio.create_task(queue.run())
    await idle()
    task.cancel()
    await asyncio.wait([task])
    assert done == ["c", "d", "a", "b"]


async def test_no_key_is_worked_on_twice_at_once_and_news_meanwhile_is_another_turn() -> None:
    running, peak, turns = 0, 0, 0
    go = asyncio.Event()

    async def handle(_: str) -> None:
        nonlocal running, peak, turns
        running, turns = running + 1, turns + 1
        peak = max(peak, running)
        await go.wait()
        running -= 1

    async with working(handle, workers=4, first=("a",)) as queue:
        await idle()
        queue.add("a")
        queue.add("a", urgent=True)
        await idle()
        assert (turns, peak) == (1, 1)
        go.set()
        await idle()
    assert (turns, peak) == (2, 1)


async def test_other_keys_go_on_meanwhile() -> None:
    done = asyncio.Event()

    async def handle(key: str) -> None:
        if key == "slow":
            await asyncio.Event().wait()
        done.set()

    async with working(handle, first=("slow", "quick")):
        await asyncio.wait_for(done.wait(), 1)


@pytest.mark.parametrize("failure", [Conflict("x"), Unavailable("x"), Again(0.01)])
async def test_what_fails_is_tried_again_later(failure: Exception) -> None:
    tries: list[float] = []
    done = asyncio.Event()

    async def handle(_: str) -> None:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) < 2:
            raise failure
        done.set()

    async with working(handle, first=("a",)):
        await asyncio.wait_for(done.wait(), 1)
    assert tries[1] - tries[0] >= 0.009


async def test_news_cuts_a_pause_short() -> None:
    tries = 0

    async def handle(_: str) -> None:
        nonlocal tries
        tries += 1
        raise Again(3600)

    async with working(handle, first=("a",)) as queue:
        await idle()
        queue.add_later("a", 3600)
        queue.add("a")
        queue.add_later("a", 3600)
        await idle()
    assert tries == 2


@pytest.mark.looptime
async def test_of_two_pauses_the_shorter_one_counts() -> None:
    done: list[tuple[str, float]] = []

    async def handle(key: str) -> None:
        done.append((key, asyncio.get_running_loop().time()))

    async with working(handle) as queue:
        for after_s in (30, 10, 20):
            queue.add_later("a", after_s)
        await asyncio.sleep(60)
    assert done == [("a", 10)]


async def test_anything_else_ends_the_queue() -> None:
    async def handle(_: str) -> None:
        raise ZeroDivisionError

    queue = WorkQueue("test", handle, workers=1, chance=random.Random(0))  # noqa: S311
    queue.add("a")
    with pytest.raises(ExceptionGroup) as caught:
        await queue.run()
    assert caught.group_contains(ZeroDivisionError)
