"""Connections to the hosts of one replica: a pool each, for as long as DNS leads where its connections lead.

Before each request the host's addresses are looked up (mostly in memory). When one of those that a pool connects to
has left DNS, requests go to a new pool, and the old one's connections close with their last request: a busy
connection never keeps us at an address that everybody else has left.

What DNS says is no more trusted than a literal in a URL: link-local, multicast and unspecified addresses and cloud
metadata services are never connected to, and this machine only for the endpoint's own name, or where that is here.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, AI_NUMERICHOST, AddressFamily

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from cachetools import LRUCache
from yarl import URL

from tidegate.config.registries import LimitsConfig
from tidegate.registry import hosts
from tidegate.registry.bounds import Timeouts
from tidegate.registry.dns import DnsError, Names
from tidegate.registry.session import open_session

POOLS = 16
"""The endpoint, its storage, token realms: hosts of one replica at once."""


class Pools:
    """Close them when done."""

    def __init__(self, *, names: Names, endpoint: URL, limits: LimitsConfig, timeouts: Timeouts) -> None:
        self._names = names
        self._endpoint = endpoint
        self._limits = limits
        self._timeouts = timeouts
        self._pools: LRUCache[str, _Pool] = LRUCache(POOLS)
        self._open: set[_Pool] = set()

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in tuple(self._open):
            await pool.session.close()
        self._open.clear()

    @asynccontextmanager
    async def session(self, url: URL) -> AsyncIterator[aiohttp.ClientSession]:
        """For one request to this URL. Raises DnsError; whatever else fails inside makes the name be asked again."""
        host = url.raw_host or ""
        pool = self._pool(host, await self._addresses(url, host))
        pool.users += 1
        try:
            yield pool.session
        except BaseException:
            self._names.doubt(host)
            raise
        finally:
            pool.users -= 1
            await self._close_unused()

    async def _addresses(self, url: URL, host: str) -> tuple[str, ...]:
        """Literals are what they are: whether they may be asked was decided with the URL."""
        if not host or hosts.is_numeric(host):
            return ()
        addresses = await self._names.addresses(host)
        here = hosts.is_own(url, self._endpoint) or hosts.is_local(hosts.host_of(self._endpoint))
        allowed = tuple(a for a in addresses if hosts.may_be_named(a, here=here))
        if not allowed:
            message = f"leads to {addresses[0]}, where no registry is"
            raise DnsError(message, proven=True)
        return allowed

    def _pool(self, host: str, addresses: tuple[str, ...]) -> "_Pool":
        pool = self._pools.get(host)
        if pool is not None and set(pool.fixed.addresses) <= set(addresses):
            pool.fixed.addresses = addresses
            return pool
        fixed = _Fixed(addresses)
        pool = _Pool(open_session(self._limits, self._timeouts, resolver=fixed), fixed)
        self._pools[host] = pool
        self._open.add(pool)
        return pool

    async def _close_unused(self) -> None:
        current = set(self._pools.values())
        for pool in [p for p in self._open if p.users == 0 and p not in current]:
            self._open.discard(pool)
            await pool.session.close()


@dataclass(slots=True, eq=False)
class _Pool:
    session: aiohttp.ClientSession
    fixed: "_Fixed"
    users: int = 0


class _Fixed(AbstractResolver):
    """Says what was looked up already: what was judged is what is connected to."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = tuple(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """`family` is the connector's, which takes both."""
        del family
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=AF_INET6 if ":" in address else AF_INET, proto=0,
                flags=AI_NUMERICHOST,
            )
            for address in self.addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""
