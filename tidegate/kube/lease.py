"""Which of several processes leads: one record in etcd, a Lease of coordination.k8s.io.

    candidate = Candidate(client, namespace="tidegate", name="tidegate-controller", identity=…, …)
    await candidate.run(work)      # work(term) runs while this process leads, again and again

Guarantees, whatever the clocks on the walls say, as long as all monotonic clocks run equally fast:

- Two never lead at once. A leader counts from before its last successful renewal was sent, and stops after `renew_s`;
  others count from after they saw the record change, which is later, and wait for `lease_s`, which is longer.
- The work is cancelled before anybody else may begin. Work that does not end when it is told to ends the process
  (`give_up`), still before that: nothing is ever left half alive.
- Whoever is told to stop ends its work first and then lets go, so that another takes over at its next look.
- A lease that is taken, deleted or cannot be renewed ends the work at once, and this process is a candidate again.
- A leader of which it is not known that all before it has been done (`Term.settled_at`) lets go without saying so.

Requests are bounded by `request_s`, far below `renew_s`. One that was given up may still be done by the server, so what
the record says is read again after any that failed. The identity has to be this process's alone, not its Pod's. A
record that is deleted by hand is the one hole: who starts at that moment leads at once, while the old leader learns of
it at its next renewal.
"""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Never, Protocol

import msgspec
import structlog

from tidegate.kube.client import REQUEST_S
from tidegate.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from tidegate.kube.resources import LEASES, Resource
from tidegate.kube.shapes import Lease, LeaseSpec, Metadata
from tidegate.kube.times import micro_time

log = structlog.get_logger()

