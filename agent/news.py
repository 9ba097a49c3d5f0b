"""What the runtime tells by itself: images that came or went, and that it was away."""

import asyncio
import random
from collections.abc import Callable

import structlog

from agent.ports import RuntimeNews
from tidegate.cri import CriError, NotContainerd
from tidegate.kube.reflector import Pauses

log = structlog.get_logger()

_LONG_S = 10.0
"""A stream that lived for so long was no failure."""


async def follow(
    news: RuntimeNews, *, on_image: Callable[[str], None], on_back: Callable[[], None], pauses: Pauses
) -> None:
    """Until cancelled: tell which names changed, and when the runtime may be back. Ends where it tells no events.

    A runtime that restarts ends the stream: what it holds is looked at anew before the next stream is listened to, and
    once more after it has begun, as nothing is told of the time between.
    """
    clock, chance = asyncio.get_running_loop().time, random.Random()  # noqa: S311 - jitter is no secret
    failures = 0
    while True:
        began = clock()
        try:
            async for event in news.events():
                on_image(event.name)
        except NotContainerd:
            log.info("runtime.tells_no_events")
            return
        except CriError as exc:
            log.warning("runtime.gone", error=str(exc))
        failures = 1 if clock() - began >= _LONG_S else failures + 1
        await asyncio.sleep(pauses.after(failures, told=None, chance=chance))
        on_back()
