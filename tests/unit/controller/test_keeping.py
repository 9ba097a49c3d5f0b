"""What is kept is looked at again and again, sooner where that failed, and never given up."""

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from controller.keeping import RETRY_S, kept
from tidegate.kube.errors import Unavailable

pytestmark = pytest.mark.looptime

LOOK_S = 60.0


async def test_a_failure_is_told_and_tried_again_soon() -> None:
    looks: list[float] = []

    async def keep() -> None:
        looks.append(asyncio.get_running_loop().time())
        if len(looks) == 2:
            message = "the API server is away"
            raise Unavailable(message)

    with capture_logs() as logs:
        task = asyncio.create_task(kept(keep, what="a thing", look_s=LOOK_S, chance=random.Random(0)))  # noqa: S311
        await asyncio.sleep(3 * LOOK_S)
        task.cancel()
    first, failed, again = (looks[i + 1] - looks[i] for i in range(3))
    assert first <= LOOK_S
    assert failed <= RETRY_S < again
    assert [(line["event"], line["what"], line["error"]) for line in logs] == [
        ("keeping.failed", "a thing", "the API server is away")
    ]
