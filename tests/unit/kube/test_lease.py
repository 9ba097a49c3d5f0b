"""Who leads: by the record as each has seen it change, never by a clock on a wall. Time is virtual."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Never

import pytest

from tidegate.kube.client import REQUEST_S, KubeClient
from tidegate.kube.lease import Candidate, Term, Timing
from tidegate.kube.resources import LEASES
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.candidates import NAME, WHERE, Log, clock, start

pytestmark = pytest.mark.looptime

T = Timing()


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
