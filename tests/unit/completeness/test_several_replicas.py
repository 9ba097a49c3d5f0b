"""An image checked at several replicas: all local ones, failovers in their order, and home for what a tag is."""

import asyncio
from typing import Any

import pytest

from tidegate.findings import FAILURES, Finding
from tidegate.reference import ImageReference
from tidegate.registry.errors import (
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
)
from tidegate.testing.images import build_image

pytestmark = pytest.mark.looptime

IMAGE = build_image(layers=30, layer_bytes=600)
BLOB = IMAGE.layers[5]
NEWER = build_image(layers=2, seed="newer")
NAME = "r.example/team/app"
PINNED = f"{NAME}@{IMAGE.digest}"
TAGGED = f"{NAME}:v1"
V1 = {"v1": IMAGE.digest}
UNREACHABLE = Unreachable("no route to it", replica="west", step="connect")
UNAUTHORIZED = Unauthorized("who are you", replica="west")
THROTTLED = Throttled("slow down", replica="west", retry_after_s=7.0)


# Several local replicas.


@pytest.mark.parametrize(
    "first, second, finding, replica",
    [
        pytest.param([], [], Finding.OK, "west", id="complete-on-all"),
        pytest.param([], [BLOB], Finding.INCOMPLETE, "north", id="complete-on-one"),
        pytest.param([BLOB], [IMAGE.digest], Finding.INCOMPLETE, "west", id="the-worse-of-two"),
        pytest.param(UNREACHABLE, [BLOB], Finding.INCOMPLETE, "north", id="proof-beside-a-failure"),
        pytest.param(UNREACHABLE, [], Finding.UNREACHABLE, "west", id="a-failure-beside-a-complete-one"),
        pytest.param(UNREACHABLE, UNAUTHORIZED, Finding.UNAUTHORIZED, "north", id="two-failures"),
    ],
)
async def test_complete_means_on_all_local_replicas(
    bench: Any, shelf: Any, *, first: Any, second: Any, finding: Finding, replica: str
) -> None:
    shelves = [shelf(IMAGE), shelf(IMAGE, name="north")]
    for source, state in zip(shelves, (first, second), strict=True):
        if isinstance(state, RegistryError):
            source.failure = state
        else:
            source.lost = set(state)
    desk = bench(*shelves)
    found = await desk.check(PINNED)
    assert (found.finding, found.replica) == (finding, replica)
    assert [answer.replica for answer in found.replicas] == ["west", "north"]
    recalled = desk.recall(PINNED)
    assert recalled is None if finding in FAILURES else recalled.finding is finding


async def test_local_replicas_are_asked_at_the_same_time(bench: Any, shelf: Any) -> None:
    shelves = [shelf(IMAGE), shelf(IMAGE, name="north")]
    for source in shelves:
        source.delay_s = 0.3
    assert (await bench(*shelves).check(PINNED)).finding is Finding.OK
    assert asyncio.get_running_loop().time() < 1


# Failover.


@pytest.mark.parametrize(
    "local, spare, finding, replica, asked",
    [
        pytest.param([], [BLOB], Finding.OK, "west", False, id="not-needed"),
        pytest.param([BLOB], [], Finding.INCOMPLETE, "west", False, id="never-overrules-a-proof"),
        pytest.param([IMAGE.digest], [], Finding.ABSENT, "west", False, id="never-overrules-an-absence"),
        pytest.param(UNREACHABLE, [], Finding.OK, "east", True, id="stands-in"),
        pytest.param(THROTTLED, [], Finding.OK, "east", True, id="stands-in-for-a-throttled-one"),
        pytest.param(UNAUTHORIZED, [], Finding.OK, "east", True, id="stands-in-for-one-that-refuses-us"),
        pytest.param(UNREACHABLE, [BLOB], Finding.INCOMPLETE, "east", True, id="its-proof-counts"),
        pytest.param(UNREACHABLE, THROTTLED, Finding.UNREACHABLE, "west", True, id="fails-too"),
    ],
)
async def test_failover(
    bench: Any, shelf: Any, *, local: Any, spare: Any, finding: Finding, replica: str, asked: bool
) -> None:
    shelves = [shelf(IMAGE), shelf(IMAGE, name="east")]
    for source, state in zip(shelves, (local, spare), strict=True):
        if isinstance(state, RegistryError):
            source.failure = state
        else:
            source.lost = set(state)
    found = await bench(shelves[0], failover=[shelves[1]]).check(PINNED)
    assert (found.finding, found.replica) == (finding, replica)
    assert bool(shelves[1].calls) is asked
    assert [answer.replica for answer in found.replicas] == (["west", "east"] if asked else ["west"])


