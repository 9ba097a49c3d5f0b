"""The reflector against a scripted API server, in virtual time."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from tidegate.kube.client import Listed
from tidegate.kube.errors import Forbidden, Gone, KubeError, Unavailable
from tidegate.kube.own import NodePull, NodePullSpec
from tidegate.kube.reflector import Pauses, Reflector
from tidegate.kube.resources import NODEPULLS
from tidegate.kube.shapes import Metadata
from tidegate.kube.watching import EventType, WatchEvent

pytestmark = pytest.mark.looptime

ADDED, MODIFIED, DELETED, BOOKMARK = EventType.ADDED, EventType.MODIFIED, EventType.DELETED, EventType.BOOKMARK
END = object()
"""The stream ends in good order."""


def node_pull(name: str, version: int, *, uid: str = "", node: str = "") -> NodePull:
    metadata = Metadata(name=name, uid=uid or f"uid-{name}", resource_version=str(version))
    return NodePull(metadata=metadata, spec=NodePullSpec(node_uid=node))


def event(kind: EventType, version: int, name: str = "", **fields: Any) -> WatchEvent[NodePull]:
    return WatchEvent(kind, str(version), node_pull(name, version, **fields) if name else None)


class Script:
    """Answers lists and watches in the order given; an exception is raised; when a script is over, it is silent."""

    def __init__(self, *, lists: Iterable[Any], watches: Iterable[Iterable[Any]] = ()) -> None:
        self.lists = deque(lists)
        self.watches = deque(deque(watch) for watch in watches)
        self.asked: list[tuple[str, float]] = []
        """`list` or the version a watch began from, and when."""

    async def list(self, _: Any, **__: Any) -> Listed[Any]:
        self.asked.append(("list", now()))
        answer = self.lists.popleft() if self.lists else await asyncio.Event().wait()
        if isinstance(answer, KubeError):
            raise answer
        version, *items = answer
        return Listed(items, str(version))

    async def watch(self, _: Any, *, resource_version: str, **__: Any) -> AsyncGenerator[WatchEvent[Any], None]:
        self.asked.append((resource_version, now()))
        for step in self.watches.popleft() if self.watches else ():
            if isinstance(step, KubeError):
                raise step
            if step is END:
                return
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                yield step
        await asyncio.Event().wait()

    @property
    def order(self) -> Sequence[str]:
        return [what for what, _ in self.asked]


class Told:
    """What a subscriber was told: `+a1`, `~a1>2`, `-a2` by name and version."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def __call__(self, key: str, old: NodePull | None, new: NodePull | None) -> None:
        was, now_is = (item.metadata.resource_version if item else "" for item in (old, new))
        sign = "~" if old and new else ("+" if new else "-")
        self.changes.append(f"{sign}{key}{was}{'>' if old and new else ''}{now_is}")


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running(script: Script, **options: Any) -> AsyncIterator[tuple[Reflector[NodePull], Told]]:
    options.setdefault("chance", seeded(7))
    reflector: Reflector[NodePull] = Reflector(script, NODEPULLS, **options)
    told = Told()
    reflector.subscribe(told)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  jitter


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3600):
        while not condition():  # noqa: ASYNC110  virtual time: this costs nothing
            await asyncio.sleep(0.05)


async def test_it_is_synced_after_the_first_whole_list_and_not_before() -> None:
    script = Script(lists=[Unavailable("down"), (7, node_pull("a", 5), node_pull("b", 6))])
    async with running(script) as (reflector, told):
        await until(lambda: len(script.asked) == 1)
        assert not reflector.synced.is_set()
        assert told.changes == []

        await reflector.synced.wait()

        assert sorted(reflector.objects) == ["a", "b"]
        assert told.changes == ["+a5", "+b6"]


async def test_an_empty_collection_is_synced_too() -> None:
    async with running(Script(lists=[(7,)])) as (reflector, _):
        await reflector.synced.wait()
        assert not reflector.objects


