"""Which addresses this node finds each registry at: what its own resolver answers, as its runtime would be told.

The agent's Pod resolves like its node with `dnsPolicy: Default`; behind the cluster's DNS every node looks the same.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Never

import structlog

from tidegate.kube.shapes import RegistryAddresses

log = structlog.get_logger()

EVERY_S = 60.0
QUIET_S = 300.0
"""At least so long between two reports: answers that rotate must not become a write a minute."""
MOST_ADDRESSES = 16
MOST_REGISTRIES = 64
_ANSWER_S = 10.0

Resolve = Callable[[str], Awaitable[Iterable[str]]]


async def watch(
    hosts: Callable[[], Iterable[str]], *, resolve: Resolve, tell: Callable[[tuple[RegistryAddresses, ...]], None]
) -> Never:
    """Resolve every registry now and then, and tell when an answer differs from the last that was told."""
    clock = asyncio.get_running_loop().time
    told: tuple[RegistryAddresses, ...] = ()
    quiet_until = 0.0
    while True:
        found = tuple([await _found(host, resolve) for host in sorted(hosts())[:MOST_REGISTRIES]])
        if found != told and clock() >= quiet_until:
            log.info("node.resolves", registries={each.registry: each.addresses for each in found})
            tell(found)
            told, quiet_until = found, clock() + QUIET_S
        await asyncio.sleep(EVERY_S)


async def resolved(host: str) -> Iterable[str]:
    """Addresses by the C library, so by the node's resolv.conf. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return {str(address[0]) for *_, address in found}


async def _found(host: str, resolve: Resolve) -> RegistryAddresses:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        async with asyncio.timeout(_ANSWER_S):
            addresses = await resolve(name.strip("[]"))
    except (OSError, UnicodeError, TimeoutError):
        addresses = ()
    return RegistryAddresses(registry=host, addresses=sorted(addresses)[:MOST_ADDRESSES])
