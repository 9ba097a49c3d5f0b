"""What the runtime tells by itself, and what is made of its silence."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.news import follow
from tidegate.cri import CriError, ImageEvent, NotContainerd, RuntimeUnavailable
from tidegate.kube.reflector import Pauses

pytestmark = pytest.mark.looptime


class FakeNews:
    """Streams as a test scripts them: events, and how each stream ends; the last one goes on for ever."""

    def __init__(self, *streams: tuple[list[str], CriError | None]) -> None:
        self._streams = list(streams)
        self.opened: list[float] = []

    async def events(self) -> AsyncIterator[ImageEvent]:
        self.opened.append(asyncio.get_running_loop().time())
        names, error = self._streams.pop(0)
        for name in names:
            yield ImageEvent("delete", name)
        if error is not None:
            raise error
        await asyncio.Event().wait()


async def followed(news: FakeNews, *, seconds: float) -> list[str]:
    heard: list[str] = []
    following = asyncio.create_task(
        follow(news, on_image=heard.append, on_back=lambda: heard.append("back"), pauses=Pauses(first=1, most=10))
    )
    await asyncio.sleep(seconds)
    following.cancel()
    await asyncio.wait([following])
    return heard


async def test_names_are_passed_on() -> None:
    assert await followed(FakeNews((["a", "b"], None)), seconds=1) == ["a", "b"]


async def test_a_runtime_that_went_is_listened_to_again_and_everything_looked_at() -> None:
    news = FakeNews((["a"], RuntimeUnavailable("gone")), (["b"], None))
    assert await followed(news, seconds=5) == ["a", "back", "b"]


async def test_a_runtime_that_stays_away_is_knocked_at_ever_more_rarely() -> None:
    news = FakeNews(*[([], RuntimeUnavailable("gone"))] * 100, ([], None))
    await followed(news, seconds=100)
    gaps = [later - sooner for sooner, later in zip(news.opened, news.opened[1:], strict=False)]
    assert all(0 < gap <= 10 for gap in gaps)
    assert 8 < len(news.opened) < 40


async def test_a_runtime_without_events_is_left_alone() -> None:
    news = FakeNews(([], NotContainerd("unknown service")))
    assert await followed(news, seconds=1000) == []
    assert len(news.opened) == 1
