"""How often a replica is asked about an image that somebody waits for; all times are virtual."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from controller.holding.polls import CHECK_S, FINAL_PAUSE_S, FIRST_PAUSE_S, MOST_PAUSE_S, Polls
from tidegate.findings import Finding, ImageFinding, Missing
from tidegate.reference import ImageReference

pytestmark = pytest.mark.looptime

IMAGE = "r.example/app:1"
REFERENCE = ImageReference.parse(IMAGE)


@dataclass
class Replica:
    """Answers as told, and remembers when it was asked."""

    finding: Callable[[int], ImageFinding]
    takes_s: float = 0.0
    times: list[float] = field(default_factory=list)
    at_once: int = 0

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        now = asyncio.get_running_loop().time()
        assert (image, reference, round(deadline - now, 6)) == (IMAGE, REFERENCE, CHECK_S)
        self.times.append(now)
        self.at_once += 1
        assert self.at_once == 1, "asked twice at once"
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        return self.finding(len(self.times))

    @property
    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@asynccontextmanager
async def polling(replica: Replica) -> AsyncIterator[tuple[Polls, list[ImageFinding]]]:
    found: list[ImageFinding] = []
    polls = Polls(
        replica, found=lambda finding, _: found.append(finding), clock=asyncio.get_running_loop().time,
        chance=random.Random(0),  # noqa: S311  repeatable jitter
    )  # fmt: skip
    task = asyncio.create_task(polls.run())
    try:
        yield polls, found
    finally:
        task.cancel()
        await asyncio.wait([task])


def always(finding: Finding, *, retry_after_s: float | None = None) -> Callable[[int], ImageFinding]:
    return lambda _: ImageFinding(IMAGE, finding, retry_after_s=retry_after_s)


async def test_the_first_question_comes_at_once_and_pauses_grow_to_their_cap() -> None:
    replica = Replica(always(Finding.ABSENT))
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(30)
    assert replica.times[0] == 0
    assert 0.75 * FIRST_PAUSE_S <= replica.pauses[0] <= FIRST_PAUSE_S
    assert max(replica.pauses) <= MOST_PAUSE_S
    assert min(replica.pauses[8:]) >= 0.75 * MOST_PAUSE_S
    assert len(set(replica.pauses)) == len(replica.pauses), "jittered"


async def test_pauses_are_short_again_when_something_moves() -> None:
    def arriving(number: int) -> ImageFinding:
        return ImageFinding(IMAGE, Finding.INCOMPLETE, missing=Missing(blobs=100 - number))

    replica = Replica(arriving)
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(20)
    assert max(replica.pauses) <= FIRST_PAUSE_S


async def test_wanting_it_more_than_once_changes_nothing() -> None:
    replica = Replica(always(Finding.ABSENT), takes_s=0.2)
    async with polling(replica) as (polls, found):
        for _ in range(1000):
            polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(1)
    assert len(replica.times) <= 3
    assert len(found) == len(replica.times)


async def test_a_replica_that_takes_long_is_asked_less_often() -> None:
    replica = Replica(always(Finding.ABSENT), takes_s=2)
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(60)
    assert min(replica.pauses) >= 6, "two seconds of work, four of rest"


async def test_a_retry_after_is_honoured() -> None:
    replica = Replica(always(Finding.THROTTLED, retry_after_s=17))
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(60)
    assert min(replica.pauses) >= 17


@pytest.mark.parametrize("finding", [Finding.MISMATCH, Finding.UNSUPPORTED])
async def test_what_waiting_hardly_mends_is_asked_seldom(finding: Finding) -> None:
    replica = Replica(always(finding))
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(100)
    assert min(replica.pauses) >= 0.75 * FINAL_PAUSE_S


async def test_nobody_asks_when_nobody_waits_and_a_late_answer_is_not_told() -> None:
    replica = Replica(always(Finding.ABSENT), takes_s=5)
    async with polling(replica) as (polls, found):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(1)
        polls.drop(IMAGE)
        await asyncio.sleep(60)
    assert (replica.times, found) == ([0], [])


async def test_wanted_again_it_is_asked_at_once() -> None:
    replica = Replica(always(Finding.MISMATCH))
    async with polling(replica) as (polls, _):
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(1)
        polls.drop(IMAGE)
        await asyncio.sleep(1)
        polls.want(IMAGE, REFERENCE)
        await asyncio.sleep(1)
    assert replica.times == [0, 2]