async def test_failovers_are_asked_in_order_until_one_answers(bench: Any, shelf: Any) -> None:
    west, east, south, north = (shelf(IMAGE, name=name) for name in ("west", "east", "south", "north"))
    west.failure = east.failure = UNREACHABLE
    found = await bench(west, failover=[east, south, north]).check(PINNED)
    assert (found.finding, found.replica) == (Finding.OK, "south")
    assert north.calls == []


async def test_a_silent_replica_gives_way_within_the_deadline(bench: Any, shelf: Any) -> None:
    west, east, south = (shelf(IMAGE, name=name) for name in ("west", "east", "south"))
    west.stalled = east.stalled = True
    found = await bench(west, failover=[east, south]).check(PINNED, within_s=1)
    assert (found.finding, found.replica, asyncio.get_running_loop().time()) == (
        Finding.OK,
        "south",
        pytest.approx(0.75),
    )


async def test_a_slow_replica_does_not_give_way(bench: Any, shelf: Any) -> None:
    west, east = shelf(IMAGE, lost=[BLOB]), shelf(IMAGE, name="east")
    west.delay_s = 0.3
    found = await bench(west, failover=[east]).check(PINNED, within_s=1)
    assert (found.finding, found.replica, east.calls) == (Finding.INCOMPLETE, "west", [])


async def test_what_stood_in_once_is_no_proof_of_the_local_replica(bench: Any, shelf: Any) -> None:
    west, east = shelf(IMAGE, lost=[BLOB]), shelf(IMAGE, name="east")
    west.failure = UNREACHABLE
    desk = bench(west, failover=[east])
    assert (await desk.check(PINNED)).finding is Finding.OK
    west.failure = None
    assert desk.recall(PINNED) is None
    assert (await desk.check(PINNED)).finding is Finding.INCOMPLETE


# Tags.


@pytest.mark.parametrize("reference", [TAGGED, NAME], ids=["tag", "latest-by-default"])
async def test_a_tag_is_what_home_says_and_local_must_have_it(bench: Any, shelf: Any, reference: str) -> None:
    tags = V1 | {"latest": IMAGE.digest}
    home, local = shelf(IMAGE, name="home", tags=tags), shelf(IMAGE, tags=tags)
    found = await bench(local, home=home).check(reference)
    assert (found.finding, found.digest, found.replica) == (Finding.OK, IMAGE.digest, "west")


async def test_a_tag_at_home_is_asked_for_once(bench: Any, shelf: Any) -> None:
    home = shelf(IMAGE, tags=V1)
    assert (await bench(home).check(TAGGED)).finding is Finding.OK
    assert home.asked()["v1"] == 1
    assert len(home.calls) == 33


@pytest.mark.parametrize(
    "home_tags, local_tags, home_has, local_lost, finding, replica, says",
    [
        pytest.param({}, V1, [IMAGE], [], Finding.ABSENT, "home", "v1", id="home-has-no-such-tag"),
        pytest.param(V1, {}, [IMAGE], [], Finding.ABSENT, "west", "v1", id="it-has-not-arrived"),
        pytest.param(V1, V1, [IMAGE], [BLOB], Finding.INCOMPLETE, "west", BLOB, id="it-has-not-all-arrived"),
        pytest.param(
            V1, {"v1": NEWER.digest}, [IMAGE, NEWER], [], Finding.ABSENT, "west", "still", id="it-lags-behind"
        ),
        pytest.param(
            V1, {"v1": NEWER.digest}, [IMAGE], [], Finding.MISMATCH, "west", "which home has not", id="it-rewrites"
        ),
    ],
)
async def test_a_tag_that_is_not_the_same_everywhere(
    bench: Any, shelf: Any, *, home_tags: Any, local_tags: Any, home_has: Any, local_lost: Any, finding: Finding,
    replica: str, says: str,
) -> None:  # fmt: skip
    home = shelf(*home_has, name="home", tags=home_tags)
    local = shelf(IMAGE, NEWER, tags=local_tags, lost=local_lost)
    found = await bench(local, home=home).check(TAGGED)
    assert (found.finding, found.replica) == (finding, replica)
    assert says in found.detail


