"""Who is asked about images in use, when, and by how much."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry

from controller.images import pace
from controller.images.checks import AT_ONCE, LOOK, Checks
from controller.images.naming import Image, image_of
from tidegate.config.registries import LimitsConfig, ReplicaConfig
from tidegate.findings import Finding, ReplicaFinding
from tidegate.kube.own import ReplicaAvailability
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import Unreachable
from tidegate.replicas import RegistryReplicas, Replica
from tidegate.replicas.circuit import Circuit

pytestmark = pytest.mark.looptime

HOST = "r.example"
DIGEST = "sha256:" + "a" * 64


def image(name: str, end: str = f"@{DIGEST}") -> Image:
    found = image_of(f"{HOST}/{name}{end}", {HOST})
    assert found is not None
    return found


class Told(Replica):
    """A replica that is in no network; paused and open as a test says."""

    pause_s = 0.0
    refusal: Unreachable | None = None

    def pause_left_s(self) -> float:
        return self.pause_s

    def closed_to_calls(self) -> Unreachable | None:
        return self.refusal


@dataclass
class World:
    """Replicas that answer as they are told (absent if they were not), and what was asked and heard."""

    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """By replica and repository."""
    seconds: dict[str, float] = field(default_factory=dict)
    requests: int = 15
    home_says: ReplicaFinding | None = None
    asked: list[tuple[float, str, str, bool]] = field(default_factory=list)
    """When, replica, repository, fresh."""
    heard: list[tuple[str, str, Finding]] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    replicas: dict[str, Told] = field(default_factory=dict)
    pulls_until: float = 0.0
    """So long pulls wait for the registry."""
    paid: list[tuple[str, int]] = field(default_factory=list)

    async def survey(
        self, reference: ImageReference, replicas: Sequence[Replica], *, deadline: float, fresh: bool = False
    ) -> Sequence[ReplicaFinding]:
        now = asyncio.get_running_loop().time()
        assert deadline > now
        (replica,) = replicas
        self.asked.append((now, replica.name, reference.path, fresh))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(self.seconds.get(replica.name, 0.01))
        self.busy -= 1
        if self.home_says is not None:
            return [self.home_says]
        finding = self.findings.get((replica.name, reference.path), Finding.ABSENT)
        return [ReplicaFinding(replica.name, finding, requests=self.requests)]

    def found(self, image: Image, answers: Sequence[ReplicaFinding]) -> None:
        self.heard += [(image.reference.path, answer.replica, answer.finding) for answer in answers]

    def room_s(self, host: str) -> float:
        assert host == HOST
        return 0.5 if asyncio.get_running_loop().time() < self.pulls_until else 0.0

    def asking(self, host: str, requests: int) -> None:
        self.paid.append((host, requests))

    def times(self, replica: str, path: str = "app") -> list[float]:
        return [at for at, name, repository, _ in self.asked if (name, repository) == (replica, path)]

    @asynccontextmanager
    async def checked(self, *, rate: float = 1000.0, burst: int = 1000) -> AsyncIterator[Checks]:
        metrics, now = Metrics(CollectorRegistry(), program="test"), asyncio.get_running_loop().time
        limits = LimitsConfig(requestsPerSecond=rate, burst=burst)
        for name in ("home", "west"):
            client = ReplicaClient(
                registry=HOST, name=name, config=ReplicaConfig(endpoint="http://127.0.0.1:1"), auth=(),
                token_hosts=(), limits=limits, metrics=metrics,
            )  # fmt: skip
            self.replicas[name] = Told(client, circuit=Circuit(now=now), metrics=metrics, now=now)
        registry = RegistryReplicas(HOST, home=self.replicas["home"], local=(self.replicas["west"],), failover=())
        checks = Checks(
            self, {HOST: registry}, limits={HOST: limits}, pulls=self, found=self.found, clock=now,
            chance=random.Random(0),  # noqa: S311  repeatable jitter
        )  # fmt: skip
        tasks = [asyncio.create_task(loop()) for loop in checks.loops().values()]
        try:
            yield checks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_every_replica_is_asked_soon_and_then_after_pauses_of_its_own() -> None:
    world = World({("home", "app"): Finding.OK})
    async with world.checked() as checks:
        checks.want(image("app"))
        await asyncio.sleep(600)
        assert len(world.times("home")) == 1, "whole: asked again in some hours"
        west = world.times("west")
        assert west[0] < 0.1
        gaps = [after - before for before, after in pairwise(west)]
        assert gaps[0] <= pace.FIRST_PAUSE_S + 0.1
        assert 60 < gaps[-1] <= pace.MOST_PAUSE_S + 1
        world.findings["west", "app"] = Finding.OK
        await asyncio.sleep(pace.MOST_PAUSE_S)
        assert world.heard[-1] == ("app", "west", Finding.OK)
        before = len(world.asked)
        await asyncio.sleep(pace.COMPLETE_PAUSE_S / 2)
        assert len(world.asked) == before
        await asyncio.sleep(pace.COMPLETE_PAUSE_S / 2)
        assert Counter(name for _, name, _, _ in world.asked[before:]) == {"home": 1, "west": 1}
        assert all(fresh for _, _, _, fresh in world.asked[before:]), "memory is no witness of what is still there"


async def test_an_image_of_a_registry_that_is_not_listed_is_asked_of_nobody() -> None:
    world = World()
    async with world.checked() as checks:
        unlisted = image_of("s.example/app:1", {HOST})
        assert unlisted is not None
        checks.want(unlisted)
        await asyncio.sleep(600)
        checks.drop(unlisted.name)
    assert world.asked == []


async def test_what_is_used_no_more_is_not_asked_about() -> None:
    world = World()
    async with world.checked() as checks:
        checks.want(image("app"))
        await asyncio.sleep(10)
        checks.drop(image("app").name)
        before = len(world.asked)
        await asyncio.sleep(9999)
        assert len(world.asked) == before


async def test_what_others_ask_is_not_asked_twice() -> None:
    world = World({("home", "app"): Finding.OK})
    async with world.checked() as checks:
        app = image("app")
        checks.want(app)
        for _ in range(300):  # as a held Pod has it asked
            await asyncio.sleep(1.0)
            checks.heard(app.name, [ReplicaFinding("west", Finding.ABSENT)])
        assert len(world.times("west")) == 1
        checks.heard(app.name, [ReplicaFinding("west", Finding.OK)])
        await asyncio.sleep(pace.COMPLETE_PAUSE_S / 2)
        assert len(world.times("west")) == 1


@pytest.mark.parametrize("how", ["paused", "circuit open"])
async def test_a_replica_that_is_to_be_left_alone_is(how: str) -> None:
    world = World()
    async with world.checked() as checks:
        west = world.replicas["west"]
        if how == "paused":
            west.pause_s = 40.0
        else:
            west.refusal = Unreachable("refused", replica="west", step="connect")
        for number in range(50):
            checks.want(image(f"app{number}"))
        await asyncio.sleep(120)
        assert {name for _, name, _, _ in world.asked} == {"home"}
        assert checks.hurry(f"{HOST}/app1", digest=None, tag=None) == 1
        await asyncio.sleep(5)
        assert {name for _, name, _, _ in world.asked} == {"home"}
        west.pause_s, west.refusal = 0.0, None
        await asyncio.sleep(60)
        assert len(world.times("west", "app1")) >= 1


async def test_requests_take_no_more_than_their_share_of_the_limits() -> None:
    world = World()
    async with world.checked(rate=20, burst=100) as checks:
        for number in range(1000):
            checks.want(image(f"app{number}"))
        await asyncio.sleep(100)
        sent = max(Counter(name for _, name, _, _ in world.asked).values()) * world.requests
        assert 900 <= sent <= 100 * 10 + 50 + AT_ONCE * world.requests
        assert world.busiest <= AT_ONCE * 2, "images times replicas"


async def test_a_silent_replica_keeps_no_other_answer_back() -> None:
    world = World({("home", "app"): Finding.OK}, seconds={"west": 25.0})
    async with world.checked() as checks:
        checks.want(image("app"))
        await asyncio.sleep(1)
        assert world.heard == [("app", "home", Finding.OK)]


async def test_a_start_begins_with_what_is_known() -> None:
    world = World(requests=1)
    async with world.checked() as checks:
        for number in range(200):
            known = [ReplicaAvailability(name="home", complete=True), ReplicaAvailability(name="west")]
            checks.want(image(f"app{number}"), known)
        await asyncio.sleep(pace.START_S + 1)
        assert len({path for _, name, path, _ in world.asked if name == "west"}) == 200
        home = sum(name == "home" for _, name, _, _ in world.asked)
        assert home <= 5, "spread over hours"


@pytest.mark.parametrize(
    "end,digest,tag,sooner",
    [
        pytest.param(f"@{DIGEST}", DIGEST, None, True, id="its digest"),
        pytest.param(f"@{DIGEST}", "sha256:" + "b" * 64, None, False, id="another digest"),
        pytest.param(":1", "sha256:" + "b" * 64, "1", True, id="its tag"),
        pytest.param("", None, "latest", True, id="the tag that is meant by none"),
        pytest.param(":1", None, "2", False, id="another tag"),
        pytest.param(":1", None, None, True, id="the repository"),
    ],
)
async def test_events_bring_forward_what_is_whole_only_by_name(
    end: str, digest: str | None, tag: str | None, *, sooner: bool
) -> None:
    world = World({("home", "app"): Finding.OK, ("west", "app"): Finding.OK})
    async with world.checked() as checks:
        checks.want(image("app", end))
        await asyncio.sleep(60)
        assert checks.hurry(f"{HOST}/other", digest=digest, tag=tag) == 0
        assert checks.hurry("s.example/app", digest=digest, tag=tag) == 0
        assert checks.hurry(f"{HOST}/app", digest=digest, tag=tag) == int(sooner)
        await asyncio.sleep(0.5)
        assert [len(world.times(name)) for name in ("home", "west")] == [1 + sooner] * 2


async def test_a_flood_of_events_is_one_look_a_second_at_what_is_missing() -> None:
    world = World({("home", "app"): Finding.OK})
    async with world.checked() as checks:
        checks.want(image("app"))
        await asyncio.sleep(100)
        before = len(world.times("west"))
        for _ in range(1000):
            checks.hurry(f"{HOST}/app", digest="sha256:" + "b" * 64, tag=None)
            await asyncio.sleep(0.01)
        assert 5 <= len(world.times("west")) - before <= 11
        assert len(world.times("home")) == 1, "nothing is missing there"


async def test_a_tag_that_home_cannot_name_keeps_all_waiting_alike() -> None:
    world = World(home_says=ReplicaFinding("home", Finding.ABSENT))
    async with world.checked() as checks:
        checks.want(image("app", ":1"))
        await asyncio.sleep(600)
        assert set(world.heard) == {("app", "home", Finding.ABSENT)}
        assert len(world.times("west")) < 20


@pytest.mark.parametrize("pulls_s, begins_s", [(20.0, 20.0), (3600.0, 60.0)], ids=["pulls first", "but not for ever"])
async def test_pulls_that_wait_go_first(pulls_s: float, begins_s: float) -> None:
    world = World({}, pulls_until=pulls_s)
    async with world.checked() as checks:
        checks.want(image("app"))
        await asyncio.sleep(120)
    assert begins_s <= world.times("west")[0] <= begins_s + 1
    assert world.paid[0] == (HOST, LOOK)


async def test_a_look_where_nobody_pulls_from_gives_way_to_nobody() -> None:
    world = World({("home", "app"): Finding.ABSENT, ("west", "app"): Finding.OK}, pulls_until=3600.0)
    known = [ReplicaAvailability(name="west", complete=True, finding="ok")]
    async with world.checked() as checks:
        checks.want(image("app"), known)
        await asyncio.sleep(30)
        assert len(world.times("home")) > 1
    assert world.paid == []
