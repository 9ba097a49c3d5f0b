"""What the agent does when others are gone or it was itself: a runtime, a server, an agent before it, its own end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agent.loop import Settings
from tidegate.cri import RuntimeUnavailable
from tidegate.kube.own import NodeImageStatus, NodePullStatus, Phase, Reason

pytestmark = pytest.mark.looptime

A, B, C = "registry.test/a:1", "registry.test/b:1", "registry.test/c:1"
PENDING, PULLING, PRESENT, FAILED = Phase.PENDING, Phase.PULLING, Phase.PRESENT, Phase.FAILED

StartAgent = Callable[..., Any]


async def test_a_grant_that_an_agent_before_had_is_not_used_again(start: StartAgent) -> None:
    world = start()
    before = NodePullStatus(
        node_uid="uid-of-node-1",
        agent="nonce-0",
        images=[
            NodeImageStatus(image=A, phase=PULLING, grant="g1", attempts=1),
            NodeImageStatus(image=B, phase=FAILED, grant="g2", attempts=4, reason=Reason.NOT_FOUND),
        ],
    )
    world.plan(world.granted(A, "g1"), world.granted(B, "g2"), status=before)
    await world.settle()
    assert world.runtime.pulled == []
    a, b = world.sink.written[-1].images
    assert (a.phase, a.reason, a.message) == (FAILED, Reason.CANCELED, "the agent was restarted during this pull")
    assert (b.phase, b.reason, b.attempts) == (FAILED, Reason.NOT_FOUND, 4)
    assert world.sink.written[-1].agent == "nonce-1"


async def test_what_an_agent_before_pulled_to_the_end_is_present(start: StartAgent) -> None:
    world = start()
    world.runtime.here.add(A)
    before = NodePullStatus(
        node_uid="uid-of-node-1", images=[NodeImageStatus(image=A, phase=PULLING, grant="g1", attempts=1)]
    )
    world.plan(world.granted(A, "g1"), status=before)
    await world.settle()
    assert world.said(A).phase is PRESENT


async def test_while_the_runtime_is_away_nothing_is_said_nor_begun(start: StartAgent) -> None:
    world = start(settings=Settings(retry_s=2))
    world.runtime.broken = RuntimeUnavailable("no such file")
    world.plan(world.granted(A, "g1"))
    await world.settle(10)
    assert (world.sink.written, world.runtime.pulled) == ([], [])
    world.runtime.broken = None
    await world.settle(3)
    assert world.runtime.pulled == [A]


async def test_a_runtime_that_dies_gives_its_grant_back_for_others_to_use(start: StartAgent) -> None:
    world = start(settings=Settings(retry_s=2))
    world.plan(world.wanted(A))
    await world.settle()
    world.runtime.broken = RuntimeUnavailable("no such file")
    world.plan(world.granted(A, "g1"))
    await world.settle()
    status = world.said(A)
    assert (status.phase, status.reason, status.grant) == (FAILED, Reason.CANCELED, "g1")
    assert status.message == "the runtime does not answer: no such file"
    world.runtime.broken = None
    await world.settle(30)
    assert world.runtime.pulled == []
    world.plan(world.granted(A, "g2"))
    await world.settle()
    assert world.runtime.pulled == [A]


async def test_a_restarted_agent_says_nothing_of_images_while_the_runtime_is_away(start: StartAgent) -> None:
    world = start()
    world.runtime.broken = RuntimeUnavailable("no such file")
    before = NodePullStatus(node_uid="uid-of-node-1", agent="earlier", images=[NodeImageStatus(image=A, phase=PRESENT)])
    world.plan(world.granted(A, "g1"), status=before)
    await world.settle(30)
    assert world.sink.written == []


async def test_an_unreachable_server_stops_no_pull_and_hears_of_it_later(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.sink.away = True
    world.runtime.finish(A)
    await world.settle(300)
    assert world.said(A).phase is PULLING
    assert 20 < world.sink.tries < 120
    world.sink.away = False
    await world.settle(10)
    assert world.said(A).phase is PRESENT


async def test_being_stopped_cancels_the_pull_says_so_and_is_quick(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"), world.granted(B, "g2"))
    await world.settle()
    world.stopping.set()
    async with asyncio.timeout(1):
        await world.task
    assert (world.runtime.canceled, world.runtime.pulled) == ([A], [A])
    status = world.said(A)
    assert (status.phase, status.reason, status.message) == (FAILED, Reason.CANCELED, "the agent was stopped")
    assert world.said(B).phase is PENDING


async def test_being_stopped_waits_for_no_server(start: StartAgent) -> None:
    world = start(settings=Settings(last_words_s=3))
    world.plan(world.granted(A, "g1"))
    await world.settle()
    world.sink.away = True
    world.stopping.set()
    async with asyncio.timeout(4):
        await world.task


async def test_being_stopped_at_once_is_no_accident(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1"))
    world.stopping.set()
    async with asyncio.timeout(4):
        await world.task
