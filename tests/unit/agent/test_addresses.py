"""Which address a node finds each registry at: told when it changes, and not too often."""

import asyncio
import socket
from pathlib import Path

import pytest

from agent.addresses import EVERY_S, MOST_ADDRESSES, QUIET_S, nameservers, resolver, watch
from tidegate.kube.own import RegistryAddresses
from tidegate.testing.dns import NameServer, Says

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


async def told(fake: FakeResolver, *hosts: str, seconds: float, then: object = None) -> list[dict[str, list[str]]]:
    heard: list[dict[str, list[str]]] = []

    def tell(found: tuple[RegistryAddresses, ...]) -> None:
        heard.append({each.registry: each.addresses for each in found})

    watching = asyncio.create_task(watch(lambda: hosts, resolve=fake, tell=tell))
    if then is not None:
        await asyncio.sleep(1)
        fake.answers[R] = then  # type: ignore[assignment]
    await asyncio.sleep(seconds)
    watching.cancel()
    await asyncio.wait([watching])
    return heard


async def test_an_answer_is_told_once_and_sorted() -> None:
    fake = FakeResolver(**{R: ["10.0.0.2", "10.0.0.1"]})
    assert await told(fake, R, seconds=3600) == [{R: ["10.0.0.1", "10.0.0.2"]}]
    assert len(fake.asked) == 3600 // EVERY_S


async def test_another_answer_is_told_but_not_at_once() -> None:
    fake = FakeResolver(**{R: ["10.0.0.1"]})
    heard = await told(fake, R, seconds=QUIET_S - 2, then=["10.0.0.9"])
    assert heard == [{R: ["10.0.0.1"]}]
    fake = FakeResolver(**{R: ["10.0.0.1"]})
    heard = await told(fake, R, seconds=QUIET_S + EVERY_S, then=["10.0.0.9"])
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
    fake = FakeResolver()
    fake.answers[R] = answer
    assert await told(fake, R, seconds=30) == [{R: []}]


async def test_a_port_is_no_part_of_a_name_and_long_answers_are_cut() -> None:
    fake = FakeResolver(**{R: [f"10.0.0.{number}" for number in range(100, 200)]})
    (heard,) = await told(fake, f"{R}:5000", "[::1]:5000", seconds=1)
    assert fake.asked == ["::1", R]
    assert len(heard[f"{R}:5000"]) == MOST_ADDRESSES


@pytest.mark.looptime(False)
async def test_the_nameservers_of_the_nodes_own_file_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    async with NameServer() as server:
        server.says[R] = Says(a=("10.9.8.7",))
        file.write_text(f"# of the node\nsearch example.com\nnameserver {server.address}\n")
        assert set(await resolver(file)(R)) == {"10.9.8.7"}


def test_a_resolv_conf_names_three_nameservers_at_most() -> None:
    text = "nameserver\n; nameserver 1.1.1.1\nnameserver 10.0.0.1 \n options ndots:5\n" + "nameserver 10.0.0.2\n" * 5
    assert nameservers(text) == ["10.0.0.1", "10.0.0.2", "10.0.0.2"]
    assert nameservers("") == []
