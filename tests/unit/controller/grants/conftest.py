"""Grants with budgets of their own, told in short what agents say."""

import random
from collections.abc import Callable, Collection
from itertools import count
from typing import Any

import pytest

from controller.budget import Budget, Limits
from controller.granted import Cost
from controller.grants import Grants
from controller.plan import Want, host_of
from tidegate.kube.own import NodeImageStatus, Phase

HOSTS = ("registry.test", "other.test")
WIDE = Limits(in_flight=100, rate=1000.0, burst=1000)


def wants(image: str, place: int = 0, priority: int = 0) -> Want:
    return Want(image, host_of(image), (-priority, "2026", "default/x", place))


class Bench:
    """Grants with everything known and every agent there, unless a test says otherwise."""

    def __init__(self, limits: Limits = WIDE, *, per_node: int = 1, mirrored: Collection[str] = ()) -> None:
        serial = count(1)
        self.budgets = {host: Budget(limits, now=0.0) for host in HOSTS}
        chance = random.Random(0)  # noqa: S311  repeatable jitter
        self.grants = Grants(
            self.budgets, per_node=per_node, new_id=lambda: f"g{next(serial)}", chance=chance, mirrored=mirrored
        )

    def nodes(self, *names: str, wants: list[Want], now: float = 0.0, cost: int = 1) -> None:
        for name in names:
            self.grants.set_wants(name, wants, now)
            self.grants.set_agent(name, now, reports=True)
            for one in wants:
                self.say(name, one.image, now=now)
        for one in wants:
            self.grants.set_cost(one.image, Cost(requests=cost, bytes=0), now)

    def say(self, node: str, image: str, phase: Phase = Phase.PENDING, *, now: float = 0.0, **more: Any) -> None:
        started = None if phase is Phase.PENDING else "2026-01-01T00:00:00Z"
        status = NodeImageStatus(image=image, phase=phase, **{"started_at": started, **more})
        self.grants.observe(node, image, status, now)

    def settle(self, now: float = 0.0) -> list[tuple[str, str]]:
        return [(granted.node, granted.image) for granted in self.grants.settle(now)]

    def results(self) -> list[str]:
        return [ended.result for ended in self.grants.take_ended()]


@pytest.fixture
def make() -> Callable[..., Bench]:
    return Bench


@pytest.fixture
def want() -> Callable[..., Want]:
    return wants