async def test_it_watches_from_the_lists_version_and_tells_each_change_once() -> None:
    steps = [event(ADDED, 8, "b"), event(MODIFIED, 9, "a"), event(DELETED, 10, "b")]
    script = Script(lists=[(7, node_pull("a", 5))], watches=[steps])
    async with running(script) as (reflector, told):
        await until(lambda: len(told.changes) == 4)

        assert script.order == ["list", "7"]
        assert told.changes == ["+a5", "+b8", "~a5>9", "-b8"]
        assert list(reflector.objects) == ["a"]


async def test_a_stream_that_ended_goes_on_from_the_last_version() -> None:
    script = Script(
        lists=[(7,)], watches=[[event(ADDED, 8, "a"), event(BOOKMARK, 30), END], [event(MODIFIED, 31, "a")]]
    )
    async with running(script) as (_, told):
        await until(lambda: len(told.changes) == 2)

        assert script.order == ["list", "7", "30"]
        assert told.changes == ["+a8", "~a8>31"]


async def test_a_stream_that_broke_goes_on_from_the_last_version() -> None:
    script = Script(lists=[(7,)], watches=[[event(ADDED, 8, "a"), Unavailable("cut")], [event(ADDED, 9, "b")]])
    async with running(script) as (_, told):
        await until(lambda: len(told.changes) == 2)

        assert script.order == ["list", "7", "8"]


async def test_an_event_that_is_told_again_changes_nothing() -> None:
    script = Script(lists=[(7,)], watches=[[event(ADDED, 8, "a"), event(ADDED, 8, "a"), event(ADDED, 9, "b")]])
    async with running(script) as (_, told):
        await until(lambda: "+b9" in told.changes)

        assert told.changes == ["+a8", "+b9"]


async def test_what_is_gone_is_listed_again_and_only_what_changed_is_told() -> None:
    lists = [
        (7, node_pull("a", 1), node_pull("b", 2), node_pull("c", 3), node_pull("d", 4, uid="first")),
        (20, node_pull("a", 1), node_pull("b", 15), node_pull("d", 16, uid="second"), node_pull("e", 17)),
    ]
    script = Script(lists=lists, watches=[[Gone("too old", status=410)], [event(ADDED, 21, "f")]])
    async with running(script) as (reflector, told):
        await until(lambda: "f" in reflector.objects)

        assert script.order == ["list", "7", "list", "20"]
        assert told.changes[4:] == ["-c3", "~b2>15", "-d4", "+d16", "+e17", "+f21"]


async def test_a_subscriber_sees_the_copy_as_it_is_after_the_change() -> None:
    seen = []
    script = Script(lists=[(7, node_pull("a", 1))], watches=[[event(DELETED, 8, "a")]])
    async with running(script) as (reflector, _):
        reflector.subscribe(lambda key, _, new: seen.append((key in reflector.objects) is (new is not None)))
        await until(lambda: len(seen) == 2)

    assert seen == [True, True]


async def test_who_has_unsubscribed_is_told_nothing_more() -> None:
    script = Script(lists=[(7,)], watches=[[event(ADDED, 8, "a"), 1.0, event(ADDED, 9, "b")]])
    async with running(script) as (reflector, told):
        second = Told()
        end = reflector.subscribe(second)
        await until(lambda: "+a8" in told.changes)
        end()
        await until(lambda: "+b9" in told.changes)

    assert second.changes == ["+a8"]


async def test_waiting_misses_nothing_between_two_waits() -> None:
    script = Script(lists=[(7, node_pull("a", 1))], watches=[[event(ADDED, 8, "b"), 5.0, event(ADDED, 9, "c")]])
    async with running(script) as (reflector, _):
        await until(lambda: len(reflector.objects) == 2)

        revision = await reflector.changed(since=0)
        assert revision == 2
        assert await reflector.changed(since=revision) == 3
        assert "c" in reflector.objects