_LEAST_S = 0.01
"""Sleeps that a clock can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, of which each is longer than what follows it. The defaults are those of Kubernetes' own components."""

    lease_s: float = 15.0
    """Others take over when they have seen no change for so long."""
    renew_s: float = 10.0
    """A leader that could not renew for so long stops."""
    retry_s: float = 2.0
    """Between two renewals, and between two looks of a candidate, at most."""

    @classmethod
    def of(cls, lease_s: float) -> "Timing":
        """In the usual proportion."""
        return cls(lease_s=lease_s, renew_s=lease_s * 2 / 3, retry_s=lease_s * 2 / 15)

    @property
    def request_s(self) -> float:
        """For one request: three fit into what a renewal may take."""
        return self.renew_s / 3

    @property
    def last_s(self) -> float:
        """For work to end in, after `renew_s`: half of what is left."""
        return (self.lease_s - self.renew_s) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A time of leading, from `won_at` (seconds of the loop's clock)."""

    number: int
    """Changes of the leader before."""
    won_at: float
    settled_at: float
    """From then on nothing that an earlier leader began can come to pass; `won_at` if that one ended in good order."""


Work = Callable[[Term], Coroutine[Any, Any, Never]]


class Store(Protocol):
    """What is asked of a client."""

    async def get(self, resource: Resource[Lease], name: str, *, namespace: str, timeout_s: float) -> Lease: ...

    async def create(self, resource: Resource[Lease], obj: Lease, *, namespace: str, timeout_s: float) -> Lease: ...

    async def merge_patch(
        self,
        resource: Resource[Lease],
        name: str,
        patch: dict[str, Any],
        *,
        namespace: str,
        resource_version: str,
        timeout_s: float,
    ) -> Lease: ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the record said, and since when; without a record, who led when there was one."""

    spec: LeaseSpec | None
    holder: str
    at: float


class Candidate:
    """See the module. `give_up` ends the process at once; `clean` says whether all that the work wrote was answered."""

    def __init__(
        self,
        client: Store,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing = Timing(),
        wall: Callable[[], datetime],
        chance: random.Random,
        give_up: Callable[[], None],
        clean: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing
        self._wall = wall
        self._chance = chance
        self._give_up = give_up
        self._clean = clean
        self._clock = asyncio.get_running_loop().time
        self._seen: _Seen | None = None
        self._lease: Lease | None = None
        """The record as it last was when it was ours."""
        self._doubtful = False
        """Whether the record may be another one than `_lease`."""
        self._until = -math.inf

    def leads(self) -> bool:
        """Whether this process leads at this moment."""
        return self._clock() < self._until

    async def run(self, work: Work) -> Never:
        """Wait for the lease, do the work under it, and begin again whenever it is lost. Lets go when cancelled."""
        while True:
            term = await self._win()
            log.info("lease.won", lease=self._name, identity=self._identity, transitions=term.number)
            await self._under(term, work)

    # A candidate

    async def _win(self) -> Term:
        while True:
            try:
                term = await self._try()
            except (Conflict, AlreadyExists):
                term = None  # another one was quicker, or somebody wrote: look again
            except KubeError as exc:
                term = None
                log.warning("lease.not_asked", lease=self._name, error=str(exc))
            if term is not None:
                return term
            await asyncio.sleep(self._until_next_look())

    def _until_next_look(self) -> float:
        """Seconds; a look at the moment when the lease is over if nobody renews it."""
        pause = self._timing.retry_s * self._chance.uniform(0.4, 0.8)
        over = self._seen.at + self._duration_s(self._seen.spec) - self._clock() if self._seen is not None else 0.0
        return min(pause, max(over, _LEAST_S)) if over > 0 else pause

    async def _try(self) -> Term | None:
        lease = await self._read()
        seen = self._see(lease.spec if lease is not None else None)
        if seen.holder not in {"", self._identity} and self._clock() < seen.at + self._duration_s(seen.spec):
            return None
        sent = self._clock()
        before = lease.spec if lease is not None else None
        spec = self._spec(before, takes=seen.holder != self._identity)
        self._lease = await (self._create(spec) if lease is None else self._patch(lease, spec))
        self._doubtful = False
        self._until = sent + self._timing.renew_s
        settled = sent if not seen.holder else sent + self._timing.lease_s + REQUEST_S
        return Term(number=spec.lease_transitions or 0, won_at=sent, settled_at=settled)

    def _see(self, spec: LeaseSpec | None) -> _Seen:
        """Take in an answer that has just come. Without a record, whoever held it before may not know yet."""
        before = self._seen
        if before is None or before.spec != spec:
            holder = (spec.holder_identity or "") if spec is not None else before.holder if before is not None else ""
            if before is None or before.holder != holder:
                log.info("lease.seen", lease=self._name, holder=holder)
            self._seen = before = _Seen(spec, holder, self._clock())
        return before

    def _duration_s(self, spec: LeaseSpec | None) -> float:
        """As its holder says; it may be configured otherwise than we are."""
        told = spec.lease_duration_seconds if spec is not None else None
        return float(told) if told else self._timing.lease_s

    # A leader

    async def _under(self, term: Term, work: Work) -> None:
        """Work for as long as the lease is renewed."""
        resort = _LastResort(self._give_up, self._until + self._timing.last_s)
        try:
            async with asyncio.timeout_at(self._until) as bound, asyncio.TaskGroup() as tasks:
                doing = tasks.create_task(work(term), name="work")
                lost = await self._renewing(bound, resort)
                self._until = -math.inf
                doing.cancel()
        except TimeoutError:
            lost = "it could not be renewed"
        except asyncio.CancelledError:
            resort.cancel()
            await self._let_go(orderly=self._clean() and self._clock() >= term.settled_at)
            raise
        except BaseException:
            resort.cancel()
            await self._let_go(orderly=False)
            raise
        finally:
            self._until = -math.inf
            resort.cancel()
        log.warning("lease.lost", lease=self._name, why=lost)

    async def _renewing(self, bound: asyncio.Timeout, resort: "_LastResort") -> str:
        """Renew until it is somebody else's; says why."""
        while True:
            await asyncio.sleep(self._timing.retry_s * self._chance.uniform(0.75, 1.0))
            try:
                if self._doubtful:
                    self._lease = await self._read()
                holder = self._lease.spec.holder_identity if self._lease is not None else None
                if self._lease is None or holder != self._identity:
                    self._see(self._lease.spec if self._lease is not None else None)
                    return f"it is {holder}'s" if holder else "it was taken away"
                sent, self._doubtful = self._clock(), True
                self._lease = await self._patch(self._lease, self._spec(self._lease.spec, takes=False))
                self._doubtful = False
            except NotFound:
                return "it was deleted"
            except KubeError as exc:
                log.warning("lease.not_renewed", lease=self._name, error=str(exc))
            else:
                self._until = sent + self._timing.renew_s
                bound.reschedule(self._until)
                resort.move(self._until + self._timing.last_s)

    async def _let_go(self, *, orderly: bool) -> None:
        """Hand it over: an empty holder when all is known to be done, else a lease that is over in a second."""
        if not self.leads() or self._lease is None:
            return
        self._until = -math.inf
        spec = msgspec.structs.replace(
            self._spec(self._lease.spec, takes=False),
            holder_identity="" if orderly else self._identity,
            lease_duration_seconds=1,
        )
        try:
            await self._patch(self._lease, spec)
        except KubeError as exc:
            log.warning("lease.not_released", lease=self._name, error=str(exc))
        else:
            log.info("lease.released", lease=self._name, orderly=orderly)

    # The record

    def _spec(self, before: LeaseSpec | None, *, takes: bool) -> LeaseSpec:
        """What the record should say now: differs from `before` even where a clock stands still."""
        moment = self._wall().astimezone(UTC)
        if before is not None and before.renew_time == micro_time(moment):
            moment += timedelta(microseconds=1)
        stamp = micro_time(moment)
        transitions = before.lease_transitions or 0 if before is not None else 0
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=math.ceil(self._timing.lease_s),
            acquire_time=stamp if takes or before is None else before.acquire_time or stamp,
            renew_time=stamp,
            lease_transitions=transitions + (takes and before is not None),
        )

    async def _read(self) -> Lease | None:
        try:
            return await self._client.get(
                LEASES, self._name, namespace=self._namespace, timeout_s=self._timing.request_s
            )
        except NotFound:
            return None

    async def _create(self, spec: LeaseSpec) -> Lease:
        lease = Lease(metadata=Metadata(name=self._name, namespace=self._namespace), spec=spec)
        return await self._client.create(LEASES, lease, namespace=self._namespace, timeout_s=self._timing.request_s)

    async def _patch(self, lease: Lease, spec: LeaseSpec) -> Lease:
        """Only if nobody wrote since: else Conflict."""
        return await self._client.merge_patch(
            LEASES, self._name, {"spec": msgspec.to_builtins(spec)}, namespace=self._namespace,
            resource_version=lease.metadata.resource_version, timeout_s=self._timing.request_s,
        )  # fmt: skip


class _LastResort:
    """Calls at a moment that is moved on and on, or never."""

    def __init__(self, call: Callable[[], None], at: float) -> None:
        self._call = call
        self._handle = asyncio.get_running_loop().call_at(at, call)

    def move(self, at: float) -> None:
        self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_at(at, self._call)

    def cancel(self) -> None:
        self._handle.cancel()
