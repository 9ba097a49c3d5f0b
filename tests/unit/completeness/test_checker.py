"""An image checked at its replica: what is found, what is remembered, how long it takes, what its pull costs."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.completeness import PullCost
from tidegate.findings import Finding, Missing
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


# What a pull costs.

COST = PullCost(33, sum(map(len, IMAGE.blobs.values())), frozenset(IMAGE.blobs))


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
