"""What nameservers may say: nothing hangs, and nobody is led where no registry is."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from tidegate.registry import hosts
from tidegate.registry.dns import DnsError, Lookup
from tidegate.testing.dns import AAAA, NXDOMAIN, REFUSED, SERVFAIL, A, NameServer, Says

NAME = "registry.test"
GOOD = "192.0.2.7"
BOUND_S = 2.0


@pytest.fixture
async def dns() -> AsyncIterator[NameServer]:
    async with NameServer() as server:
        yield server


async def ask(dns: NameServer, says: Says, name: str = NAME) -> tuple[tuple[str, ...] | str, float]:
    """The addresses or the words of the failure, and the TTL."""
    dns.says[NAME] = says
    lookup = Lookup(nameservers=[dns.address], domains=["search.test"], try_s=0.1, tries=1, total_s=1.0)
    async with asyncio.timeout(BOUND_S):
        try:
            found = await lookup(name)
        except DnsError as exc:
            return exc.words, 0
    return found.addresses, found.ttl_s


def v4(count: int) -> tuple[str, ...]:
    return tuple(f"10.1.{n // 250}.{n % 250 + 1}" for n in range(count))


def v6(count: int) -> tuple[str, ...]:
    return tuple(f"2001:db8::{n + 1:x}" for n in range(count))


def chain(length: int) -> tuple[str, ...]:
    return tuple(f"alias-{n}.test" for n in range(length))


def flags(change: int, mask: int = 0xFFFF) -> object:
    def garble(packet: bytes) -> bytes:
        (old,) = struct.unpack_from("!H", packet, 2)
        return packet[:2] + struct.pack("!H", (old & mask) | change) + packet[4:]

    return garble


def instead(packet: bytes) -> object:
    return lambda _: packet


def counts(*of: int) -> object:
    return lambda packet: packet[:4] + struct.pack("!4H", *of) + packet[12:]


@pytest.mark.parametrize(
    "says, addresses, ttl_s",
    [
        pytest.param(Says(a=(GOOD,)), 1, 60, id="one address"),
        pytest.param(Says(aaaa=v6(1)), 1, 60, id="only IPv6"),
        pytest.param(Says(a=v4(1), aaaa=v6(1)), 2, 60, id="both families"),
        pytest.param(Says(a=v4(1), silent_about=(AAAA,)), 1, 60, id="no word about IPv6"),
        pytest.param(Says(aaaa=v6(1), silent_about=(A,)), 1, 60, id="no word about IPv4"),
        pytest.param(Says(a=(GOOD,) * 100), 1, 60, id="one address a hundred times"),
        pytest.param(Says(a=v4(9)), 8, 60, id="nine addresses"),
        pytest.param(Says(a=v4(400)), 8, 60, id="four hundred addresses"),
        pytest.param(Says(aaaa=v6(200)), 8, 60, id="two hundred of IPv6"),
        pytest.param(Says(a=v4(300), aaaa=v6(300)), 16, 60, id="hundreds of both"),
        pytest.param(Says(a=(GOOD,), ttl=0), 1, 0, id="TTL 0"),
        pytest.param(Says(a=(GOOD,), ttl=1), 1, 1, id="TTL 1"),
        pytest.param(Says(a=(GOOD,), ttl=2**31 - 1), 1, 2**31 - 1, id="TTL 68 years"),
        pytest.param(Says(a=(GOOD,), ttl=2**31), 1, 2**31 - 1, id="TTL with its highest bit"),
        pytest.param(Says(a=(GOOD,), ttl=2**32 - 1), 1, 2**31 - 1, id="TTL of all bits"),
        pytest.param(Says(a=(GOOD,), aliases=chain(1), alias_ttl=7), 1, 7, id="an alias that lives shorter"),
        pytest.param(Says(a=(GOOD,), aliases=chain(3), alias_ttl=300), 1, 60, id="aliases that live longer"),
        pytest.param(Says(a=(GOOD,), aliases=chain(12)), 1, 60, id="twelve aliases"),
        pytest.param(Says(a=(GOOD,), aliases=("a.test", "b.test", "a.test", "b.test")), 1, 60, id="aliases in a ring"),
        pytest.param(Says(a=(GOOD,), aliases=(NAME,)), 1, 60, id="an alias of itself"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p + b"\0" * 300), 1, 60, id="bytes after the end"),
        pytest.param(Says(a=(GOOD,), garble=flags(0, 0x7FFF)), 1, 60, id="an answer that is flagged as a question"),
    ],
)  # fmt: skip
async def test_answers_that_lead_somewhere(dns: NameServer, says: Says, addresses: int, ttl_s: int) -> None:
    found, ttl = await ask(dns, says)
    assert len(found) == addresses
    assert ttl == ttl_s


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(Says(rcode=NXDOMAIN), id="no such name"),
        pytest.param(Says(rcode=SERVFAIL), id="servfail"),
        pytest.param(Says(rcode=REFUSED), id="refused"),
        pytest.param(Says(rcode=1), id="formerr"),
        pytest.param(Says(rcode=4), id="notimp"),
        pytest.param(Says(rcode=15), id="a code that nobody knows"),
        pytest.param(Says(), id="no address"),
        pytest.param(Says(aliases=chain(1)), id="an alias without an address"),
        pytest.param(Says(aliases=chain(60)), id="sixty aliases and no address"),
        pytest.param(Says(aliases=(NAME,)), id="an alias of itself and no address"),
        pytest.param(Says(silent=True), id="silence"),
        pytest.param(Says(silent_about=(A, AAAA)), id="silence about both"),
        pytest.param(Says(a=(GOOD,), truncated=True), id="truncated, and no TCP"),
        pytest.param(Says(truncated=True), id="truncated, empty, and no TCP"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: bytes([p[0] ^ 1]) + p[1:]), id="another question's number"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:20]), id="cut in the question"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:-2]), id="cut in the address"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:12]), id="a header only"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:11]), id="less than a header"),
        pytest.param(Says(a=(GOOD,), garble=instead(b"")), id="an empty packet"),
        pytest.param(Says(a=(GOOD,), garble=instead(b"\xff" * 512)), id="all ones"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:2] + b"\0" * 60), id="all zeros"),
        pytest.param(Says(a=(GOOD,), garble=instead(b"HTTP/1.1 200 OK\r\n\r\n")), id="HTTP"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p.replace(b"registry", b"registrx")), id="another name's answer"),
        pytest.param(Says(a=(GOOD,), garble=counts(0, 1, 0, 0)), id="no question in it"),
        pytest.param(Says(a=(GOOD,), garble=counts(1, 65535, 0, 0)), id="counts that promise too much"),
        pytest.param(Says(a=(GOOD,), garble=counts(65535, 1, 0, 0)), id="65535 questions"),
        pytest.param(Says(a=(GOOD,), garble=counts(1, 0, 0, 0)), id="an address that is not counted"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:12] + b"\xc0\x0c" + p[14:]), id="a pointer to itself"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:-14] + b"\xff" * 14), id="a record of nonsense"),
        pytest.param(Says(a=(GOOD,), garble=lambda p: p[:-6] + b"\0\x02ab"), id="an address of two bytes"),
    ],
)  # fmt: skip
async def test_answers_that_lead_nowhere(dns: NameServer, says: Says) -> None:
    found, _ = await ask(dns, says)
    assert isinstance(found, str), f"led to {found}"
    assert found


@pytest.mark.parametrize(
    "name",
    ["..", "a..b", ".test", "a" * 64 + ".test", "a." * 127 + "test", "x.onion", "-", "_", "*.test", "a b.test",
     "ü.test", "a\\000b.test", "xn--.test"],
)  # fmt: skip
async def test_names_that_are_none(dns: NameServer, name: str) -> None:
    found, _ = await ask(dns, Says(a=(GOOD,)), name)
    assert isinstance(found, str)


async def test_nobody_listens() -> None:
    lookup = Lookup(nameservers=["127.0.0.1:9"], try_s=0.1, tries=1, total_s=1.0)
    with pytest.raises(DnsError) as raised:
        async with asyncio.timeout(BOUND_S):
            await lookup(NAME)
    assert not raised.value.proven


async def test_a_search_domain_is_asked_as_the_system_would(dns: NameServer) -> None:
    dns.says["registry.search.test"] = Says(a=(GOOD,))
    assert (await ask(dns, Says(), "registry"))[0] == (GOOD,)
    assert (await ask(dns, Says(), "registry.search.test."))[0] == (GOOD,)
    assert isinstance((await ask(dns, Says(), "registry."))[0], str)


async def test_the_hosts_file_comes_first(dns: NameServer) -> None:
    found, ttl = await ask(dns, Says(), "localhost")
    assert "127.0.0.1" in found
    assert ttl == 0
    assert not dns.asked


@pytest.mark.parametrize("failure", [SERVFAIL, REFUSED])
async def test_what_proves_that_a_name_leads_nowhere(dns: NameServer, failure: int) -> None:
    lookup = Lookup(nameservers=[dns.address], domains=["search.test"], try_s=0.1, tries=1)
    for says, proven in ((Says(rcode=failure), False), (Says(rcode=NXDOMAIN), True), (Says(), True)):
        dns.says[NAME] = says
        with pytest.raises(DnsError) as raised:
            await lookup(NAME + ".")
        assert raised.value.proven is proven


@pytest.mark.parametrize(
    "address, elsewhere, here",
    [
        (GOOD, True, True),
        ("10.0.0.1", True, True),
        ("fd12::1", True, True),
        ("2001:db8::1", True, True),
        ("127.0.0.1", False, True),
        ("127.8.8.8", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("169.254.169.254", False, False),
        ("169.254.0.1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("168.63.129.16", False, False),
        ("::ffff:168.63.129.16", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("no address", False, False),
    ],
)
def test_where_a_name_may_lead(address: str, *, elsewhere: bool, here: bool) -> None:
    assert hosts.may_be_named(address, here=False) is elsewhere
    assert hosts.may_be_named(address, here=True) is here
