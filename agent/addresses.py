"""Which addresses this node finds each registry at: what its own resolver answers, as its runtime would be told.

Behind the cluster's DNS every node looks the same, so the nameservers of the node's own resolv.conf are asked, where it
is mounted. One that only the node can reach (127.0.0.53) answers nobody here: mount the file behind it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Never

import structlog

from tidegate.kube.own import RegistryAddresses
from tidegate.registry.dns.lookup import Lookup

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


def resolver(resolv_conf: Path | None) -> Resolve:
    """Asks the nameservers that a file names, read each time; without one, those of this Pod. Raises OSError."""

    async def resolve(host: str) -> Iterable[str]:
        text = await asyncio.to_thread(resolv_conf.read_text) if resolv_conf is not None else ""
        return (await Lookup(nameservers=nameservers(text))(host)).addresses

    return resolve


def nameservers(text: str) -> Sequence[str]:
    """Those of a resolv.conf, at most three, as its readers take no more."""
    lines = [line.split() for line in text.splitlines()]
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:3]


async def _found(host: str, resolve: Resolve) -> RegistryAddresses:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        async with asyncio.timeout(_ANSWER_S):
            addresses = await resolve(name.strip("[]"))
    except (OSError, UnicodeError, TimeoutError):
        addresses = ()
    return RegistryAddresses(registry=host, addresses=sorted(addresses)[:MOST_ADDRESSES])
