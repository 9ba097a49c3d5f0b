import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry.client import ManifestBytes
from tidegate.registry.errors import (
    Mismatch,
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from tidegate.replicas import Replica
from tidegate.replicas.circuit import Circuit

pytestmark = pytest.mark.looptime

DIGEST = Digest("sha256:" + "a" * 64)
UNREACHABLE = Unreachable("no route to it", replica="west", step="connect")


class Client:
    registry = "r.example"
    name = "west"

    def __init__(self) -> None:
        self.failure: RegistryError | None = None
        self.stalled = False
        self.pause_s = 0.0
        self.sends = True
        self.asked: list[tuple[str, str]] = []

    def pause_left_s(self) -> float:
        return self.pause_s

    async def manifest(self, repository: str, reference: str, *, on_request: Any = None) -> ManifestBytes:
        await self._answer((repository, reference), on_request)
        return ManifestBytes(b"{}", "", DIGEST)

    async def has_blob(self, repository: str, digest: Digest, *, on_request: Any = None) -> bool:
        await self._answer((repository, digest), on_request)
        return True

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: Any = None) -> bytes:
        await self._answer((repository, digest), on_request)
        return b"x" * most

    async def ping(self, *, on_request: Any = None) -> None:
        await self._answer(("", ""), on_request)

    async def _answer(self, what: tuple[str, str], on_request: Any) -> None:
        self.asked.append(what)
        if on_request is not None and self.sends:
            on_request()
        await asyncio.sleep(0.1)
        if self.stalled:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure


class Fixture:
    def __init__(self) -> None:
        now = asyncio.get_running_loop().time
        self.client = Client()
        self.metrics = Metrics(CollectorRegistry(), program="test")
        self.replica = Replica(self.client, circuit=Circuit(now=now), metrics=self.metrics, now=now)

    async def fail(self, failure: RegistryError = UNREACHABLE, *, times: int = 3) -> None:
        self.client.failure = failure
        for _ in range(times):
            with pytest.raises(type(failure)):
                await self.replica.has_blob("app", DIGEST)
        self.client.failure = None

    @property
    def up(self) -> float | None:
        labels = {"registry": "r.example", "replica": "west"}
        return self.metrics.registry.get_sample_value("tidegate_replica_up", labels)


@pytest.fixture
async def west() -> Fixture:
    return Fixture()


async def test_it_passes_on_what_its_client_says_and_who_counts(west: Fixture) -> None:
    sent: list[None] = []
    manifest = await west.replica.manifest("app", DIGEST, on_request=lambda: sent.append(None))
    assert (manifest.digest, west.replica.registry, west.replica.name) == (DIGEST, "r.example", "west")
    assert await west.replica.has_blob("app", DIGEST, on_request=lambda: sent.append(None))
    assert await west.replica.blob("app", DIGEST, most=3, on_request=lambda: sent.append(None)) == b"xxx"
    assert len(sent) == 3
    assert west.client.asked == [("app", DIGEST)] * 3
    west.client.pause_s = 5.0
    assert west.replica.pause_left_s() == 5.0


async def test_after_three_failures_calls_fail_at_once_with_the_last_words(west: Fixture) -> None:
    assert west.up == 1
    await west.fail()
    began = asyncio.get_running_loop().time()
    for call in (
        west.replica.manifest("app", DIGEST),
        west.replica.has_blob("app", DIGEST),
        west.replica.blob("app", DIGEST, most=1),
    ):
        with pytest.raises(Unreachable, match="no route to it") as raised:
            await call
        assert raised.value.step == "connect"
    assert asyncio.get_running_loop().time() == began
    assert (len(west.client.asked), west.up) == (3, 0)
    refusal = west.replica.closed_to_calls()
    assert refusal is not None
    assert "no route to it" in refusal.detail


async def test_the_first_answer_brings_it_back(west: Fixture) -> None:
    await west.fail()
    await asyncio.sleep(5)
    assert west.replica.closed_to_calls() is None
    assert await west.replica.has_blob("app", DIGEST)
    assert west.up == 1


async def test_while_one_call_tries_the_others_are_refused(west: Fixture) -> None:
    await west.fail()
    await asyncio.sleep(5)
    calls = [west.replica.has_blob("app", DIGEST) for _ in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [bool] + [Unreachable] * 9
    assert len(west.client.asked) == 4


async def test_a_trial_that_is_cancelled_leaves_the_next_one_free(west: Fixture) -> None:
    await west.fail()
    await asyncio.sleep(5)
    west.client.stalled = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await west.replica.has_blob("app", DIGEST)
    west.client.stalled = False
    assert await west.replica.has_blob("app", DIGEST)


@pytest.mark.parametrize(
    "answer",
    [
        NotFound("no", replica="west"),
        Unauthorized("no", replica="west"),
        Throttled("no", replica="west"),
        Unsupported("no", replica="west"),
        Mismatch("no", replica="west"),
    ],
    ids=lambda exc: type(exc).__name__,
)
async def test_whatever_it_answers_it_is_up(west: Fixture, answer: RegistryError) -> None:
    await west.fail(answer, times=10)
    assert (west.up, len(west.client.asked)) == (1, 10)
    await west.fail(times=2)
    await west.fail(answer, times=1)
    await west.fail(times=2)
    assert west.replica.closed_to_calls() is None


@pytest.mark.parametrize(
    "words",
    [
        Throttled("paused", replica="west", retry_after_s=9.0),
        Throttled("our budget is used up", replica="west"),
        Unauthorized("refused a moment ago", replica="west"),
        Unsupported("no reference that can be sent", replica="west"),
        Unreachable("no place in our own line", replica="west", step="timeout"),
    ],
    ids=lambda exc: exc.detail,
)
async def test_what_no_request_was_sent_for_is_no_word_of_the_replica(west: Fixture, words: RegistryError) -> None:
    west.client.sends = False
    await west.fail(words, times=10)
    assert west.replica.closed_to_calls() is None
    west.client.sends = True
    await west.fail()
    heard, word = west.replica.last_answer, west.replica.last_word
    await asyncio.sleep(5)
    west.client.sends = False
    await west.fail(words, times=1)
    assert (west.up, west.replica.last_answer, west.replica.last_word) == (0, heard, word)
    west.client.sends = True
    assert await west.replica.has_blob("app", DIGEST)
    assert west.up == 1


async def test_a_probe_closes_the_circuit_and_the_next_failure_opens_it_again(west: Fixture) -> None:
    await west.fail()
    await asyncio.sleep(5)
    await west.replica.probe()
    assert (west.up, west.replica.closed_to_calls()) == (1, None)
    await west.fail(times=1)
    assert west.up == 0
    await asyncio.sleep(5)
    await west.replica.probe()
    assert await west.replica.has_blob("app", DIGEST)
    await west.fail(times=2)
    assert west.up == 1


async def test_a_probe_that_is_answered_does_not_hide_failures_of_real_calls(west: Fixture) -> None:
    for _ in range(3):
        await west.fail(times=1)
        if west.up:
            await west.replica.probe()
    assert west.up == 0


async def test_when_it_was_last_heard_from(west: Fixture) -> None:
    assert west.replica.last_answer < 0
    await west.fail(times=1)
    assert west.replica.last_answer < 0
    await west.fail(NotFound("no", replica="west"), times=1)
    assert west.replica.last_answer == asyncio.get_running_loop().time()
