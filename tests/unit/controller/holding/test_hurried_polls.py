"""What an event brings forward, and what it cannot; all times are virtual."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from controller.holding.polls import CHECK_S, FINAL_PAUSE_S, REMEMBERED_ABSENCE_S, Polls
from tidegate.findings import Finding, ImageFinding
from tidegate.reference import ImageReference

pytestmark = pytest.mark.looptime

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PINNED, TAGGED, BARE = f"r.example/app@{DIGEST}", "r.example/app:1", "r.example/app"
BOTH = f"r.example/app:2@{OTHER}"


@dataclass
class Replica:
    """Answers as told, and remembers when it was asked about what."""

    finding: Callable[[str], Finding] = lambda _: Finding.MISMATCH
    takes_s: float = 0.0
    retry_after_s: float | None = None
    times: dict[str, list[float]] = field(default_factory=dict)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        now = asyncio.get_running_loop().time()
        assert deadline == now + CHECK_S
        assert reference.name == "r.example/app"
        self.times.setdefault(image, []).append(now)
        await asyncio.sleep(self.takes_s)
        return ImageFinding(image, self.finding(image), retry_after_s=self.retry_after_s)


@asynccontextmanager
async def polling(replica: Replica, *images: str) -> AsyncIterator[Polls]:
    polls = Polls(
        replica, found=lambda _finding, _reference: None, clock=asyncio.get_running_loop().time,
        chance=random.Random(0),  # noqa: S311  repeatable jitter
    )  # fmt: skip
    for image in images:
        polls.want(image, ImageReference.parse(image))
    task = asyncio.create_task(polls.run())
    try:
        yield polls
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    "digest, tag, asked",
    [
        pytest.param(DIGEST, None, {PINNED}, id="a-digest"),
        pytest.param(DIGEST, "1", {PINNED, TAGGED}, id="a-digest-and-a-tag"),
        pytest.param(None, "1", {TAGGED}, id="a-tag"),
        pytest.param(None, "latest", {BARE}, id="the-tag-that-nobody-writes"),
        pytest.param(None, "2", set(), id="the-digest-decides-not-the-tag-beside-it"),
        pytest.param(OTHER, "9", {BOTH}, id="a-digest-with-another-tag"),
        pytest.param("sha256:" + "c" * 64, None, set(), id="something-else"),
        pytest.param(None, None, {PINNED, TAGGED, BARE, BOTH}, id="something-in-the-repository"),
    ],
)
async def test_what_an_event_concerns(digest: str | None, tag: str | None, asked: set[str]) -> None:
    replica = Replica()
    async with polling(replica, PINNED, TAGGED, BARE, BOTH) as polls:
        await asyncio.sleep(5)
        assert polls.hurry("r.example/app", digest=digest, tag=tag) == len(asked)
        assert polls.hurry("r.example/other", digest=digest, tag=tag) == 0
        await asyncio.sleep(0.01)
    assert {image for image, times in replica.times.items() if len(times) == 2} == asked


async def test_a_part_may_have_come_of_what_was_incomplete() -> None:
    replica = Replica(lambda image: Finding.INCOMPLETE if image == PINNED else Finding.ABSENT)
    async with polling(replica, PINNED, TAGGED) as polls:
        await asyncio.sleep(0.3)
        assert polls.hurry("r.example/app", digest="sha256:" + "c" * 64, tag=None) == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [len(replica.times[image]) for image in (PINNED, TAGGED)] == [2, 1]


async def test_it_is_asked_at_once_also_what_is_asked_seldom() -> None:
    replica = Replica()
    async with polling(replica, PINNED) as polls:
        await asyncio.sleep(10)
        polls.hurry("r.example/app", digest=DIGEST, tag=None)
        await asyncio.sleep(FINAL_PAUSE_S)
    assert replica.times[PINNED][:2] == [0, 10]
    assert len(replica.times[PINNED]) == 3, "and from then on as seldom as before"


async def test_a_flood_of_events_is_a_few_questions_a_second() -> None:
    replica = Replica(lambda _: Finding.ABSENT)
    async with polling(replica, PINNED) as polls:
        for _ in range(1000):
            polls.hurry("r.example/app", digest=DIGEST, tag=None)
            await asyncio.sleep(0.01)
    pauses = [later - earlier for earlier, later in zip(replica.times[PINNED], replica.times[PINNED][1:], strict=False)]
    assert min(pauses) > REMEMBERED_ABSENCE_S, "else the answer would be an old one"
    assert len(replica.times[PINNED]) <= 40


async def test_an_event_during_a_question_is_followed_by_another() -> None:
    replica = Replica(takes_s=0.1)
    async with polling(replica, PINNED) as polls:
        await asyncio.sleep(0.05)
        polls.hurry("r.example/app", digest=DIGEST, tag=None)
        await asyncio.sleep(1)
    assert replica.times[PINNED] == [0, pytest.approx(0.1 + 1.05 * REMEMBERED_ABSENCE_S)]


async def test_a_retry_after_is_honoured_all_the_same() -> None:
    replica = Replica(lambda _: Finding.THROTTLED, retry_after_s=17)
    async with polling(replica, PINNED) as polls:
        for _ in range(16):
            await asyncio.sleep(1)
            polls.hurry("r.example/app", digest=DIGEST, tag=None)
        await asyncio.sleep(2)
    assert replica.times[PINNED] == [0, 17]


async def test_a_slow_replica_keeps_its_rest() -> None:
    replica = Replica(lambda _: Finding.ABSENT, takes_s=2)
    async with polling(replica, PINNED) as polls:
        for _ in range(200):
            await asyncio.sleep(0.1)
            polls.hurry("r.example/app", digest=DIGEST, tag=None)
    assert replica.times[PINNED] == [0, 6, 12, 18]


async def test_what_nobody_waits_for_costs_nothing() -> None:
    replica = Replica()
    async with polling(replica, PINNED) as polls:
        await asyncio.sleep(1)
        polls.drop(PINNED)
        assert polls.hurry("r.example/app", digest=DIGEST, tag=None) == 0
        await asyncio.sleep(60)
        polls.want(PINNED, ImageReference.parse(PINNED))
        await asyncio.sleep(1)
    assert replica.times[PINNED] == [0, 61]
