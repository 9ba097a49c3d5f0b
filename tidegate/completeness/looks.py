"""Questions to one replica: answered from memory, by a flight that others share, or not in time.

A failure that is certain already is told at once, whatever time is left: a pause longer than that is `throttled`, an
open circuit is `unreachable`. Nothing here raises for what a registry does.

Where namespaces bring credentials of their own (`asker`; None elsewhere), what is remembered is told to those alone who
were seen to read the repository, or prove now with one request that they may. Flights are shared among equal askers.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tidegate.completeness.flight import Flights
from tidegate.completeness.memory import Memory, PresenceKey
from tidegate.completeness.source import Source, Tally
from tidegate.completeness.walk import NO_COST, Presence, PullCost, measure, walk
from tidegate.findings import FAILURES, Finding, ReplicaFinding
from tidegate.reference import Digest
from tidegate.registry.auth.tenants import Asker
from tidegate.registry.errors import RegistryError, Throttled
from tidegate.replicas.replica import Replica

WALK_BOUND_S = 30.0
"""A walk of 256 blobs over a slow link takes less; what takes longer is not answering."""
WALKS_LIMIT = 128
"""At one replica at once."""

Key = tuple[PresenceKey, Asker | None]
"""Registry, replica, repository, and the digest or tag; and who asks, where that matters."""
T = TypeVar("T")


class Looks:
    """Close it when done."""

    def __init__(self, *, memory: Memory, platforms: Sequence[str]) -> None:
        self.memory = memory
        self._platforms = tuple(platforms)
        self._walks: Flights[Key, Presence] = _flights()
        self._names: Flights[Key, Digest | RegistryError] = _flights()
        self._costs: Flights[Key, PullCost | RegistryError] = _flights()
        self._rights: Flights[Key, RegistryError | None] = _flights()

    async def aclose(self) -> None:
        for flights in (self._walks, self._names, self._costs, self._rights):
            await flights.aclose()

    def recall(self, registry: str, replica: str, repository: str, digest: Digest) -> ReplicaFinding | None:
        """What is remembered; asks nobody."""
        presence = self.memory.presence((registry, replica, repository, digest))
        return None if presence is None else _told(replica, presence, requests=0, seconds=0.0)

    async def whole(
        self,
        replica: Replica,
        repository: str,
        digest: Digest,
        *,
        until: float,
        asker: Asker | None = None,
        fresh: bool = False,
    ) -> ReplicaFinding:
        """Whether the replica holds all of it; what it lacks is counted. `fresh`: whatever is remembered."""
        known = None if fresh else self.recall(replica.registry, replica.name, repository, digest)
        if known is not None and _may_be_told(replica, repository, asker):
            return known
        began, what = _now(), (repository, digest)
        if known is not None and known.finding is Finding.OK:  # one request tells whether this asker may know
            refused = await self._in_flight(self._rights, replica, what, self._prove, until=until, asker=asker)
            if refused is None:
                return replace(known, requests=1, seconds=_now() - began)
            if isinstance(refused, ReplicaFinding):
                return refused
            if refused.finding in FAILURES:
                return _raised(replica, refused, seconds=_now() - began)
        answer = await self._in_flight(self._walks, replica, what, self._walk, until=until, asker=asker)
        if isinstance(answer, ReplicaFinding):
            return answer
        return _told(replica.name, answer, requests=answer.requests, seconds=_now() - began)

    async def named(
        self, replica: Replica, repository: str, name: str, *, until: float, asker: Asker | None = None
    ) -> Digest | ReplicaFinding:
        """The digest of the manifest that a tag (or digest) stands for there, or why there is none."""
        digest = self.memory.tag((replica.registry, replica.name, repository, name))
        if digest is not None and _may_be_told(replica, repository, asker):
            return digest
        began = _now()
        answer = await self._in_flight(self._names, replica, (repository, name), self._name, until=until, asker=asker)
        if isinstance(answer, RegistryError):
            return _raised(replica, answer, seconds=_now() - began)
        return answer

    async def cost(
        self, replica: Replica, repository: str, digest: Digest, *, until: float, asker: Asker | None = None
    ) -> PullCost | ReplicaFinding:
        """The cost of a pull, remembered for good: it is a fact of the digest, and told to no tenant."""
        if (known := self.memory.cost((replica.registry, repository, digest))) is not None:
            return known
        began = _now()
        what = (repository, digest)
        answer = await self._in_flight(self._costs, replica, what, self._measure, until=until, asker=asker)
        if isinstance(answer, RegistryError):
            return _raised(replica, answer, seconds=_now() - began)
        return answer

    async def _in_flight(
        self,
        flights: Flights[Key, T],
        replica: Replica,
        what: tuple[str, str],
        work: Callable[[Replica, Asker | None, PresenceKey], Coroutine[Any, Any, T]],
        *,
        until: float,
        asker: Asker | None = None,
    ) -> T | ReplicaFinding:
        began = _now()
        if (certain := _certain_failure(replica, left_s=until - began)) is not None:
            return certain
        key = (replica.registry, replica.name, *what)
        try:
            return await flights.join((key, asker), lambda: work(replica, asker, key), until=until)
        except TimeoutError:
            return _late(replica, until=until, seconds=_now() - began)

    async def _prove(self, replica: Replica, asker: Asker | None, key: PresenceKey) -> RegistryError | None:
        """Why the asker is not handed the manifest, if it is not."""
        _, _, repository, digest = key
        try:
            await _as(replica, asker).manifest(repository, digest)
        except RegistryError as exc:
            return exc
        return None

    async def _walk(self, replica: Replica, asker: Asker | None, key: PresenceKey) -> Presence:
        registry, _, repository, digest = key
        presence = await self._still_lacking(replica, asker, key)
        if presence is None:
            presence = await walk(_as(replica, asker), repository, digest, platforms=self._platforms, count=True)
            self.memory.learn_count(key, replace(presence, cost=NO_COST))
        cost, presence = presence.cost, replace(presence, cost=NO_COST)  # kept once, below
        if presence.finding is Finding.OK or _may_be_told(replica, repository, asker):
            self.memory.learn(key, presence)  # others do not believe a 404 that was told to who may never have read
        if cost is not NO_COST and not presence.missing.manifests:
            self.memory.learn_cost((registry, repository, digest), cost)
        return presence

    async def _still_lacking(self, replica: Replica, asker: Asker | None, key: PresenceKey) -> Presence | None:
        """What was counted a moment ago, if one of the blobs that lacked then still does: that is proof enough.

        So an image of thirty layers that many wait for costs one request a look, not thirty-two.
        """
        before = self.memory.counted(key)
        if before is None or before.missing.manifests or not before.lacking:
            return None
        source = Tally(_as(replica, asker))
        try:
            arrived = await source.has_blob(key[2], Digest(before.lacking[-1]))
        except RegistryError:  # the walk tells it better
            return None
        return None if arrived else replace(before, requests=source.requests)

    async def _name(self, replica: Replica, asker: Asker | None, key: PresenceKey) -> Digest | RegistryError:
        _, _, repository, name = key
        try:
            digest = (await _as(replica, asker).manifest(repository, name)).digest
        except RegistryError as exc:
            return exc  # a value: raised in each of the callers, one instance would collect all their tracebacks
        self.memory.learn_tag(key, digest)
        return digest

    async def _measure(self, replica: Replica, asker: Asker | None, key: PresenceKey) -> PullCost | RegistryError:
        registry, _, repository, digest = key
        try:
            cost = await measure(_as(replica, asker), repository, digest, platforms=self._platforms)
        except RegistryError as exc:
            return exc
        self.memory.learn_cost((registry, repository, digest), cost)
        return cost


def _flights() -> Flights[Key, T]:
    return Flights(bound_s=WALK_BOUND_S, most=WALKS_LIMIT, departure=lambda key: key[0][:2])


def _as(replica: Replica, asker: Asker | None) -> Source:
    return replica if asker is None else replica.asked_by(asker)


def _may_be_told(replica: Replica, repository: str, asker: Asker | None) -> bool:
    return asker is None or replica.may_read(repository, asker)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _certain_failure(replica: Replica, *, left_s: float) -> ReplicaFinding | None:
    pause = replica.pause_left_s()
    if pause > max(left_s, 0.0):
        detail = f"told to leave it alone for another {pause:.0f} s"
        return ReplicaFinding(replica.name, Finding.THROTTLED, detail=detail, retry_after_s=pause)
    if (refusal := replica.closed_to_calls()) is not None:
        return _raised(replica, refusal, seconds=0.0)
    if left_s <= 0:
        return ReplicaFinding(replica.name, Finding.DEADLINE, detail="no time was left to ask")
    return None


def _late(replica: Replica, *, until: float, seconds: float) -> ReplicaFinding:
    pause = replica.pause_left_s()
    if pause > 0:
        detail = f"told to leave it alone for another {pause:.0f} s"
        return ReplicaFinding(replica.name, Finding.THROTTLED, detail=detail, seconds=seconds, retry_after_s=pause)
    finding = Finding.DEADLINE if _now() >= until else Finding.UNREACHABLE
    return ReplicaFinding(replica.name, finding, detail=f"no whole answer within {seconds:.1f} s", seconds=seconds)


def _told(replica: str, presence: Presence, *, requests: int, seconds: float) -> ReplicaFinding:
    return ReplicaFinding(
        replica,
        presence.finding,
        missing=presence.missing,
        detail=presence.detail,
        requests=requests,
        seconds=seconds,
        retry_after_s=presence.retry_after_s,
        lacking=presence.lacking,
    )


def _raised(replica: Replica, exc: RegistryError, *, seconds: float) -> ReplicaFinding:
    retry_after_s = exc.retry_after_s if isinstance(exc, Throttled) else None
    return ReplicaFinding(
        replica.name, exc.finding, detail=exc.detail, requests=1, seconds=seconds, retry_after_s=retry_after_s
    )
