"""What every replica says for itself of an image in use."""

import asyncio
from typing import Any

import pytest

from tidegate.completeness.walk import LACKING_LIMIT
from tidegate.findings import Finding, ReplicaFinding
from tidegate.reference import ImageReference
from tidegate.registry.errors import Unreachable
from tidegate.testing.images import build_image

pytestmark = pytest.mark.looptime

IMAGE = build_image(layers=30, layer_bytes=600)
NEWER = build_image(layers=2, seed="newer")
NAME = "r.example/team/app"


async def survey(bench: Any, reference: str, *names: str, fresh: bool = False) -> dict[str, ReplicaFinding]:
    replicas = [bench.replicas[name] for name in names]
    deadline = asyncio.get_running_loop().time() + 5.0
    answers = await bench.checker.survey(ImageReference.parse(reference), replicas, deadline=deadline, fresh=fresh)
    return {answer.replica: answer for answer in answers}


async def test_by_digest_each_replica_answers_for_itself(bench: Any, shelf: Any) -> None:
    lost = [*IMAGE.layers[:12]]
    home, west, north = shelf(IMAGE, name="home"), shelf(IMAGE, name="west", lost=lost), shelf(name="north")
    checked = bench(west, home=home, failover=[north])
    said = await survey(checked, f"{NAME}@{IMAGE.digest}", "home", "west", "north")
    findings = {name: answer.finding for name, answer in said.items()}
    assert findings == {"home": Finding.OK, "west": Finding.INCOMPLETE, "north": Finding.ABSENT}
    assert said["west"].missing.blobs == 12
    assert said["west"].lacking == tuple(sorted(lost)[:LACKING_LIMIT]), "the same ones, whatever came first"


async def test_memory_answers_unless_a_fresh_look_is_wanted(bench: Any, shelf: Any) -> None:
    west = shelf(IMAGE, name="west")
    checked = bench(west)
    pinned = f"{NAME}@{IMAGE.digest}"
    await survey(checked, pinned, "west")
    west.lost.add(IMAGE.layers[3])
    assert (await survey(checked, pinned, "west"))["west"].finding is Finding.OK
    assert (await survey(checked, pinned, "west", fresh=True))["west"].finding is Finding.INCOMPLETE
    recalled = checked.recall(pinned)
    assert recalled is not None
    assert recalled.finding is Finding.INCOMPLETE, "what it saw is what all others know now"


@pytest.mark.parametrize(
    "tag_there,finding",
    [
        pytest.param(IMAGE.digest, Finding.OK, id="the same"),
        pytest.param(NEWER.digest, Finding.ABSENT, id="it lags"),
        pytest.param(None, Finding.ABSENT, id="no such tag"),
    ],
)
async def test_a_tag_is_what_home_says(bench: Any, shelf: Any, tag_there: str | None, finding: Finding) -> None:
    home = shelf(IMAGE, NEWER, name="home", tags={"v1": IMAGE.digest})
    west = shelf(IMAGE, NEWER, name="west", tags={"v1": tag_there} if tag_there else {})
    said = await survey(bench(west, home=home), f"{NAME}:v1", "west")
    assert {name: answer.finding for name, answer in said.items()} == {"west": finding}


async def test_a_tag_that_home_cannot_name_says_nothing_of_others(bench: Any, shelf: Any) -> None:
    home, west = shelf(name="home"), shelf(IMAGE, name="west", tags={"v1": IMAGE.digest})
    home.failure = Unreachable("no route", replica="home", step="connect")
    said = await survey(bench(west, home=home), f"{NAME}:v1", "west")
    assert {name: answer.finding for name, answer in said.items()} == {"home": Finding.UNREACHABLE}
    assert not west.calls
