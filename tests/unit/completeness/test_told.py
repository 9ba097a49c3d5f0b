"""What others found out is remembered like what was found out here, and taken back."""

import asyncio
from typing import Any

import pytest

from tidegate.findings import Finding
from tidegate.registry.errors import Unreachable
from tidegate.testing.images import build_image

pytestmark = pytest.mark.looptime

HOST, PATH = "r.example", "team/app"
IMAGE = build_image(layers=2, layer_bytes=64)
PINNED = f"{HOST}/{PATH}@{IMAGE.digest}"
KEY = (HOST, PATH, IMAGE.digest)
HOUR = 3600


def at(replica: str) -> tuple[str, str, str, str]:
    return (HOST, replica, PATH, IMAGE.digest)


async def test_what_others_say_is_believed_without_asking_and_not_for_ever(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE)
    desk = bench(source)
    desk.checker.believe(at("west"))
    found = await desk.check(PINNED)
    assert (found.finding, found.replica, source.calls) == (Finding.OK, "west", [])
    await asyncio.sleep(5 * HOUR)
    assert desk.recall(PINNED) == found
    await asyncio.sleep(1.1 * HOUR)
    assert desk.recall(PINNED) is None
    assert (await desk.check(PINNED)).finding is Finding.OK
    assert source.calls


async def test_what_is_doubted_is_asked_anew(bench: Any, shelf: Any) -> None:
    source = shelf(IMAGE, lost=[IMAGE.layers[0]])
    desk = bench(source)
    desk.checker.believe(at("west"))
    desk.checker.doubt(at("west"))
    desk.checker.doubt(at("west"))
    assert desk.recall(PINNED) is None
    assert (await desk.check(PINNED)).finding is Finding.INCOMPLETE
    desk.checker.doubt(at("west"))
    assert desk.recall(PINNED).finding is Finding.INCOMPLETE, "what was proven a moment ago stays"


async def test_all_replicas_that_count_must_be_spoken_of(bench: Any, shelf: Any) -> None:
    desk = bench(shelf(IMAGE, name="west"), shelf(IMAGE, name="north"))
    desk.checker.believe(at("west"))
    assert desk.recall(PINNED) is None
    desk.checker.believe(at("north"))
    assert desk.recall(PINNED).finding is Finding.OK


async def test_replicas_and_registries_that_are_not_configured_are_not_remembered(bench: Any, shelf: Any) -> None:
    desk = bench(shelf(IMAGE))
    desk.checker.believe(at("elsewhere"))
    desk.checker.believe(("other.example", "west", PATH, IMAGE.digest))
    desk.checker.believe_outcome(("other.example", PATH, IMAGE.digest), {"west": Finding.OK})
    assert desk.recall(PINNED) is None


@pytest.mark.parametrize(
    "said, known_before",
    [
        pytest.param([{"west": "ok", "north": "ok"}], True, id="whole on both"),
        pytest.param([{"west": "ok"}], False, id="nobody spoke of the other"),
        pytest.param([{"west": "ok", "north": "unreachable"}], False, id="the other could not be asked"),
        pytest.param([{"west": "ok", "north": "ok"}, {"west": "unreachable"}], True, id="a failure takes nothing back"),
        pytest.param([{"west": "ok", "north": "ok"}, {"north": "absent"}], False, id="proof does"),
    ],
)
async def test_that_it_was_complete_before_is_learned_too(
    bench: Any, shelf: Any, said: list[dict[str, str]], *, known_before: bool
) -> None:
    west, north = shelf(IMAGE, name="west"), shelf(IMAGE, name="north")
    west.failure = north.failure = Unreachable("no", replica="west", step="connect")
    desk = bench(west, north)
    for one in said:
        desk.checker.believe_outcome(KEY, {name: Finding(word) for name, word in one.items()})
    assert (await desk.check(PINNED)).known_before is known_before


async def test_a_failover_that_is_known_to_have_it_need_not_be_asked_either(bench: Any, shelf: Any) -> None:
    west, east = shelf(IMAGE, name="west"), shelf(IMAGE, name="east")
    west.failure = Unreachable("no", replica="west", step="connect")
    desk = bench(west, failover=[east])
    desk.checker.believe(at("east"))
    found = await desk.check(PINNED)
    assert (found.finding, found.replica, east.calls) == (Finding.OK, "east", [])
