"""Which address a node finds each registry at: told when it changes, and not too often."""

import asyncio
import socket

import pytest

from agent.addresses import EVERY_S, MOST_ADDRESSES, QUIET_S, resolved, watch
from tidegate.kube.shapes import RegistryAddresses

pytestmark = pytest.mark.looptime

R = "registry.test"


class FakeResolver:
    def __init__(self, **answers: list[str]) -> None:
        self.answers: dict[str, list[str] | Exception | None] = {name: list(found) for name, found in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        answer = self.answers.get(host, [])
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
            return []
        return answer


async def told(resolver: FakeResolver, *hosts: str, seconds: float, then: object = None) -> list[dict[str, list[str]]]:
    heard: list[dict[str, list[str]]] = []

    def tell(found: tuple[RegistryAddresses, ...]) -> None:
        heard.append({each.registry: each.addresses for each in found})

    watching = asyncio.create_task(watch(lambda: hosts, resolve=resolver, tell=tell))
    if then is not None:
        await asyncio.sleep(1)
        resolver.answers[R] = then  # type: ignore[assignment]
    await asyncio.sleep(seconds)
    watching.cancel()
    await asyncio.wait([watching])
    return heard


async def test_an_answer_is_told_once_and_sorted() -> None:
    resolver = FakeResolver(**{R: ["10.0.0.2", "10.0.0.1"]})
    assert await told(resolver, R, seconds=3600) == [{R: ["10.0.0.1", "10.0.0.2"]}]
    assert len(resolver.asked) == 3600 // EVERY_S


async def test_another_answer_is_told_but_not_at_once() -> None:
    resolver = FakeResolver(**{R: ["10.0.0.1"]})
    heard = await told(resolver, R, seconds=QUIET_S - 2, then=["10.0.0.9"])
    assert heard == [{R: ["10.0.0.1"]}]
    resolver = FakeResolver(**{R: ["10.0.0.1"]})
    heard = await told(resolver, R, seconds=QUIET_S + EVERY_S, then=["10.0.0.9"])
    assert heard == [{R: ["10.0.0.1"]}, {R: ["10.0.0.9"]}]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(socket.gaierror("no such name"), id="no-such-name"),
        pytest.param(UnicodeError("label too long"), id="no-name-at-all"),
        pytest.param(None, id="silence"),
    ],
)
async def test_a_name_that_does_not_resolve_has_no_address(answer: Exception | None) -> None:
    resolver = FakeResolver()
    resolver.answers[R] = answer
    assert await told(resolver, R, seconds=30) == [{R: []}]


async def test_a_port_is_no_part_of_a_name_and_long_answers_are_cut() -> None:
    resolver = FakeResolver(**{R: [f"10.0.0.{number}" for number in range(100, 200)]})
    (heard,) = await told(resolver, f"{R}:5000", "[::1]:5000", seconds=1)
    assert resolver.asked == ["::1", R]
    assert len(heard[f"{R}:5000"]) == MOST_ADDRESSES


@pytest.mark.looptime(False)
async def test_the_machines_own_resolver_answers() -> None:
    assert set(await resolved("localhost")) & {"127.0.0.1", "::1"}
