"""What the objects of an API server say reaches the checker's memory, and leaves it again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tidegate.availability import name_of, spec_of
from tidegate.findings import Finding, ImageFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.own import ImageAvailability, ImageAvailabilityStatus
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import Metadata
from tidegate.reference import ImageReference
from tidegate.testing.apiserver import ApiServerDouble
from webhook.facts import Facts, NoFacts

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/team/app@{DIGEST}"
WEST = ("r.example", "west", "team/app", DIGEST)
EAST = ("r.example", "east", "team/app", DIGEST)
HOUR = 3600.0


@dataclass
class Memory:
    """Takes everything in."""

    whole: set[tuple[str, ...]] = field(default_factory=set)
    doubted: list[tuple[str, ...]] = field(default_factory=list)
    outcomes: dict[tuple[str, ...], Mapping[str, Finding]] = field(default_factory=dict)

    def believe(self, key: tuple[str, ...]) -> None:
        self.whole.add(key)

    def doubt(self, key: tuple[str, ...]) -> None:
        self.doubted.append(key)
        self.whole.discard(key)

    def believe_outcome(self, image: tuple[str, ...], said: Mapping[str, Finding]) -> None:
        self.outcomes[image] = said


class Told:
    """Facts over an API server, and a clock that stands."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self.now = 1000.0
        self.observed = Reflector(client, IMAGEAVAILABILITIES)
        self.facts = Facts(self.observed, clock=lambda: self.now)
        self.memory = Memory()
        self.facts.teach(self.memory)

    async def say(self, image: str = APP, *, runs_in: str = "", since: str | None = None, **replicas: str) -> None:
        """Each replica with its finding; returns when that has arrived."""
        spec = spec_of(ImageReference.parse(image), image)
        entries = [
            {"name": name, "complete": word == "ok", "finding": word, "since": since} for name, word in replicas.items()
        ]
        status: dict[str, Any] = {"replicas": entries}
        if runs_in:
            status["namespaces"] = [{"name": runs_in, "since": "2026-11-24T12:00:00Z"}]
        name, seen = name_of(spec), self.observed.revision
        if name not in self.observed.objects:
            await self.client.create(IMAGEAVAILABILITIES, ImageAvailability(metadata=Metadata(name=name), spec=spec))
        await self.client.merge_patch(IMAGEAVAILABILITIES, name, {"status": status}, subresource="status")
        while self.observed.objects.get(name, ImageAvailability()).status != msgspec.convert(
            status, ImageAvailabilityStatus
        ):
            seen = await self.observed.changed(seen)

    async def drop(self, image: str = APP) -> None:
        seen = self.observed.revision
        await self.client.delete(IMAGEAVAILABILITIES, name_of(spec_of(ImageReference.parse(image), image)))
        await self.observed.changed(seen)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        told = Told(client)
        watching = asyncio.create_task(told.observed.run())
        await told.observed.synced.wait()
        yield told
        watching.cancel()
        await asyncio.wait([watching])


async def test_a_fact_comes_and_goes_with_its_object(told: Told) -> None:
    await told.say(west="ok", east="incomplete")
    assert told.memory.whole == {WEST}
    assert told.memory.outcomes == {WEST[:1] + WEST[2:]: {"west": Finding.OK, "east": Finding.INCOMPLETE}}
    await told.say(west="ok", east="ok")
    assert told.memory.whole == {WEST, EAST}
    await told.drop()
    assert told.memory.whole == set()


@pytest.mark.parametrize(
    "word, kept",
    [
        ("absent", False), ("incomplete", False), ("mismatch", False), ("unsupported", False),
        ("unreachable", True), ("throttled", True), ("unauthorized", True), ("deadline", True),
        pytest.param("of-another-version", True, id="a word that nobody knows proves nothing"),
    ],
)  # fmt: skip
async def test_proof_takes_a_fact_back_and_a_failure_does_not(told: Told, word: str, *, kept: bool) -> None:
    await told.say(west="ok")
    await told.say(west=word)
    assert (WEST in told.memory.whole) is kept


async def test_what_an_object_does_not_say_any_more_is_doubted(told: Told) -> None:
    await told.say(west="ok", east="ok")
    await told.say(east="ok")
    assert told.memory.whole == {EAST}


async def test_a_write_about_something_else_makes_nothing_truer(told: Told) -> None:
    """What the checker found out itself meanwhile is not overturned by an old word."""
    await told.say(west="ok")
    told.memory.whole.clear()
    await told.say(west="ok", runs_in="shop")
    assert told.memory.whole == set()
    await told.say(west="throttled", runs_in="shop")
    await told.say(west="ok", runs_in="shop")
    assert told.memory.whole == {WEST}, "somebody looked again"


async def test_a_tag_is_no_fact_but_it_was_complete(told: Told) -> None:
    await told.say("r.example/team/app:1", west="ok")
    assert told.memory.whole == set()
    assert told.memory.outcomes == {("r.example", "team/app", "1"): {"west": Finding.OK}}


async def test_a_fact_is_not_believed_for_ever(told: Told) -> None:
    await told.say(west="ok")
    told.now += 5 * HOUR
    await told.say(west="ok", east="ok")
    told.now += 1.5 * HOUR
    other = Memory()
    told.facts.teach(other)
    assert other.whole == {EAST}
    assert told.memory.doubted == [], "the checker before it is not asked any more"


async def test_a_checker_that_comes_new_is_told_of_the_registries_that_stayed(told: Told) -> None:
    await told.say(west="ok")
    await told.say(f"s.example/app@{DIGEST}", west="ok")
    await told.say(west="unreachable")
    other = Memory()
    told.facts.teach(other, registries=frozenset({"r.example"}))
    assert other.whole == {WEST}, "though its replica cannot be asked just now"
    assert set(other.outcomes) == {("r.example", "team/app", DIGEST)}
    await told.say(f"s.example/app@{DIGEST}", west="absent")
    await told.say(f"s.example/app@{DIGEST}", west="ok")
    assert len(other.whole) == 2, "and of all from now on"


@pytest.mark.parametrize(
    "replica, finding, known",
    [
        ("west", Finding.INCOMPLETE, True),
        pytest.param("west", Finding.UNREACHABLE, False, id="what is found now is not what the object says"),
        pytest.param("east", Finding.INCOMPLETE, False, id="another replica"),
        pytest.param("north", Finding.INCOMPLETE, False, id="one that the object does not name"),
    ],
)
async def test_since_when_is_what_the_object_says_of_the_same_finding(
    told: Told, replica: str, finding: Finding, *, known: bool
) -> None:
    await told.say(west="incomplete", east="ok", since="2026-11-24T12:00:00Z")
    found = ImageFinding(APP, finding, replica=replica)
    since = told.facts.since(found, ImageReference.parse(APP))
    assert since == (datetime(2026, 11, 24, 12, tzinfo=UTC) if known else None)
    assert NoFacts().since(found, ImageReference.parse(APP)) is None


async def test_where_images_run_is_asked_of_the_objects(told: Told) -> None:
    await told.say(runs_in="shop")
    asked = {APP: ImageReference.parse(APP)}
    assert told.facts.runs(asked, namespace="shop").here == {APP}
    assert told.facts.runs(asked, namespace="bank").here == set()
    assert told.facts.runs(asked, namespace="bank").anywhere == {APP}
    assert not NoFacts().runs(asked, namespace="shop").anywhere
