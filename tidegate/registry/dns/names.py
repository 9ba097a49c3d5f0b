"""Addresses of names, remembered for as long as DNS allows and never longer than 30 s.

A name is asked again when its TTL has passed, or at once (but not more than once a second) when a connection to it
failed. That a name leads nowhere is remembered for a second. Where nameservers cannot be asked, the last addresses go
on being good until they are 30 s old; where one says that the name is gone, they are gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachetools import LRUCache

from tidegate.registry.dns.lookup import DnsError, Found
from tidegate.registry.flights import Flights

LONGEST_S = 30.0
"""Whatever the TTL is."""
SHORTEST_S = 1.0
"""Between two questions about one name, whatever the TTL is; and how long a failure is remembered."""
REFRESH_S = 0.25
"""How long a caller waits for a new answer while it has an old one that is not 30 s old."""
NAMES = 256
"""Remembered at once."""


@dataclass(slots=True)
class _Entry:
    addresses: tuple[str, ...]
    """Empty if the last question failed and nothing is known any more."""
    failure: DnsError | None
    asked_at: float
    until: float
    """Ask again from then on."""
    resolved_at: float


class Names:
    """One per process; close it when done. `lookup` is a `Lookup`."""

    def __init__(self, lookup: Callable[[str], Awaitable[Found]], *, now: Callable[[], float]) -> None:
        self._lookup = lookup
        self._now = now
        self._entries: LRUCache[str, _Entry] = LRUCache(NAMES)
        self._flights: Flights[str, _Entry] = Flights("dns", lasting=True)
        self.lookups = 0
        """Questions asked so far."""

    async def aclose(self) -> None:
        """Ask nothing more."""
        await self._flights.aclose()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Where a name leads now; at least one address. Raises DnsError."""
        entry = self._entries.get(host)
        now = self._now()
        if entry is None or now >= entry.until:
            old = entry.addresses if entry is not None and now < entry.resolved_at + LONGEST_S else ()
            entry = await self._asked(host, patient=not old) or entry
        if entry is None or not entry.addresses:
            failure = entry.failure if entry is not None else None
            raise DnsError(failure.words, proven=failure.proven) if failure else DnsError("not asked")
        return entry.addresses

    def doubt(self, host: str) -> None:
        """A connection there failed: ask again before the next one."""
        entry = self._entries.get(host)
        if entry is not None:
            entry.until = min(entry.until, entry.asked_at + SHORTEST_S)

    async def _asked(self, host: str, *, patient: bool) -> _Entry | None:
        """None if a caller that is not patient has waited long enough; the question goes on for the next one."""
        wait = asyncio.timeout(None if patient else REFRESH_S)
        try:
            async with wait:
                return await self._flights.join(host, lambda: self._ask(host))
        except TimeoutError:
            if not wait.expired():
                raise
            return None

    async def _ask(self, host: str) -> _Entry:
        asked_at = self._now()
        self.lookups += 1
        try:
            found = await self._lookup(host)
        except DnsError as exc:
            now = self._now()
            old = self._entries.get(host)
            keep = old is not None and not exc.proven and now < old.resolved_at + LONGEST_S
            entry = _Entry(
                addresses=old.addresses if old is not None and keep else (),
                failure=exc.with_traceback(None),
                asked_at=asked_at,
                until=now + SHORTEST_S,
                resolved_at=old.resolved_at if old is not None and keep else float("-inf"),
            )
        else:
            life = min(max(float(found.ttl_s), SHORTEST_S), LONGEST_S)
            entry = _Entry(found.addresses, None, asked_at, asked_at + life, asked_at)
        self._entries[host] = entry
        return entry
