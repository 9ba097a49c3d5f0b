"""One question about a name, asked of the system's nameservers (or others) by c-ares, with the TTL of the answer.

/etc/hosts, search domains and ndots of resolv.conf count as they do for every other program in the Pod, so that names
of Services work. Each question has a channel of its own (0.6 ms): c-ares otherwise remembers answers by itself for up
to an hour, and resolv.conf would be the one that was there when the program began.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiodns
from aiodns import error as ares
from pycares import AddrInfoResult

ADDRESSES_OF_A_FAMILY = 8
"""Of an answer; a name with hundreds is no reason to try hundreds."""

_NOT_THERE = frozenset({ares.ARES_ENOTFOUND, ares.ARES_ENODATA, ares.ARES_EBADNAME})
_WORDS = {
    ares.ARES_ENOTFOUND: "no such name",
    ares.ARES_ENODATA: "the name has no address",
    ares.ARES_EBADNAME: "not a name",
    ares.ARES_ESERVFAIL: "the nameserver failed",
    ares.ARES_EREFUSED: "the nameserver refused",
    ares.ARES_ECONNREFUSED: "no nameserver answers",
    ares.ARES_ETIMEOUT: "no nameserver answered in time",
}


class DnsError(OSError):
    """A name leads nowhere. `proven`: the nameserver said so; else nobody could be asked."""

    def __init__(self, words: str, *, proven: bool = False) -> None:
        super().__init__(None, words)
        self.words = words
        self.proven = proven


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses in the order of RFC 6724, and the shortest TTL on the way to them in seconds (0: of a hosts file)."""

    addresses: tuple[str, ...]
    ttl_s: int


class Lookup:
    """Asks; remembers nothing. `nameservers` are `ADDRESS` or `ADDRESS:PORT`; by default the system's."""

    def __init__(
        self,
        *,
        nameservers: Sequence[str] = (),
        domains: Sequence[str] = (),
        try_s: float = 1.0,
        tries: int = 2,
        total_s: float = 3.0,
    ) -> None:
        """`try_s` is for one nameserver to one packet; `total_s` bounds search domains and all."""
        self._nameservers = tuple(nameservers)
        self._domains = tuple(domains)
        self._try_s = try_s
        self._tries = tries
        self._total_s = total_s

    async def __call__(self, host: str) -> Found:
        """Raises DnsError, within the bound."""
        resolver = aiodns.DNSResolver(
            nameservers=self._nameservers or None,
            timeout=self._try_s,
            tries=self._tries,
            domains=self._domains or None,
        )
        try:
            async with asyncio.timeout(self._total_s):
                found = _found(await resolver.getaddrinfo(host, type=socket.SOCK_STREAM))
        except ares.DNSError as exc:
            number = exc.args[0] if exc.args else None
            raise DnsError(_WORDS.get(number, f"{exc.args[-1]}"), proven=number in _NOT_THERE) from exc
        except TimeoutError as exc:
            message = f"no nameserver answered within {self._total_s:g} s"
            raise DnsError(message) from exc
        finally:
            await resolver.close()
        if not found.addresses:
            raise DnsError(_WORDS[ares.ARES_ENODATA], proven=True)
        return found


def _found(answer: AddrInfoResult) -> Found:
    by_family = {
        family: tuple(dict.fromkeys(_address(node.addr) for node in answer.nodes if node.family == family))
        for family in dict.fromkeys(node.family for node in answer.nodes)
    }
    kept = {address for addresses in by_family.values() for address in addresses[:ADDRESSES_OF_A_FAMILY]}
    ordered = dict.fromkeys(_address(node.addr) for node in answer.nodes)
    ttls: Iterable[int] = (*(node.ttl for node in answer.nodes), *(alias.ttl for alias in answer.cnames))
    return Found(tuple(address for address in ordered if address in kept), max(0, min(ttls, default=0)))


def _address(raw: tuple[bytes, int] | tuple[bytes, int, int, int]) -> str:
    return raw[0].decode("ascii")
