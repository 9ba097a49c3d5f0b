"""What is kept in step with the configuration: put right at once, then looked at again and again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Never

import structlog

from tidegate.kube.errors import KubeError

log = structlog.get_logger()

RETRY_S = 5.0
"""After a look that failed."""


async def kept(keep: Callable[[], Awaitable[None]], *, what: str, look_s: float, chance: random.Random) -> Never:
    """Call `keep` every `look_s`, a little sooner by chance; a KubeError of it is told, and it is tried again."""
    while True:
        pause = look_s
        try:
            await keep()
        except KubeError as exc:
            log.warning("keeping.failed", what=what, error=str(exc))
            pause = RETRY_S
        await asyncio.sleep(pause * chance.uniform(0.75, 1.0))
