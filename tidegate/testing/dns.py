"""A nameserver on loopback that says what it is told to, moves names, and lies.

    async with NameServer() as dns:
        dns.says["registry.test"] = Says(a=("127.0.0.1",), ttl=5)
        Lookup(nameservers=[dns.address])

UDP only, as in RFC 1035 §4: a truncated answer sends the resolver to TCP, where nobody is. Names that it was not told
of do not exist.
"""

import asyncio
import ipaddress
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
OK: Final = 0
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
REFUSED: Final = 5
_HEADER: Final = struct.Struct("!6H")
_ANSWERS: Final = 0x8180
"""A response, recursion desired and available."""
_TRUNCATED: Final = 0x0200


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What is said about one name."""

    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """A chain of CNAMEs from the name to the last of these, which has the addresses."""
    ttl: int = 60
    alias_ttl: int | None = None
    """Default: `ttl`."""
    rcode: int = OK
    silent: bool = False
    silent_about: tuple[int, ...] = ()
    """Types that are asked for in vain."""
    truncated: bool = False
    garble: Callable[[bytes], bytes] | None = None
    """What is sent in place of the honest packet."""


class NameServer(asyncio.DatagramProtocol):
    """Opened once, as `async with`."""

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self._host = host
        self.says: dict[str, Says] = {}
        """By name in lower case, without the root's dot."""
        self.asked: Counter[tuple[str, int]] = Counter()
        """Questions so far, by name and type."""
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self._host, 0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        if self._transport is None:
            message = "the nameserver is not open"
            raise RuntimeError(message)
        host, port = self._transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        name, kind, end = _question(data)
        self.asked[name, kind] += 1
        says = self.says.get(name, Says(rcode=NXDOMAIN))
        if self._transport is None or says.silent or kind in says.silent_about:
            return
        packet = _answer(data[:2], data[_HEADER.size : end], name, kind, says)
        self._transport.sendto(packet if says.garble is None else says.garble(packet), addr)


def _question(data: bytes) -> tuple[str, int, int]:
    """The name, the type, and where the question ends."""
    labels, at = [], _HEADER.size
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    (kind,) = struct.unpack_from("!H", data, at + 1)
    return ".".join(labels).lower(), kind, at + 5


def _answer(number: bytes, question: bytes, name: str, kind: int, says: Says) -> bytes:
    records = list(_records(name, kind, says)) if says.rcode == OK else []
    flags = _ANSWERS | says.rcode | (_TRUNCATED if says.truncated else 0)
    header = number + _HEADER.pack(0, flags, 1, len(records), 0, 0)[2:]
    return header + question + b"".join(records)


def _records(name: str, kind: int, says: Says) -> Iterator[bytes]:
    alias_ttl = says.ttl if says.alias_ttl is None else says.alias_ttl
    owner = name
    for alias in says.aliases:
        yield _record(owner, CNAME, alias_ttl, _packed(alias))
        owner = alias
    for address in {A: says.a, AAAA: says.aaaa}.get(kind, ()):
        yield _record(owner, kind, says.ttl, ipaddress.ip_address(address).packed)


def _record(owner: str, kind: int, ttl: int, data: bytes) -> bytes:
    return _packed(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def _packed(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".") if label) + b"\0"
