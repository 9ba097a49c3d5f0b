"""How long an address is believed; time is virtual."""

import asyncio

import pytest

from tidegate.registry.dns import DnsError, Found, Names
from tidegate.registry.dns.names import NAMES

pytestmark = pytest.mark.looptime

GONE = DnsError("no such name", proven=True)
DARK = DnsError("no nameserver answered in time")


class Scripted:
    def __init__(self) -> None:
        self.says: Found | DnsError = Found(("192.0.2.1",), 60)
        self.takes_s = 0.0
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Found:
        self.asked.append(host)
        says = self.says
        await asyncio.sleep(self.takes_s)
        if isinstance(says, DnsError):
            raise DnsError(says.words, proven=says.proven)
        return says


class World:
    def __init__(self) -> None:
        self.dns = Scripted()
        self.names = Names(self.dns, now=asyncio.get_running_loop().time)

    async def followed_s(self) -> float:
        """Seconds from a move until it is seen, looking every tenth of a second."""
        self.dns.says = Found(("192.0.2.2",), 60)
        began = asyncio.get_running_loop().time()
        for _ in range(1000):
            if await self.names.addresses("r.test") == ("192.0.2.2",):
                break
            await asyncio.sleep(0.1)
        return asyncio.get_running_loop().time() - began


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize(
    "ttl_s, within_s",
    [(0, 1), (1, 1), (5, 5), (29, 29), (60, 30), (86_400, 30), (2**31 - 1, 30)],
)
async def test_a_move_is_followed_within_the_ttl_and_30_s(world: World, ttl_s: int, within_s: float) -> None:
    world.dns.says = Found(("192.0.2.1",), ttl_s)
    await world.names.addresses("r.test")
    assert await world.followed_s() == pytest.approx(within_s, abs=0.11)


async def test_a_failed_connection_asks_again_but_not_more_than_once_a_second(world: World) -> None:
    await world.names.addresses("r.test")
    await asyncio.sleep(10)
    world.names.doubt("r.test")
    assert await world.followed_s() == 0
    for _ in range(100):
        world.names.doubt("r.test")
        await world.names.addresses("r.test")
        await asyncio.sleep(0.1)
    assert 8 <= len(world.dns.asked) - 2 <= 10


async def test_a_name_that_nobody_asked_for_may_be_doubted(world: World) -> None:
    world.names.doubt("r.test")
    assert world.dns.asked == []


async def test_that_a_name_leads_nowhere_is_believed_for_a_second(world: World) -> None:
    world.dns.says = GONE
    for _ in range(10):
        with pytest.raises(DnsError, match="no such name"):
            await world.names.addresses("r.test")
    assert len(world.dns.asked) == 1
    world.dns.says = Found(("192.0.2.2",), 60)
    await asyncio.sleep(1)
    assert await world.names.addresses("r.test") == ("192.0.2.2",)


async def test_a_name_that_is_gone_is_gone(world: World) -> None:
    await world.names.addresses("r.test")
    world.dns.says = GONE
    world.names.doubt("r.test")
    await asyncio.sleep(1)
    with pytest.raises(DnsError):
        await world.names.addresses("r.test")


async def test_dark_nameservers_take_nothing_away_until_30_s_have_passed(world: World) -> None:
    world.dns.says = Found(("192.0.2.1",), 5)
    await world.names.addresses("r.test")
    world.dns.says = DARK
    await asyncio.sleep(29)
    assert await world.names.addresses("r.test") == ("192.0.2.1",)
    await asyncio.sleep(1.1)
    with pytest.raises(DnsError, match="in time"):
        await world.names.addresses("r.test")


async def test_silent_nameservers_cost_a_quarter_of_a_second_while_an_old_answer_is_there(world: World) -> None:
    loop = asyncio.get_running_loop()
    await world.names.addresses("r.test")
    world.dns.takes_s, world.dns.says = 3.0, DARK
    await asyncio.sleep(5)
    world.names.doubt("r.test")
    began = loop.time()
    assert await world.names.addresses("r.test") == ("192.0.2.1",)
    assert loop.time() - began == pytest.approx(0.25)
    await world.names.aclose()


async def test_many_callers_are_one_question_and_none_hurts_another(world: World) -> None:
    world.dns.takes_s = 1.0
    asking = [asyncio.create_task(world.names.addresses("r.test")) for _ in range(100)]
    await asyncio.sleep(0.5)
    asking[0].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [("192.0.2.1",)] * 99
    assert world.dns.asked == ["r.test"]


async def test_names_are_remembered_in_bounded_number(world: World) -> None:
    for number in range(3 * NAMES):
        await world.names.addresses(f"r{number}.test")
    await world.names.addresses(f"r{3 * NAMES - 1}.test")
    assert world.names.lookups == 3 * NAMES
    await world.names.addresses("r0.test")
    assert world.names.lookups == 3 * NAMES + 1