async def test_pauses_grow_are_capped_and_are_jittered() -> None:
    script = Script(lists=[Unavailable("down") for _ in range(12)])
    async with running(script, pauses=Pauses(first=1.0, most=30.0)):
        await until(lambda: len(script.asked) == 13)

    times = [at for _, at in script.asked]
    waited = [after - before for before, after in pairwise(times)]
    for pause, whole in zip(waited, [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30], strict=True):
        assert whole / 2 <= pause <= whole + 0.01
    assert len({round(pause, 3) for pause in waited[5:]}) > 3


async def test_two_reflectors_do_not_come_back_together() -> None:
    scripts = [Script(lists=[(7,)], watches=[[Unavailable("cut")] for _ in range(3)]) for _ in range(2)]
    async with running(scripts[0], chance=seeded(1)), running(scripts[1], chance=seeded(2)):
        await until(lambda: all(len(script.asked) == 4 for script in scripts))

    assert scripts[0].asked[3][1] != scripts[1].asked[3][1]


async def test_the_servers_own_pause_is_kept_and_capped() -> None:
    script = Script(lists=[Unavailable("busy", status=429, retry_after_s=9.0), Unavailable("busy", retry_after_s=9e9)])
    async with running(script, pauses=Pauses(first=0.1, most=20.0)):
        await until(lambda: len(script.asked) == 3)

    (_, first), (_, second), (_, third) = script.asked
    assert 4.5 <= second - first <= 9.1
    assert 10 <= third - second <= 20.1


async def test_a_server_that_closes_at_once_is_asked_ever_more_seldom() -> None:
    script = Script(lists=[(7,)], watches=[[END] for _ in range(20)])
    async with running(script, pauses=Pauses(first=1.0, most=30.0)):
        await until(lambda: len(script.asked) == 12)

    assert script.asked[-1][1] - script.asked[-2][1] >= 15


async def test_a_good_stream_makes_the_next_failure_the_first() -> None:
    watches = [*[[Unavailable("cut")] for _ in range(6)], [6.0, END], [Unavailable("cut")]]
    script = Script(lists=[(7,)], watches=watches)
    async with running(script, pauses=Pauses(first=1.0, most=30.0)):
        await until(lambda: len(script.asked) == 10)

    after_the_good = script.asked[8][1] - script.asked[7][1]
    after_the_next_failure = script.asked[9][1] - script.asked[8][1]
    assert 6.0 <= after_the_good <= 6.3
    assert after_the_next_failure <= 1.01


async def test_a_version_that_the_server_keeps_refusing_is_given_up() -> None:
    refused = [[Unavailable("Too large resource version", status=504)] for _ in range(3)]
    script = Script(lists=[(900, node_pull("a", 899)), (5, node_pull("a", 4))], watches=refused)
    async with running(script) as (_, told):
        await until(lambda: "~a899>4" in told.changes)

    assert script.order[:5] == ["list", "900", "900", "900", "list"]


async def test_a_server_that_cannot_be_reached_is_not_listed_again_for_that() -> None:
    script = Script(lists=[(7,)], watches=[[Unavailable("refused")] for _ in range(8)])
    async with running(script):
        await until(lambda: len(script.asked) == 10)

    assert script.order == ["list", *["7"] * 9]


async def test_what_is_forbidden_is_asked_for_again_later() -> None:
    script = Script(lists=[Forbidden("no such Role yet", status=403), (7, node_pull("a", 1))])
    async with running(script) as (reflector, _):
        await reflector.synced.wait()

    assert "a" in reflector.objects


async def test_a_fault_of_a_subscriber_ends_the_run() -> None:
    def broken(*_: Any) -> None:
        message = "broken"
        raise ZeroDivisionError(message)

    reflector: Reflector[NodePull] = Reflector(Script(lists=[(7, node_pull("a", 1))]), NODEPULLS)
    reflector.subscribe(broken)
    with pytest.raises(ZeroDivisionError):
        await reflector.run()
