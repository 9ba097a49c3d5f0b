"""Questions to one replica: answered from memory, by a flight that others share, or not in time.

A failure that is certain already is told at once, whatever time is left: a pause longer than that is `throttled`, an
open circuit is `unreachable`. Nothing here raises for what a registry does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from tidegate.completeness.flight import Flights
from tidegate.completeness.memory import Memory
from tidegate.completeness.walk import NO_COST, Presence, PullCost, measure, walk
from tidegate.findings import Finding, ReplicaFinding
from tidegate.reference import Digest
from tidegate.registry.errors import RegistryError, Throttled
from tidegate.replicas.replica import Replica

WALK_BOUND_S = 30.0
"""A walk of 256 blobs over a slow link takes less; what takes longer is not answering."""
WALKS_LIMIT = 128
"""At one replica at once."""

Key = tuple[str, str, str, str]
"""Registry, replica, repository, and the digest or tag."""
T = TypeVar("T")


class Looks:
    """Close it when done."""

    def __init__(self, *, memory: Memory, platforms: Sequence[str]) -> None:
        self.memory = memory
        self._platforms = tuple(platforms)
        self._walks: Flights[Key, Presence] = _flights()
        self._names: Flights[Key, Digest | RegistryError] = _flights()
        self._costs: Flights[Key, PullCost | RegistryError] = _flights()

    async def aclose(self) -> None:
        for flights in (self._walks, self._names, self._costs):
            await flights.aclose()

    def recall(self, registry: str, replica: str, repository: str, digest: Digest) -> ReplicaFinding | None:
        """What is remembered; asks nobody."""
        presence = self.memory.presence((registry, replica, repository, digest))
        return None if presence is None else _told(replica, presence, requests=0, seconds=0.0)

    async def whole(self, replica: Replica, repository: str, digest: Digest, *, until: float) -> ReplicaFinding:
        """Whether the replica holds all of it; what it lacks is counted."""
        if (known := self.recall(replica.registry, replica.name, repository, digest)) is not None:
            return known
        began = _now()
        answer = await self._in_flight(self._walks, replica, (repository, digest), self._walk, until=until)
        if isinstance(answer, ReplicaFinding):
            return answer
        return _told(replica.name, answer, requests=answer.requests, seconds=_now() - began)

    async def named(self, replica: Replica, repository: str, name: str, *, until: float) -> Digest | ReplicaFinding:
        """The digest of the manifest that a tag (or digest) stands for there, or why there is none."""
        if (digest := self.memory.tag((replica.registry, replica.name, repository, name))) is not None:
            return digest
        began = _now()
        answer = await self._in_flight(self._names, replica, (repository, name), self._name, until=until)
        if isinstance(answer, RegistryError):
            return _raised(replica, answer, seconds=_now() - began)
        return answer

    async def cost(
        self, replica: Replica, repository: str, digest: Digest, *, until: float
    ) -> PullCost | ReplicaFinding:
        """The cost of a pull, remembered for good: it is a fact of the digest."""
        if (known := self.memory.cost((replica.registry, repository, digest))) is not None:
            return known
        began = _now()
        answer = await self._in_flight(self._costs, replica, (repository, digest), self._measure, until=until)
        if isinstance(answer, RegistryError):
            return _raised(replica, answer, seconds=_now() - began)
        return answer

    async def _in_flight(
        self,
        flights: Flights[Key, T],
        replica: Replica,
        what: tuple[str, str],
        work: Callable[[Replica, Key], Coroutine[Any, Any, T]],
        *,
        until: float,
    ) -> T | ReplicaFinding:
        began = _now()
        if (certain := _certain_failure(replica, left_s=until - began)) is not None:
            return certain
        key = (replica.registry, replica.name, *what)
        try:
            return await flights.join(key, lambda: work(replica, key), until=until)
        except TimeoutError:
            return _late(replica, until=until, seconds=_now() - began)

    async def _walk(self, replica: Replica, key: Key) -> Presence:
        registry, _, repository, digest = key
        presence = await walk(replica, repository, digest, platforms=self._platforms, count=True)
        self.memory.learn(key, presence)
        if presence.cost is not NO_COST and not presence.missing.manifests:
            self.memory.learn_cost((registry, repository, digest), presence.cost)
        return presence

    async def _name(self, replica: Replica, key: Key) -> Digest | RegistryError:
        _, _, repository, name = key
        try:
            digest = (await replica.manifest(repository, name)).digest
        except RegistryError as exc:
            return exc  # a value: raised in each of the callers, one instance would collect all their tracebacks
        self.memory.learn_tag(key, digest)
        return digest

    async def _measure(self, replica: Replica, key: Key) -> PullCost | RegistryError:
        registry, _, repository, digest = key
        try:
            cost = await measure(replica, repository, digest, platforms=self._platforms)
        except RegistryError as exc:
            return exc
        self.memory.learn_cost((registry, repository, digest), cost)
        return cost


def _flights() -> Flights[Key, T]:
    return Flights(bound_s=WALK_BOUND_S, most=WALKS_LIMIT, departure=lambda key: key[:2])


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
    )


def _raised(replica: Replica, exc: RegistryError, *, seconds: float) -> ReplicaFinding:
    retry_after_s = exc.retry_after_s if isinstance(exc, Throttled) else None
    return ReplicaFinding(
        replica.name, exc.finding, detail=exc.detail, requests=1, seconds=seconds, retry_after_s=retry_after_s
    )
