"""An image that is waited for is looked at again and again: what that costs, and what is still seen."""

import asyncio
from typing import Any

import pytest

from tidegate.findings import Finding, Missing
from tidegate.registry.errors import Unreachable
from tidegate.testing.images import build_image

pytestmark = pytest.mark.looptime

IMAGE = build_image(layers=30, layer_bytes=600)
FIRST, SECOND = IMAGE.layers[5], IMAGE.layers[9]
PINNED = f"r.example/team/app@{IMAGE.digest}"
FORGOTTEN_S = 3.5
"""An absence is not believed any more."""


async def test_one_request_shows_that_an_image_still_lacks_something(bench: Any, shelf: Any) -> None:
    west = shelf(IMAGE, lost=[FIRST, SECOND])
    checking = bench(west)
    before = await checking.check(PINNED)
    west.calls.clear()
    await asyncio.sleep(FORGOTTEN_S)
    again = await checking.check(PINNED)
    assert (again.finding, again.missing) == (Finding.INCOMPLETE, before.missing)
    assert len(west.calls) == 1
    assert again.replicas[0].requests == 1


async def test_what_came_in_is_seen_at_the_next_look(bench: Any, shelf: Any) -> None:
    west = shelf(IMAGE, lost=[FIRST, SECOND])
    checking = bench(west)
    await checking.check(PINNED)
    west.lost.clear()
    await asyncio.sleep(FORGOTTEN_S)
    assert (await checking.check(PINNED)).finding is Finding.OK


async def test_the_rest_is_counted_anew_after_ten_seconds_or_when_the_blob_that_was_asked_for_is_there(
    bench: Any, shelf: Any
) -> None:
    west = shelf(IMAGE, lost=[FIRST, SECOND])
    checking = bench(west)
    lacking = (await checking.check(PINNED)).missing
    assert lacking.blobs == 2
    asked_first = max(FIRST, SECOND)
    west.lost.discard(asked_first)
    await asyncio.sleep(FORGOTTEN_S)
    left = min(FIRST, SECOND)
    one = Missing(blobs=1, bytes=len(IMAGE.blobs[left]), of_blobs=31)
    assert (await checking.check(PINNED)).missing == one
    west.lost.add(asked_first)  # a garbage collector was there
    await asyncio.sleep(FORGOTTEN_S)
    assert (await checking.check(PINNED)).missing == one
    await asyncio.sleep(10.0)
    assert (await checking.check(PINNED)).missing == lacking


async def test_a_replica_that_fails_meanwhile_is_no_proof(bench: Any, shelf: Any) -> None:
    west = shelf(IMAGE, lost=[FIRST])
    checking = bench(west)
    await checking.check(PINNED)
    west.failure = Unreachable("no route to it", replica="west", step="connect")
    await asyncio.sleep(FORGOTTEN_S)
    assert (await checking.check(PINNED)).finding is Finding.UNREACHABLE
