"""When a replica is asked whether it answers; time is virtual."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry.client import ManifestBytes
from tidegate.registry.errors import RegistryError, Throttled, Unauthorized, Unreachable
from tidegate.replicas import RegistryReplicas, Replica, probed
from tidegate.replicas.circuit import Circuit

pytestmark = pytest.mark.looptime

DIGEST = Digest("sha256:" + "a" * 64)
DARK = Unreachable("no route to it", replica="west", step="connect")


class Client:
    registry = "r.example"
    name = "west"

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.pause_s = 0.0
        self.pings: list[float] = []
        self.calls: list[float] = []

    def pause_left_s(self) -> float:
        return max(0.0, self.pause_s - asyncio.get_running_loop().time())

    async def ping(self, *, on_request: Any = None) -> None:
        self.pings.append(asyncio.get_running_loop().time())
        await self._answer(on_request)

    async def manifest(self, repository: str, reference: str, *, on_request: Any = None) -> ManifestBytes:
        raise AssertionError(repository, reference, on_request)

    async def has_blob(self, repository: str, digest: Digest, *, on_request: Any = None) -> bool:
        del repository, digest
        self.calls.append(asyncio.get_running_loop().time())
        await self._answer(on_request)
        return True

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: Any = None) -> bytes:
        raise AssertionError(repository, digest, most, on_request)

    async def _answer(self, on_request: Any) -> None:
        if on_request is not None:
            on_request()
        await asyncio.sleep(0.1)
        if self.failure is not None:
            raise self.failure


class World:
    def __init__(self) -> None:
        now = asyncio.get_running_loop().time
        self.client = Client()
        self.metrics = Metrics(CollectorRegistry(), program="test")
        self.replica = Replica(self.client, circuit=Circuit(now=now), metrics=self.metrics, now=now)

    @asynccontextmanager
    async def probed(self) -> AsyncIterator[None]:
        registry = RegistryReplicas("r.example", home=self.replica, local=(self.replica,), failover=())
        registries: Mapping[str, RegistryReplicas] = {"r.example": registry}
        async with probed(registries, chance=random.Random(7)):  # noqa: S311 - the same each time
            yield

    @property
    def up(self) -> float | None:
        labels = {"registry": "r.example", "replica": "west"}
        return self.metrics.registry.get_sample_value("tidegate_replica_up", labels)


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_replica_that_nobody_uses_is_asked_two_or_three_times_a_minute(world: World) -> None:
    async with world.probed():
        await asyncio.sleep(600)
    assert world.client.pings[0] <= 2
    assert 20 <= len(world.client.pings) <= 31


async def test_a_busy_replica_is_not_probed(world: World) -> None:
    await world.replica.has_blob("app", DIGEST)
    async with world.probed():
        for _ in range(60):
            await asyncio.sleep(10)
            await world.replica.has_blob("app", DIGEST)
    assert world.client.pings == []


async def test_failures_of_real_calls_are_looked_after_too(world: World) -> None:
    await world.replica.has_blob("app", DIGEST)
    async with world.probed():
        await asyncio.sleep(3)
        world.client.failure = DARK
        with pytest.raises(Unreachable):
            await world.replica.has_blob("app", DIGEST)
        await asyncio.sleep(30)
        assert world.up == 0


@pytest.mark.parametrize("answer", [None, Unauthorized("401", replica="west"), Throttled("429", replica="west")])
async def test_whatever_is_answered_it_is_up(world: World, answer: RegistryError | None) -> None:
    world.client.failure = answer
    async with world.probed():
        await asyncio.sleep(120)
    assert world.up == 1
    assert len(world.client.pings) <= 7


async def test_a_replica_that_goes_dark_unused_is_known_to_be_down_before_anybody_asks(world: World) -> None:
    async with world.probed():
        await asyncio.sleep(60)
        world.client.failure = DARK
        await asyncio.sleep(40)
        assert world.up == 0
        assert world.replica.closed_to_calls() is not None or world.client.pings[-1] > 90
        in_trouble = len([at for at in world.client.pings if at > 60])
        await asyncio.sleep(600)
        assert (len(world.client.pings) - in_trouble) / 10 <= 24  # a minute


async def test_an_open_circuit_closes_without_a_victim(world: World) -> None:
    world.client.failure = DARK
    async with world.probed():
        await asyncio.sleep(60)
        assert world.up == 0
        world.client.failure = None
        await asyncio.sleep(6.2)
        assert world.up == 1
    assert world.client.calls == []


async def test_a_pause_is_waited_out(world: World) -> None:
    world.client.pause_s = 300
    async with world.probed():
        await asyncio.sleep(299)
        assert world.client.pings == []
        await asyncio.sleep(2)
        assert len(world.client.pings) == 1


async def test_it_ends_with_its_context(world: World) -> None:
    async with world.probed():
        await asyncio.sleep(1)
    asked = len(world.client.pings)
    await asyncio.sleep(600)
    assert len(world.client.pings) == asked


async def test_a_trace_of_the_circuit(world: World) -> None:
    loop = asyncio.get_running_loop()

    def stamp(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"at": round(loop.time(), 1), **event}

    with structlog.testing.capture_logs(processors=[stamp]) as lines:
        async with world.probed():
            await asyncio.sleep(30)
            world.client.failure = DARK
            for _ in range(4):
                with pytest.raises(Unreachable):
                    await world.replica.has_blob("app", DIGEST)
            await asyncio.sleep(20)
            world.client.failure = None
            await asyncio.sleep(6)
    trace = [(line["at"], line["event"]) for line in lines]
    print("\n" + "\n".join(f"{at:6.1f} s  {event}" for at, event in trace))
    events = [event for _, event in trace]
    assert events[0] == "replica.down"
    assert events[-1] == "replica.up"
    assert set(events[1:-1]) == {"replica.trial"}
    times = [at for at, _ in trace]
    assert times[0] == pytest.approx(30.3, abs=0.1)
    assert all(2.4 <= later - sooner <= 6.2 for sooner, later in pairwise(times[:-1]))


async def test_a_fault_of_ours_ends_no_probe(world: World) -> None:
    async with world.probed():
        world.client.failure = ZeroDivisionError("ours")
        await asyncio.sleep(90)
        asked = len(world.client.pings)
        world.client.failure = None
        await asyncio.sleep(90)
    assert asked >= 1
    assert len(world.client.pings) > asked
