import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.completeness import PullCost
from tidegate.findings import FAILURES, Finding, Missing
from tidegate.reference import ImageReference
from tidegate.registry.errors import (
    Mismatch,
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from tidegate.testing.images import build_image, build_index

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


def now() -> float:
    return asyncio.get_running_loop().time()


# One local replica, by digest.


@pytest.mark.parametrize(
    "lost, finding, missing",
    [
        ([], Finding.OK, Missing(of_blobs=31)),
        ([BLOB], Finding.INCOMPLETE, Missing(blobs=1, bytes=len(IMAGE.blobs[BLOB]), of_blobs=31)),
        ([IMAGE.digest], Finding.ABSENT, Missing(manifests=1)),
    ],
    ids=["complete", "incomplete", "absent"],
)
async def test_what_the_local_replica_holds_is_the_finding(
    bench: Any, shelf: Any, lost: list[str], finding: Finding, missing: Missing
) -> None:
    found = await bench(shelf(IMAGE, lost=lost)).check(PINNED)
    assert (found.finding, found.missing, found.digest, found.replica) == (finding, missing, IMAGE.digest, "west")
    assert found.image == PINNED
    assert [answer.replica for answer in found.replicas] == ["west"]
    assert not found.known_before


@pytest.mark.parametrize("failure", [UNREACHABLE, UNAUTHORIZED, THROTTLED], ids=lambda exc: exc.finding.value)
async def test_a_failure_is_a_finding_with_its_words(bench: Any, shelf: Any, failure: RegistryError) -> None:
    source = shelf(IMAGE)
    source.failure = failure
    found = await bench(source).check(PINNED)
    assert (found.finding, found.detail, found.known_before) == (failure.finding, failure.detail, False)
    assert found.retry_after_s == (7.0 if failure is THROTTLED else None)


async def test_an_unknown_registry_is_asked_for_nothing(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    found = await bench(source).check(f"other.example/team/app@{IMAGE.digest}")
    assert (found.finding, source.calls) == (Finding.UNLISTED, [])
    assert bench(source).recall("nginx").finding is Finding.UNLISTED


async def test_with_a_digest_the_tag_is_never_looked_at(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE, tags={"v1": NEWER.digest})
    assert (await bench(source).check(f"{TAGGED}@{IMAGE.digest}")).finding is Finding.OK
    assert "v1" not in source.calls


# A thousand reviews at once, and after one another.


async def test_a_thousand_checks_of_one_cold_image_are_one_walk(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.delay_s = 0.1
    desk = bench(source)
    found = await asyncio.gather(*(desk.check(PINNED, within_s=8) for _ in range(1000)))
    assert {one.finding for one in found} == {Finding.OK}
    assert len(source.calls) == 32


async def test_an_index_costs_one_request_more(bench: Any, shelf: Any) -> None:
    index = build_index([IMAGE, NEWER], attestations=True)
    source = shelf(index)
    desk = bench(source)
    await asyncio.gather(*(desk.check(f"{NAME}@{index.digest}", within_s=8) for _ in range(1000)))
    assert len(source.calls) == 33


async def test_a_thousand_checks_by_tag_stay_within_forty_requests(bench: Any, shelf: Any) -> None:
    home, local = shelf(IMAGE, name="home", tags=V1), shelf(IMAGE, tags=V1)
    desk = bench(local, home=home)
    found = await asyncio.gather(*(desk.check(TAGGED, within_s=8) for _ in range(1000)))
    assert {one.finding for one in found} == {Finding.OK}
    assert len(home.calls) + len(local.calls) <= 40


async def test_a_known_image_is_recalled_without_asking(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    desk = bench(source)
    assert desk.recall(PINNED) is None
    checked = await desk.check(PINNED)
    calls = len(source.calls)
    assert desk.recall(PINNED) == checked
    source.stalled = True
    assert (await desk.check(PINNED)).finding is Finding.OK
    assert len(source.calls) == calls
    await asyncio.sleep(5 * 3600)
    assert desk.recall(PINNED) is not None
    await asyncio.sleep(2 * 3600)
    assert desk.recall(PINNED) is None


async def test_an_absence_is_believed_for_a_moment_and_then_asked_again(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE, lost=[BLOB])
    desk = bench(source)
    await desk.check(PINNED)
    calls = len(source.calls)
    source.lost.clear()
    assert desk.recall(PINNED).finding is Finding.INCOMPLETE
    assert (await desk.check(PINNED)).finding is Finding.INCOMPLETE
    assert len(source.calls) == calls
    await asyncio.sleep(5)
    assert desk.recall(PINNED) is None
    assert (await desk.check(PINNED)).finding is Finding.OK


async def test_a_failure_is_not_remembered(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.failure = UNAUTHORIZED
    desk = bench(source)
    await desk.check(PINNED)
    source.failure = None
    assert desk.recall(PINNED) is None
    assert (await desk.check(PINNED)).finding is Finding.OK


@pytest.mark.parametrize("failure", [UNREACHABLE, UNAUTHORIZED, THROTTLED], ids=lambda exc: exc.finding.value)
async def test_a_failure_of_what_was_complete_says_so(bench: Any, shelf: Any, failure: RegistryError) -> None:
    source = shelf(IMAGE)
    desk = bench(source)
    await desk.check(PINNED)
    await asyncio.sleep(24 * 3600)
    source.failure = failure
    found = await desk.check(PINNED)
    assert (found.finding, found.known_before) == (failure.finding, True)


async def test_what_was_lost_since_was_not_complete_before(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    desk = bench(source)
    await desk.check(PINNED)
    await asyncio.sleep(24 * 3600)
    source.lost.add(BLOB)
    assert not (await desk.check(PINNED)).known_before
    await asyncio.sleep(10)
    source.failure = UNREACHABLE
    assert not (await desk.check(PINNED)).known_before


# Time.


async def test_no_check_outlasts_its_deadline(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.stalled = True
    found = await bench(source).check(PINNED, within_s=1)
    assert now() == pytest.approx(1)
    assert found.finding is Finding.DEADLINE
    assert "1.0 s" in found.detail


@pytest.mark.parametrize("within_s", [0.0, -5.0], ids=["now", "passed"])
async def test_without_time_nobody_is_asked(bench: Any, shelf: Any, within_s: float) -> None:
    source = shelf(IMAGE)
    found = await bench(source).check(PINNED, within_s=within_s)
    assert (found.finding, source.calls, now()) == (Finding.DEADLINE, [], 0)


async def test_what_a_hasty_caller_began_is_there_for_the_next(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.delay_s = 1.0
    desk = bench(source)
    assert (await desk.check(PINNED, within_s=1.5)).finding is Finding.DEADLINE
    await asyncio.sleep(5)
    assert desk.recall(PINNED).finding is Finding.OK
    assert len(source.calls) == 32


async def test_a_replica_that_never_answers_is_unreachable_even_to_the_most_patient(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.stalled = True
    found = await bench(source).check(PINNED, within_s=600)
    assert (found.finding, now()) == (Finding.UNREACHABLE, pytest.approx(30))


async def test_a_replica_that_stalls_does_not_ground_the_checks_of_others(bench: Any, shelf: Any) -> None:
    home, local = shelf(IMAGE, name="home", tags=V1), shelf(IMAGE)
    local.stalled = True
    desk = bench(local, home=home)
    digests = [f"sha256:{number:064}" for number in range(1000)]
    waiting = [asyncio.create_task(desk.check(f"{NAME}@{digest}", within_s=20)) for digest in digests]
    await asyncio.sleep(1)
    answer = await desk.checker.ask(desk.replicas["home"], "team/app", IMAGE.digest, deadline=now() + 1)
    assert answer.finding is Finding.OK
    assert {(await task).finding for task in waiting} == {Finding.DEADLINE}
    assert len(local.calls) <= 128


async def test_one_callers_cancellation_fails_nobody_else(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.delay_s = 0.5
    desk = bench(source)
    first, second = (asyncio.create_task(desk.check(PINNED, within_s=8)) for _ in range(2))
    await asyncio.sleep(0.2)
    first.cancel()
    assert (await second).finding is Finding.OK
    assert first.cancelled() or first.done()
    assert len(source.calls) == 32


@pytest.mark.parametrize(
    "pause_s, finding, after_s",
    [(30.0, Finding.THROTTLED, 0.0), (0.5, Finding.THROTTLED, 1.0), (0.0, Finding.DEADLINE, 1.0)],
    ids=["longer-than-what-is-left", "shorter", "none"],
)
async def test_a_pause_longer_than_what_is_left_is_told_at_once(
    bench: Any, shelf: Any, pause_s: float, finding: Finding, after_s: float
) -> None:
    source = shelf(IMAGE)
    source.pause_s = pause_s
    source.stalled = True
    found = await bench(source).check(PINNED, within_s=1)
    assert (found.finding, now()) == (finding, pytest.approx(after_s))
    assert found.retry_after_s == (pause_s or None)


async def test_an_open_circuit_is_told_at_once_and_tried_again_within_five_seconds(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    source.failure = UNREACHABLE
    desk = bench(source)
    for _ in range(3):
        await desk.check(PINNED)
    calls = len(source.calls)
    found = await desk.check(PINNED)
    assert (found.finding, len(source.calls)) == (Finding.UNREACHABLE, calls)
    assert "no route" in found.detail
    source.failure = None
    await asyncio.sleep(5)
    assert (await desk.check(PINNED)).finding is Finding.OK


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
    assert now() < 1


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
    assert (found.finding, found.replica, now()) == (Finding.OK, "south", pytest.approx(0.75))


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


# One replica by name, what a tag stands for, and what a pull costs.


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


COST = PullCost(33, sum(map(len, IMAGE.blobs.values())))


@pytest.mark.parametrize("reference", [PINNED, TAGGED])
async def test_a_cost_is_read_from_the_manifest_once(bench: Any, shelf: Any, reference: str) -> None:
    source = shelf(IMAGE, tags=V1)
    checker = bench(source).checker
    parsed = ImageReference.parse(reference)
    costs = await asyncio.gather(*(checker.pull_cost(parsed, deadline=1) for _ in range(100)))
    assert set(costs) == {COST}
    assert source.asked()[IMAGE.digest] == 1
    source.stalled = True
    assert await checker.pull_cost(ImageReference.parse(PINNED), deadline=1) == COST
    assert not set(IMAGE.blobs) & set(source.calls)


async def test_a_check_teaches_the_cost(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    desk = bench(source)
    await desk.check(PINNED)
    calls = len(source.calls)
    assert await desk.checker.pull_cost(ImageReference.parse(PINNED), deadline=1) == COST
    assert len(source.calls) == calls


def fail(source: Any, failure: RegistryError) -> None:
    source.failure = failure


@pytest.mark.parametrize(
    "prepare, raised",
    [
        pytest.param(lambda source: source.lost.add(IMAGE.digest), NotFound, id="absent"),
        pytest.param(lambda source: fail(source, UNREACHABLE), Unreachable, id="unreachable"),
        pytest.param(lambda source: fail(source, Mismatch("other bytes", replica="west")), Mismatch, id="mismatch"),
        pytest.param(lambda source: fail(source, Unsupported("too long", replica="west")), Unsupported, id="too-long"),
        pytest.param(lambda source: fail(source, THROTTLED), Throttled, id="throttled"),
        pytest.param(lambda source: fail(source, UNAUTHORIZED), Unauthorized, id="unauthorized"),
        pytest.param(lambda source: setattr(source, "stalled", True), Unreachable, id="deadline"),
    ],
)
async def test_a_cost_that_cannot_be_known_raises(
    bench: Any, shelf: Any, prepare: Callable[[Any], None], raised: type[RegistryError]
) -> None:
    source = shelf(IMAGE)
    prepare(source)
    with pytest.raises(raised):
        await bench(source).checker.pull_cost(ImageReference.parse(PINNED), deadline=1)


async def test_the_cost_comes_from_a_failover_when_local_cannot_say(bench: Any, shelf: Any) -> None:
    west, east = shelf(IMAGE), shelf(IMAGE, name="east")
    west.failure = UNREACHABLE
    checker = bench(west, failover=[east]).checker
    assert await checker.pull_cost(ImageReference.parse(PINNED), deadline=1) == COST


async def test_an_unknown_registry_has_no_cost(bench: Any, shelf: Any) -> None:
    with pytest.raises(Unsupported, match="not among the configured"):
        await bench(shelf()).checker.pull_cost(ImageReference.parse("nginx"), deadline=1)


async def test_findings_of_each_registry_are_counted_from_zero(bench: Any, shelf: Any) -> None:
    metrics = bench(shelf()).metrics
    for finding in Finding:
        labels = {"registry": "r.example", "finding": finding.value}
        assert metrics.registry.get_sample_value("tidegate_findings_total", labels) == 0
