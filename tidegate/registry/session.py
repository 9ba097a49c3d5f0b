"""The aiohttp sessions of a replica: what it verifies, what it ignores, and what it says of itself.

No cookies, no proxies or netrc from the environment, no redirects by itself, no decompression (a body is hashed
as it came, and a compressed bomb stays small).
"""

import asyncio
import ssl
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from tidegate import __version__
from tidegate.config.registries import LimitsConfig, ReplicaConfig
from tidegate.registry import hosts
from tidegate.registry.bounds import Timeouts

_KEEPALIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Trust:
    """Which roots a host's certificate must chain to."""

    endpoint: URL
    own: ssl.SSLContext
    others: ssl.SSLContext

    def context(self, url: URL) -> ssl.SSLContext:
        """The replica's own bundle for its host name; the system's roots and that bundle for storage and realms."""
        return self.own if hosts.is_own(url, self.endpoint) else self.others


async def trust(config: ReplicaConfig) -> Trust:
    """Read the certificates. Raises OSError (ssl.SSLError is one) when the bundle cannot be used."""
    endpoint = URL(config.endpoint)
    if config.ca_file is None:
        system = await asyncio.to_thread(_context, None)
        return Trust(endpoint, system, system)
    own = await asyncio.to_thread(_context, config.ca_file)
    others = await asyncio.to_thread(_context, None)
    others.load_verify_locations(cafile=config.ca_file)
    return Trust(endpoint, own, others)


def open_session(limits: LimitsConfig, timeouts: Timeouts, *, resolver: AbstractResolver) -> aiohttp.ClientSession:
    """A session whose caller closes it, and bounds every use of it in time (`translate.bounded`).

    The limiter bounds connections; the connector is the second fence.
    """
    connector = aiohttp.TCPConnector(
        limit=limits.connections,
        resolver=resolver,
        use_dns_cache=False,
        keepalive_timeout=_KEEPALIVE_S,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        requote_redirect_url=False,
        raise_for_status=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
        headers={"User-Agent": f"tidegate/{__version__}", "Accept-Encoding": "identity"},
    )
    # Its own immediate repetition after a lost connection would be neither counted, nor limited, nor the only one.
    session._retry_connection = False  # noqa: SLF001 - there is no public switch; a test counts what a server sees
    return session


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
