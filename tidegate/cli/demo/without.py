"""The scale-out without tidegate: every node for itself, or at most three at once."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterable

from tidegate.cli.demo.fleet import DemoNode, Fleet, State
from tidegate.cli.demo.scene import CUT_OFF_S, FIXED_BOUND
from tidegate.cri.client import CriImages
from tidegate.cri.errors import PullError

FIRST_BACK_OFF_S = 10.0
LONGEST_BACK_OFF_S = 300.0
"""kubelet's: 10 s, doubling to 300 s, without jitter."""
RETRY_S = 1.0
_PULL_BOUND_S = 60.0


async def herd(fleet: Fleet, image: str) -> None:
    """All nodes at once, each retrying as kubelet does."""
    await _race(fleet, image, [_as_kubelet(fleet, name, image) for name in fleet.nodes])


async def fixed_bound(fleet: Fleet, image: str) -> None:
    """At most three nodes at once, each trying again after a second."""
    slots = asyncio.Semaphore(FIXED_BOUND)
    await _race(fleet, image, [_in_turn(fleet, name, image, slots) for name in fleet.nodes])


async def _race(fleet: Fleet, image: str, pulls: list[Coroutine[None, None, None]]) -> None:
    tasks = [asyncio.create_task(pull) for pull in pulls]
    try:
        await fleet.watch(image, within_s=CUT_OFF_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _as_kubelet(fleet: Fleet, name: str, image: str) -> None:
    doubling = (min(FIRST_BACK_OFF_S * 2**tries, LONGEST_BACK_OFF_S) for tries in itertools.count())
    await _until_pulled(fleet, name, image, pauses=doubling)


async def _in_turn(fleet: Fleet, name: str, image: str, slots: asyncio.Semaphore) -> None:
    async with slots:
        await _until_pulled(fleet, name, image, pauses=itertools.repeat(RETRY_S))


async def _until_pulled(fleet: Fleet, name: str, image: str, *, pauses: Iterable[float]) -> None:
    """The race cuts it off."""
    for pause_s in pauses:
        if await _pull(fleet.nodes[name], fleet.runtimes[name], image):
            return
        await asyncio.sleep(pause_s)


async def _pull(node: DemoNode, runtime: CriImages, image: str) -> bool:
    node.state, node.tries = State.PULLING, node.tries + 1
    try:
        await runtime.pull(image, timeout=_PULL_BOUND_S)
    except PullError:
        node.state = State.THROTTLED
        return False
    return True
