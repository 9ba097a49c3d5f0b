"""A throttled pull pauses its registry: for as long as the registry says, by one question where nobody told."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.budget import Limits
from controller.pauses import Pauses
from tidegate.registry.errors import RegistryError, Throttled, Unreachable

HOST = "registry.test"
IMAGE = f"{HOST}/app:1"


@dataclass
class Registries:
    refusal: RegistryError | None = None
    looks: list[str] = field(default_factory=list)
    left_alone: list[tuple[str, float]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self, image: str) -> None:
        self.looks.append(image)
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal

    def leave_alone(self, host: str, seconds: float) -> None:
        self.left_alone.append((host, seconds))


@dataclass
class Paused:
    left_s: float = 1.0
    requests: int = 0

    def asking(self, host: str, requests: int) -> None:
        assert host == HOST
        self.requests += requests

    def pause(self, host: str, seconds: float) -> None:
        assert host == HOST
        self.left_s = max(self.left_s, seconds)

    def paused_s(self, host: str) -> float:
        assert host == HOST
        return self.left_s


async def told(registries: Registries, paused: Paused, *throttles: float | None) -> None:
    pauses = Pauses(registries, paused=paused, chance=random.Random(0))  # noqa: S311  repeatable jitter
    running = asyncio.create_task(pauses.run())
    for retry_after_s in throttles:
        pauses.throttled(IMAGE, retry_after_s)
    await asyncio.sleep(0.01)
    registries.gate.set()
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])


async def test_what_the_agent_was_told_needs_no_question() -> None:
    registries, paused = Registries(), Paused(left_s=7.0)
    await told(registries, paused, 7.0)
    assert (registries.looks, paused.requests, registries.left_alone) == ([], 0, [(HOST, 7.0)])


async def test_what_was_hidden_is_asked_for_once_however_many_pulls_were_throttled() -> None:
    registries, paused = Registries(Throttled("429", replica="a", retry_after_s=30.0)), Paused()
    await told(registries, paused, None, None, None)
    assert (registries.looks, paused.requests, registries.left_alone) == ([IMAGE], 1, [(HOST, 30.0)])


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(None, id="it-answers-again"),
        pytest.param(Throttled("429", replica="a"), id="it-hides-it-from-us-too"),
        pytest.param(Unreachable("down", replica="a", step="connect"), id="it-is-down"),
    ],
)
async def test_an_answer_that_says_nothing_leaves_the_pause_as_it_is(refusal: RegistryError | None) -> None:
    registries, paused = Registries(refusal), Paused(left_s=0.8)
    await told(registries, paused, None)
    assert registries.left_alone == [(HOST, 0.8)]


@pytest.mark.parametrize(
    "told_after, asked_after, looks",
    [pytest.param(0.6, None, 0, id="told"), pytest.param(None, 1.4, 1, id="hidden")],
)
async def test_not_one_pull_starts_in_the_pause(
    cluster: Any, eventually: Any, *, told_after: float | None, asked_after: float | None, looks: int
) -> None:
    """The controller's core on an API server: 8 nodes, 4 at once, one pull is throttled."""
    refusals, throttled_at = iter([True]), list[float]()
    clock = asyncio.get_running_loop().time
    cluster.costs.refusal = Throttled("429", replica="local", retry_after_s=asked_after)

    def script(_node: str, _image: str) -> dict[str, Any] | None:
        if next(refusals, False):
            throttled_at.append(clock())
            return {"phase": "Failed", "reason": "Throttled", "throttled": True, "retryAfterSeconds": told_after}
        return None

    cluster.agents.script = script
    cluster.agents.seconds = 0.05
    for number in range(8):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=4, rate=10_000, burst=10_000)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.metric("tidegate_throttled_total", registry=HOST, caller="agent") == 1)
        heard_at = clock()
        assert cluster.metric("tidegate_pull_budget", registry=HOST, unit="in_flight") == 2
        await eventually(lambda: cluster.warm() == 8, within_s=20)
    pause = told_after or asked_after or 0.0
    later = [at for at, *_ in cluster.agents.begun if at > heard_at]
    assert len(cluster.costs.looks) == looks
    assert len(cluster.agents.begun) == 9
    assert min(later) >= throttled_at[0] + pause
    assert len(later) == 5, "what was not begun before, and the throttled one again"
    [(_, seconds)] = cluster.costs.left_alone
    assert pause - 0.3 <= seconds <= pause, "the controller's own requests pause too"
