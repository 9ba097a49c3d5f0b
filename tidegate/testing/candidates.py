"""Candidates for a lease, on lines that are slow, lose answers, break, and come back. For tests in virtual time."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, Never

import msgspec

from tidegate.kube.errors import AlreadyExists, Conflict, NotFound, Unavailable
from tidegate.kube.lease import Candidate, Store, Term
from tidegate.kube.shapes import Lease, LeaseSpec, Metadata

NAME, WHERE = "tidegate-controller", "default"


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Log:
    """Who led when, in the order of beginnings; an open end is infinite."""

    spans: list[list[Any]] = field(default_factory=list)
    terms: list[tuple[str, Term]] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)

    def leaders(self) -> list[str]:
        return [who for who, _, end in self.spans if end is None]

    async def until(self, who: str | None, within_s: float = 60.0) -> float:
        """Wait until this one leads (None: nobody does); returns how long it took."""
        began = clock()
        async with asyncio.timeout(within_s):
            while self.leaders() != ([who] if who else []):  # noqa: ASYNC110  virtual time
                await asyncio.sleep(0.01)
        return clock() - began

    def alone(self) -> bool:
        """Whether no two led at one moment."""
        ordered = sorted(self.spans, key=lambda span: span[1])
        pairs = pairwise(ordered)
        return all(first[2] is not None and first[2] <= second[1] for first, second in pairs)


@dataclass
class Memory:
    """One record, as an API server keeps it."""

    lease: Lease | None = None
    version: int = 0

    async def get(self, *_: object, **__: object) -> Lease:
        if self.lease is None:
            message = "there is none"
            raise NotFound(message)
        return self.lease

    async def create(self, _: object, lease: Lease, **__: object) -> Lease:
        if self.lease is not None:
            message = "there is one"
            raise AlreadyExists(message)
        return self._put(lease.spec)

    async def merge_patch(
        self, _: object, __: str, patch: Mapping[str, Any], *, resource_version: str, **___: object
    ) -> Lease:
        before = await self.get()
        if before.metadata.resource_version != resource_version:
            message = "somebody else wrote"
            raise Conflict(message)
        return self._put(msgspec.convert({**msgspec.to_builtins(before.spec), **patch["spec"]}, LeaseSpec))

    def _put(self, spec: LeaseSpec) -> Lease:
        self.version += 1
        self.lease = Lease(metadata=Metadata(name=NAME, resource_version=str(self.version)), spec=spec)
        return self.lease


@dataclass
class Slow:
    """A client whose requests take their time, and whose answers may be lost: done, and not told."""

    client: Any
    delay: Callable[[], tuple[float, float]] = lambda: (0.0, 0.0)
    """Seconds there and back."""
    lost: Callable[[], bool] = lambda: False
    cut: bool = False
    """Nothing goes through any more."""

    async def get(self, *args: object, timeout_s: float, **kwargs: object) -> Lease:
        return await self._call(partial(self.client.get, *args, timeout_s=timeout_s, **kwargs), timeout_s)

    async def create(self, *args: object, timeout_s: float, **kwargs: object) -> Lease:
        return await self._call(partial(self.client.create, *args, timeout_s=timeout_s, **kwargs), timeout_s)

    async def merge_patch(self, *args: object, timeout_s: float, **kwargs: object) -> Lease:
        return await self._call(partial(self.client.merge_patch, *args, timeout_s=timeout_s, **kwargs), timeout_s)

    async def _call(self, call: Callable[[], Awaitable[Lease]], timeout_s: float) -> Lease:
        if self.cut:
            message = "the process is gone"
            raise Unavailable(message)
        there, back = self.delay()
        doing = asyncio.create_task(self._do(there, call))
        doing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(timeout_s):
                done = await asyncio.shield(doing)  # the server goes on with what was given up
                await asyncio.sleep(back)
        except TimeoutError:
            message = "no answer in time"
            raise Unavailable(message) from None
        if self.lost():
            message = "the connection broke"
            raise Unavailable(message)
        return done

    async def _do(self, there: float, call: Callable[[], Awaitable[Lease]]) -> Lease:
        await asyncio.sleep(there)
        return await call()


@dataclass
class Running:
    task: asyncio.Task[Never]
    line: Slow

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def die(self) -> None:
        """As the kernel does it: no last words."""
        self.line.cut = True
        await self.stop()


def start(
    client: Store | Slow, who: str, log: Log, *, skew_s: float = 0.0, seed: int = 0, ends_s: float = 0.0
) -> Running:
    async def work(term: Term) -> Never:
        span = [who, clock(), None]
        log.spans.append(span)
        log.terms.append((who, term))
        try:
            await asyncio.Event().wait()
        finally:
            try:
                if ends_s:
                    await asyncio.sleep(ends_s)
            finally:
                span[2] = clock()
        raise AssertionError

    line = client if isinstance(client, Slow) else Slow(client)
    candidate = Candidate(
        line,
        namespace=WHERE,
        name=NAME,
        identity=who,
        wall=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=skew_s + clock()),
        chance=random.Random(seed),  # noqa: S311  repeatable jitter
        give_up=lambda: log.gave_up.append(who),
    )
    return Running(asyncio.create_task(candidate.run(work), name=who), line)