@pytest.mark.parametrize("failing", ["home", "west"])
async def test_a_tag_that_cannot_be_asked_for(bench: Any, shelf: Any, failing: str) -> None:
    shelves = {"home": shelf(IMAGE, name="home", tags=V1), "west": shelf(IMAGE, tags=V1)}
    shelves[failing].failure = UNREACHABLE
    found = await bench(shelves["west"], home=shelves["home"]).check(TAGGED)
    assert (found.finding, found.replica, found.known_before) == (Finding.UNREACHABLE, failing, False)


async def test_a_tag_that_was_complete_before_says_so_when_home_fails(bench: Any, shelf: Any) -> None:
    home, local = shelf(IMAGE, name="home", tags=V1), shelf(IMAGE, tags=V1)
    desk = bench(local, home=home)
    await desk.check(TAGGED)
    await asyncio.sleep(60)
    home.failure = UNREACHABLE
    found = await desk.check(TAGGED)
    assert (found.finding, found.known_before) == (Finding.UNREACHABLE, True)


async def test_when_home_cannot_say_whether_it_had_it_the_tag_lags(bench: Any, shelf: Any) -> None:
    home = shelf(IMAGE, name="home", tags=V1)
    home.failures[NEWER.digest] = UNREACHABLE
    found = await bench(shelf(NEWER, tags={"v1": NEWER.digest}), home=home).check(TAGGED)
    assert found.finding is Finding.ABSENT


async def test_a_moved_tag_is_seen_after_a_moment(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE, NEWER, tags=V1)
    desk = bench(source)
    assert (await desk.check(TAGGED)).digest == IMAGE.digest
    assert desk.recall(TAGGED).digest == IMAGE.digest
    source.tags["v1"] = NEWER.digest
    await asyncio.sleep(2)
    assert desk.recall(TAGGED) is None
    assert (await desk.check(TAGGED)).digest == NEWER.digest


async def test_a_tag_that_may_not_be_resolved_is_not_pinned(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE, tags=V1)
    checker = bench(source).checker
    found = await checker.check(TAGGED, ImageReference.parse(TAGGED), deadline=1, tags_resolve=False)
    assert (found.finding, source.calls) == (Finding.NOT_PINNED, [])


# One replica by name, and what a tag stands for.


async def test_any_replica_can_be_asked_by_itself(bench: Any, shelf: Any) -> None:
    west, east = shelf(IMAGE), shelf(IMAGE, name="east", lost=[BLOB])
    desk = bench(west, failover=[east])
    answer = await desk.checker.ask(desk.replicas["east"], "team/app", IMAGE.digest, deadline=1)
    assert (answer.replica, answer.finding, answer.requests) == ("east", Finding.INCOMPLETE, 32)
    assert west.calls == []


async def test_a_tag_is_resolved_at_home(bench: Any, shelf: Any) -> None:
    home, local = shelf(IMAGE, name="home", tags=V1), shelf(NEWER, tags={"v1": NEWER.digest})
    checker = bench(local, home=home).checker
    assert await checker.resolve(ImageReference.parse(TAGGED), deadline=1) == IMAGE.digest
    assert await checker.resolve(ImageReference.parse(PINNED), deadline=1) == IMAGE.digest
    with pytest.raises(NotFound):
        await checker.resolve(ImageReference.parse(f"{NAME}:v2"), deadline=1)
