"""The controller's own requests: each is paid for once, out of what pulls are granted from."""

import asyncio
from typing import Any

from controller.budget import Limits
from controller.granted import Cost
from controller.own import MOST_AHEAD, OwnRequests

HOST = "r.example"


def test_each_request_is_paid_for_once() -> None:
    sent = {HOST: 7}
    own = OwnRequests(lambda host: sent[host])
    assert own.unpaid(HOST) == 0  # what was before is past
    sent[HOST] += 3
    assert own.unpaid(HOST) == 3
    assert own.unpaid(HOST) == 0


def test_what_was_paid_before_it_was_sent_is_not_paid_again() -> None:
    sent = {HOST: 0}
    own = OwnRequests(lambda host: sent[host])
    sent[HOST] = 1
    own.pay(HOST, 2)
    sent[HOST] += 5
    assert own.unpaid(HOST) == 3
    sent[HOST] += 1
    assert own.unpaid(HOST) == 1


def test_what_was_paid_and_never_sent_does_not_pay_for_all_that_follows() -> None:
    sent = {HOST: 0}
    own = OwnRequests(lambda host: sent[host])
    for _ in range(1000):  # as for looks that memory answered
        own.pay(HOST, 16)
    sent[HOST] += 1000
    assert own.unpaid(HOST) == 1000 - MOST_AHEAD


def test_a_client_that_was_opened_anew_counts_from_there() -> None:
    sent = {HOST: 40}
    own = OwnRequests(lambda host: sent[host])
    own.unpaid(HOST)
    sent[HOST] = 2
    assert own.unpaid(HOST) == 0
    sent[HOST] = 3
    assert own.unpaid(HOST) == 1


async def test_what_it_asks_itself_delays_the_next_grant(cluster: Any, eventually: Any) -> None:
    cluster.costs.default = Cost(requests=10, bytes=1)
    for number in range(2):
        cluster.node(f"node-{number}")
    limits = Limits(in_flight=2, rate=50.0, burst=10)
    began = asyncio.get_running_loop().time()
    async with cluster.controlled(limits):
        cluster.prepull("heavy", "registry.test/app@sha256:" + "a" * 64)
        await eventually(lambda: cluster.warm() >= 1)
        cluster.costs.own += 40  # as for an image of forty layers that somebody waits for
        await eventually(lambda: cluster.warm() == 2)
    assert asyncio.get_running_loop().time() - began >= 40 / 50


async def test_sizes_that_nobody_waits_for_let_pulls_go_first(cluster: Any, eventually: Any) -> None:
    """After a start every workload's images are weighed: a node that wants something does not wait for all of them."""
    cluster.costs.default = Cost(requests=10, bytes=1)
    cluster.node("node-1")
    for number in range(100):
        image = f"registry.test/silent-{number}@sha256:{number:064d}"
        cluster.deployment(f"silent-{number}", image, annotations={"says": "nothing"})
    began = asyncio.get_running_loop().time()
    async with cluster.controlled(Limits(in_flight=1, rate=40.0, burst=10)):
        cluster.prepull("wanted", "registry.test/app@sha256:" + "a" * 64)
        await eventually(lambda: cluster.warm() == 1)
    assert asyncio.get_running_loop().time() - began < 2.5, "all sizes together take five seconds of the budget"
