"""The status on its way: the latest, once, and until it has arrived. In virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from agent.ports import NotReported, PlanGone
from agent.report import Report, Reporter
from tidegate.kube.own import NodeImageStatus, NodePullStatus, Phase
from tidegate.kube.reflector import Pauses

pytestmark = pytest.mark.looptime


class Sink:
    """Answers as scripted, then takes everything; each answer needs a second."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.arrived: list[tuple[float, NodePullStatus]] = []
        self.tries: list[float] = []

    async def write(self, status: NodePullStatus) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)
        if self.script:
            raise self.script.pop(0)
        self.arrived.append((asyncio.get_running_loop().time(), status))

    @property
    def said(self) -> list[str]:
        return [status.pulling for _, status in self.arrived]


def report(pulling: str, *, plan: str = "p1", generation: int = 1) -> Report:
    return Report(
        plan,
        NodePullStatus(
            observed_generation=generation,
            pulling=pulling,
            images=[NodeImageStatus(image=pulling, phase=Phase.PULLING)],
        ),
    )


@asynccontextmanager
async def reporting(sink: Sink, pauses: Pauses = Pauses(first=2, most=8)) -> AsyncIterator[Reporter]:  # noqa: B008 - frozen
    reporter = Reporter(sink, pauses=pauses, chance=random.Random(1))  # noqa: S311 - jitter is no secret
    task = asyncio.create_task(reporter.run())
    yield reporter
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_report_is_sent_once() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        for _ in range(3):
            reporter.tell(report("a"))
            await asyncio.sleep(10)
    assert sink.said == ["a"]


async def test_what_changes_while_one_is_on_its_way_is_sent_in_one() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(0.5)
        reporter.tell(report("b"))
        reporter.tell(report("c"))
        await asyncio.sleep(10)
    assert sink.said == ["a", "c"]


async def test_going_back_while_one_is_on_its_way_is_sent_too() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(10)
        reporter.tell(report("b"))
        await asyncio.sleep(0.5)
        reporter.tell(report("a"))
        await asyncio.sleep(10)
    assert sink.said == ["a", "b", "a"]


async def test_a_failure_is_followed_by_growing_capped_pauses_and_the_latest_report() -> None:
    sink = Sink(*(NotReported("away") for _ in range(6)))
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(5)
        reporter.tell(report("b"))
        await asyncio.sleep(100)
    assert sink.said == ["b"]
    pauses = [after - before - 1 for before, after in zip(sink.tries, sink.tries[1:], strict=False)]
    assert len(pauses) == 6
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, [2, 4, 8, 8, 8, 8], strict=True))


async def test_a_server_that_names_a_pause_gets_it() -> None:
    sink = Sink(NotReported("busy", retry_after_s=8))
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(20)
    assert sink.tries[1] - sink.tries[0] - 1 >= 4


async def test_a_plan_that_is_gone_is_not_written_to_again_until_there_is_a_new_one() -> None:
    sink = Sink(PlanGone("404"))
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(20)
        reporter.tell(report("a"))
        await asyncio.sleep(20)
        assert sink.said == []
        reporter.tell(report("a", plan="p2"))
        await asyncio.sleep(20)
    assert sink.said == ["a"]


async def test_a_generation_alone_waits_until_it_is_asked_for() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        reporter.tell(report("a"))
        await asyncio.sleep(10)
        reporter.tell(report("a", generation=2))
        await asyncio.sleep(10)
        assert len(sink.arrived) == 1
        reporter.tell(report("a", generation=2), also_generation=True)
        await asyncio.sleep(10)
    assert [status.observed_generation for _, status in sink.arrived] == [1, 2]


async def test_the_last_word_is_tried_once_and_in_time() -> None:
    sink = Sink(NotReported("away"))
    reporter = Reporter(sink, pauses=Pauses())
    reporter.tell(report("a"))
    await reporter.flush(within_s=3)
    assert (len(sink.tries), sink.said) == (1, [])
    await reporter.flush(within_s=3)
    assert sink.said == ["a"]
    await reporter.flush(within_s=3)
    assert len(sink.tries) == 2


async def test_the_last_word_waits_for_nobody() -> None:
    sink = Sink()
    reporter = Reporter(sink, pauses=Pauses())
    reporter.tell(report("a"))
    await reporter.flush(within_s=0.5)
    assert sink.said == []


async def test_a_watch_that_is_faster_than_the_answer_makes_no_two_generations_chase_each_other() -> None:
    sink = Sink()
    async with reporting(sink) as reporter:
        reporter.tell(report("a", generation=1))
        await asyncio.sleep(2)
        reporter.tell(report("a", generation=2), also_generation=True)
        for _ in range(20):
            await asyncio.sleep(0.5)  # on its way: the change shows, and the loop looks again
            reporter.tell(report("a", generation=2))
    assert [status.observed_generation for _, status in sink.arrived] == [1, 2]
