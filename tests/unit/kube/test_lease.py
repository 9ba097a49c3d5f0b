"""Who leads: by the record as each has seen it change, never by a clock on a wall. Time is virtual."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Never

import looptime
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.kube.client import REQUEST_S, KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound, Unavailable
from tidegate.kube.lease import Candidate, Term, Timing
from tidegate.kube.resources import LEASES
from tidegate.kube.shapes import Lease, LeaseSpec, Metadata
from tidegate.testing.apiserver import ApiServerDouble

pytestmark = pytest.mark.looptime

NAME, WHERE = "tidegate-controller", "default"
T = Timing()


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

    async def get(self, *_: Any, **__: Any) -> Lease:
        if self.lease is None:
            message = "there is none"
            raise NotFound(message)
        return self.lease

    async def create(self, _: Any, lease: Lease, **__: Any) -> Lease:
        if self.lease is not None:
            message = "there is one"
            raise AlreadyExists(message)
        return self._put(lease.spec)

    async def merge_patch(self, _: Any, __: str, patch: Any, *, resource_version: str, **___: Any) -> Lease:
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
    delay: Any = lambda: (0.0, 0.0)
    lost: Any = lambda: False
    cut: bool = False
    """Nothing goes through any more."""

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        return await self._call(self.client.get, *args, **kwargs)

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        return await self._call(self.client.create, *args, **kwargs)

    async def merge_patch(self, *args: Any, **kwargs: Any) -> Any:
        return await self._call(self.client.merge_patch, *args, **kwargs)

    async def _call(self, call: Any, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
        if self.cut:
            message = "the process is gone"
            raise Unavailable(message)
        there, back = self.delay()
        doing = asyncio.create_task(self._do(there, call, args, kwargs))
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

    async def _do(self, there: float, call: Any, args: Any, kwargs: Any) -> Any:
        await asyncio.sleep(there)
        return await call(*args, **kwargs)


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


def start(client: Any, who: str, log: Log, *, skew_s: float = 0.0, seed: int = 0, ends_s: float = 0.0) -> Running:
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


@asynccontextmanager
async def server() -> AsyncIterator[tuple[ApiServerDouble, KubeClient]]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        yield api, client


def record(api: ApiServerDouble) -> dict[str, Any]:
    (lease,) = api.objects("coordination.k8s.io", "leases")
    spec: dict[str, Any] = lease["spec"]
    return spec


async def test_the_first_leads_at_once_and_is_settled() -> None:
    async with server() as (api, client):
        log = Log()
        one = start(client, "one", log)
        assert await log.until("one") < 0.5
        (_, term) = log.terms[0]
        assert term.settled_at == term.won_at
        said = record(api)
        assert (said["holderIdentity"], said["leaseDurationSeconds"], said["leaseTransitions"]) == ("one", 15, 0)
        assert said["renewTime"].endswith("Z")
        assert len(said["renewTime"]) == len("2026-01-01T00:00:00.000000Z")
        await one.stop()


async def test_it_leads_for_as_long_as_it_renews() -> None:
    async with server() as (api, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1)
        await log.until("one")
        await asyncio.sleep(300)
        assert (log.leaders(), len(log.spans)) == (["one"], 1)
        renewals = sum(seen.method == "PATCH" for seen in api.requests)
        assert 300 / T.retry_s <= renewals <= 300 / (0.75 * T.retry_s)
        await two.stop()
        await one.stop()


async def test_who_is_told_to_stop_hands_over() -> None:
    async with server() as (api, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1)
        await log.until("one")
        await asyncio.sleep(30)
        await one.stop()
        assert record(api)["holderIdentity"] == ""
        assert await log.until("two") <= T.retry_s
        _, term = log.terms[-1]
        assert (term.number, term.settled_at) == (1, term.won_at), "what the other one began was ended"
        assert record(api)["leaseTransitions"] == 1
        await two.stop()


async def test_who_dies_is_waited_for_and_so_is_what_it_began() -> None:
    async with server() as (api, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1)
        await log.until("one")
        await asyncio.sleep(30)
        await one.die()
        took = await log.until("two")
        assert T.lease_s - T.retry_s <= took <= T.lease_s + T.retry_s
        _, term = log.terms[-1]
        assert term.settled_at == term.won_at + T.lease_s + REQUEST_S
        await two.stop()
        said = record(api)
        assert (said["holderIdentity"], said["leaseDurationSeconds"]) == ("two", 1), "unsettled: others wait, not long"
        three = start(client, "three", log, seed=2)
        assert 1 <= await log.until("three") <= 1 + 2 * T.retry_s
        assert log.terms[-1][1].settled_at > log.terms[-1][1].won_at + T.lease_s
        await three.stop()


async def test_a_frozen_server_ends_the_work_before_another_may_begin() -> None:
    async with server() as (api, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1)
        await log.until("one")
        await asyncio.sleep(30)
        api.stall()
        assert T.renew_s - T.retry_s <= await log.until(None) <= T.renew_s
        await asyncio.sleep(60)
        assert log.leaders() == []
        api.resume()
        async with asyncio.timeout(T.lease_s + 2 * T.retry_s):
            while not log.leaders():  # noqa: ASYNC110  virtual time
                await asyncio.sleep(0.01)
        assert log.alone()
        assert log.terms[-1][1].settled_at > log.terms[-1][1].won_at
        await one.stop()
        await two.stop()


@pytest.mark.parametrize("skew_s", [-86_400.0, -20.0, 20.0, 86_400.0])
async def test_clocks_on_the_wall_do_not_matter(skew_s: float) -> None:
    async with server() as (_, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1, skew_s=skew_s)
        await log.until("one")
        await asyncio.sleep(100)
        assert (log.leaders(), len(log.spans)) == (["one"], 1)
        await one.stop()
        assert await log.until("two") <= T.retry_s
        await two.stop()


async def test_somebody_elses_write_costs_one_renewal() -> None:
    async with server() as (_, client):
        log = Log()
        one = start(client, "one", log)
        await log.until("one")
        for _ in range(5):
            await client.merge_patch(LEASES, NAME, {"metadata": {"labels": {"a": str(clock())}}}, namespace=WHERE)
            await asyncio.sleep(7)
        assert (log.leaders(), len(log.spans)) == (["one"], 1)
        await one.stop()


@pytest.mark.parametrize("how", ["taken", "emptied", "deleted"])
async def test_a_lease_that_is_gone_ends_the_work_at_the_next_renewal(how: str) -> None:
    async with server() as (_, client):
        log = Log()
        one = start(client, "one", log)
        await log.until("one")
        if how == "deleted":
            await client.delete(LEASES, NAME, namespace=WHERE)
        else:
            spec = {"holderIdentity": "somebody" if how == "taken" else ""}
            await client.merge_patch(LEASES, NAME, {"spec": spec}, namespace=WHERE)
        await asyncio.sleep(2 * T.retry_s + 0.1)
        assert log.spans[0][2] is not None
        assert await log.until("one") <= T.lease_s + T.retry_s, "it is a candidate again"
        await one.stop()


async def test_a_record_that_was_deleted_is_no_invitation() -> None:
    async with server() as (_, client):
        log = Log()
        one, two = start(client, "one", log), start(client, "two", log, seed=1)
        await log.until("one")
        await asyncio.sleep(5)
        await one.die()
        await client.delete(LEASES, NAME, namespace=WHERE)
        assert await log.until("two") >= T.lease_s, "nobody told it that the other one knows"
        await two.stop()


async def test_work_that_does_not_end_ends_the_process() -> None:
    async with server() as (api, client):
        log = Log()
        one = start(client, "one", log, ends_s=60.0)
        await log.until("one")
        api.stall()
        await asyncio.sleep(T.renew_s + T.last_s - 0.1 - T.retry_s)
        assert log.gave_up == []
        await asyncio.sleep(T.retry_s + 0.2)
        assert log.gave_up == ["one"], "before anybody else may begin"
        api.resume()
        await one.stop()


async def test_work_that_fails_is_told_and_the_lease_is_over_soon() -> None:
    async def work(_: Term) -> Never:
        await asyncio.sleep(1)
        message = "a fault"
        raise RuntimeError(message)

    async with server() as (api, client):
        candidate = Candidate(
            client, namespace=WHERE, name=NAME, identity="one", wall=lambda: datetime.now(UTC),
            chance=random.Random(0), give_up=lambda: None,  # noqa: S311
        )  # fmt: skip
        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a fault")):
            await candidate.run(work)
        assert (record(api)["holderIdentity"], record(api)["leaseDurationSeconds"]) == ("one", 1)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(2, 4), worst_s=st.sampled_from([0.5, 3.0, 12.0, 30.0]))
def test_two_never_lead_at_one_moment(seed: int, count: int, worst_s: float) -> None:
    """Delays, lost answers, broken connections, deaths, stops and clocks that are off."""
    chance = random.Random(seed)  # noqa: S311  repeatable

    async def story() -> Log:
        log, store = Log(), Memory()

        def slow() -> Slow:
            return Slow(
                store,
                delay=lambda: (chance.expovariate(5 / worst_s), chance.expovariate(5 / worst_s)),
                lost=lambda: chance.random() < 0.1,
            )

        running = [
            start(slow(), f"c{number}", log, seed=seed + number, skew_s=chance.uniform(-3600, 3600), ends_s=0.3)
            for number in range(count)
        ]
        for number in range(6):
            await asyncio.sleep(chance.uniform(0, 60))
            leading = [one for one in running if one.task.get_name() in log.leaders()]
            one = chance.choice(leading or running)
            if chance.random() < 0.5:
                one.line.cut = True
                await asyncio.sleep(chance.uniform(0, 40))
                one.line.cut = False
                continue
            running.remove(one)
            await (one.stop() if chance.random() < 0.5 else one.die())
            running.append(start(slow(), f"n{number}", log, seed=seed + 10 + number, ends_s=0.3))
        for one in running:
            await one.stop()
        await asyncio.sleep(1000)  # what the server was still asked to do
        return log

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        log = runner.run(story())
    assert log.alone(), log.spans
    assert log.gave_up == []
    assert worst_s > 3.0 or log.spans, "somebody led"
