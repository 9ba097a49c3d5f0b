"""A name that moves takes the client along, busy connections and all."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from tidegate.registry.client import ReplicaClient
from tidegate.registry.dns import DnsError, Found, Names
from tidegate.registry.errors import RegistryError, Unreachable
from tidegate.testing.images import build_image
from tidegate.testing.registry import Redirect, RegistryDouble
from tidegate.testing.registry.faults import Cut

IMAGE = build_image()
PATH = "team/app"
GONE = "no such name"


@dataclass
class Dns:
    """Names as a test sees them, with a clock that only the test moves."""

    leads: dict[str, Found] = field(default_factory=dict)
    now: float = 0.0
    asked: int = 0

    async def __call__(self, host: str) -> Found:
        self.asked += 1
        if host not in self.leads:
            raise DnsError(GONE, proven=True)
        return self.leads[host]


@dataclass
class World:
    dns: Dns
    old: RegistryDouble
    new: RegistryDouble
    west: ReplicaClient

    async def ask(self) -> str:
        """Which of the two was asked, or how it failed."""
        before = self.old.count(), self.new.count()
        try:
            await self.west.manifest(PATH, IMAGE.digest)
        except RegistryError as exc:
            return exc.detail
        return "old" if self.old.count() > before[0] else "new" if self.new.count() > before[1] else "neither"


def connections(double: RegistryDouble) -> int:
    return len({request.peer for request in double.requests})


@pytest.fixture
async def world(client: Callable[..., ReplicaClient]) -> AsyncIterator[World]:
    dns = Dns()
    names = Names(dns, now=lambda: dns.now)
    async with RegistryDouble() as old:
        port = int(old.netloc.rpartition(":")[2])
        async with RegistryDouble(host="127.0.0.2", port=port) as new:
            for double in (old, new):
                double.put(PATH, IMAGE)
            dns.leads["registry.test"] = Found(("127.0.0.1",), 5)
            replica = {"plainHTTP": True}
            async with client(f"http://registry.test:{port}", replica=replica, names=names) as west:
                yield World(dns, old, new, west)


async def test_a_name_that_moves_is_followed_when_its_ttl_has_passed(world: World) -> None:
    assert await world.ask() == "old"
    world.dns.leads["registry.test"] = Found(("127.0.0.2",), 5)
    for second in range(1, 10):
        world.dns.now = second
        assert await world.ask() == ("old" if second < 5 else "new")
    assert world.dns.asked == 2


async def test_a_busy_connection_is_kept_while_dns_leads_there_and_closed_when_it_does_not(world: World) -> None:
    for second in range(4):
        world.dns.now = 10 * second
        assert await world.ask() == "old"
    assert connections(world.old) == 1
    world.dns.leads["registry.test"] = Found(("127.0.0.2",), 5)
    world.dns.now = 100
    assert await world.ask() == "new"
    assert (connections(world.old), connections(world.new)) == (1, 1)


async def test_an_address_more_is_no_reason_to_connect_anew(world: World) -> None:
    await world.ask()
    world.dns.leads["registry.test"] = Found(("127.0.0.1", "127.0.0.2"), 5)
    world.dns.now = 10
    assert await world.ask() == "old"
    assert connections(world.old) == 1


async def test_a_failed_connection_asks_dns_at_once(world: World) -> None:
    world.dns.leads["registry.test"] = Found(("127.0.0.3",), 3600)
    assert "registry.test: " in await world.ask()
    world.dns.leads["registry.test"] = Found(("127.0.0.2",), 3600)
    world.dns.now = 1.0
    assert await world.ask() == "new"


async def test_a_cut_connection_asks_dns_at_once(world: World) -> None:
    world.dns.leads["registry.test"] = Found(("127.0.0.1",), 3600)
    world.old.fault(cuts=(Cut(),))
    await world.ask()
    world.dns.leads["registry.test"] = Found(("127.0.0.2",), 3600)
    world.dns.now = 1.0
    assert await world.ask() == "new"


async def test_one_dead_address_of_two_costs_nothing(world: World) -> None:
    world.dns.leads["registry.test"] = Found(("127.0.0.3", "127.0.0.2"), 5)
    assert await world.ask() == "new"


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "ff02::1", "fd00:ec2::254"])
async def test_an_endpoint_that_dns_leads_astray_is_not_asked(world: World, address: str) -> None:
    world.dns.leads["registry.test"] = Found((address,), 5)
    with pytest.raises(Unreachable, match="where no registry is") as raised:
        await world.west.manifest(PATH, IMAGE.digest)
    assert raised.value.step == "dns"


async def test_addresses_astray_among_good_ones_are_left_out(world: World) -> None:
    world.dns.leads["registry.test"] = Found(("169.254.169.254", "127.0.0.2"), 5)
    assert await world.ask() == "new"


async def test_a_redirect_to_a_name_that_leads_here_is_not_followed(world: World) -> None:
    port = world.old.netloc.rpartition(":")[2]
    world.old.fault(redirects=(Redirect(to=f"http://storage.test:{port}"),))
    world.dns.leads["storage.test"] = Found(("127.0.0.2",), 5)
    with pytest.raises(Unreachable, match=r"storage\.test: leads to 127\.0\.0\.2"):
        await world.west.has_blob(PATH, IMAGE.layers[0])
    assert world.new.count() == 0


async def test_a_name_that_is_none(world: World) -> None:
    del world.dns.leads["registry.test"]
    with pytest.raises(Unreachable, match=r"registry\.test: no such name") as raised:
        await world.west.manifest(PATH, IMAGE.digest)
    assert raised.value.step == "dns"
    assert raised.value.finding.value == "unreachable"
