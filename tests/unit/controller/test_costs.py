"""Costs are asked for once, kindly, and again when it did not work."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import cast

import pytest

from controller.budget import Budget, Limits
from controller.costs import ASKED, GUESS, Costs, FromManifests
from controller.granted import Cost
from tidegate.completeness import Checker, PullCost
from tidegate.findings import Finding
from tidegate.reference import Digest, ImageReference
from tidegate.registry.auth.tenants import NOBODY
from tidegate.registry.errors import NotFound, RegistryError, Throttled, Unauthorized, Unreachable

pytestmark = pytest.mark.looptime  # pauses cost no time here

A = "registry.test/a:1"


@dataclass
class Asked:
    prices: list[tuple[str, Cost]] = field(default_factory=list)
    requests: int = 0
    unknown: list[tuple[str, Finding]] = field(default_factory=list)
    throttles: list[tuple[str, float | None]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    budget: Budget | None = None

    def priced(self, image: str, cost: Cost) -> None:
        self.prices.append((image, cost))
        self.told.set()

    def wait_to_find(self, image: str, requests: int) -> float:
        assert image.startswith("registry.test/")
        return self.budget.wait_to_ask(requests, asyncio.get_running_loop().time()) if self.budget else 0.0

    def asking(self, host: str, requests: int) -> None:
        assert host == "registry.test"
        self.requests += requests
        if self.budget:
            self.budget.charge(requests, asyncio.get_running_loop().time())

    def unpriced(self, image: str, finding: Finding) -> None:
        self.unknown.append((image, finding))

    def throttled(self, host: str, retry_after_s: float | None) -> None:
        self.throttles.append((host, retry_after_s))
        self.told.set()


@dataclass
class Source:
    errors: list[Exception] = field(default_factory=list)
    asked: int = 0

    async def cost(self, image: str) -> Cost:
        ImageReference.parse(image)
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return Cost(15, 1000)


async def found(source: Source, *, image: str = A, wanted: bool = True, told: bool = True, after_s: float = 0) -> Asked:
    asked = Asked()
    costs = Costs(source, asked=asked, wanted=lambda _: wanted, chance=random.Random(0))  # noqa: S311
    task = asyncio.create_task(costs.run())
    costs.find(image)
    costs.find(image)
    if told:
        await asyncio.wait_for(asked.told.wait(), 5)
        await asyncio.sleep(after_s)
    else:
        for _ in range(20):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return asked


async def test_it_is_asked_once_and_charged_for() -> None:
    source = Source()
    asked = await found(source)
    assert (asked.prices, source.asked, asked.requests) == ([(A, Cost(15, 1000))], 1, 2)


async def test_nobody_asks_for_what_nobody_wants() -> None:
    source = Source()
    asked = await found(source, wanted=False, told=False)
    assert (asked.prices, source.asked) == ([], 0)


async def test_where_only_nodes_may_read_a_guess_stands_in_until_we_may() -> None:
    asked = await found(Source([Unauthorized("no", replica="a")] * 3), after_s=30)
    assert asked.prices == [*[(A, GUESS)] * 3, (A, Cost(15, 1000))]


async def test_a_guess_stands_in_whatever_was_answered_before() -> None:
    asked = await found(Source([NotFound("x", replica="a"), Unauthorized("no", replica="a")]), after_s=30)
    assert asked.prices == [(A, GUESS), (A, Cost(15, 1000))]


async def test_who_is_refused_all_day_is_asked_ever_more_seldom() -> None:
    source = Source([Unauthorized("no", replica="a")] * 1000)
    asked = await found(source, after_s=86400)
    assert set(asked.prices) == {(A, GUESS)}
    assert source.asked < 70


async def test_a_throttle_is_told_to_the_budget() -> None:
    asked = await found(Source([Throttled("429", replica="a", retry_after_s=7.0)] * 2))
    assert (asked.prices, asked.throttles) == ([], [("registry.test", 7.0)])


@pytest.mark.parametrize("error", [NotFound("x", replica="a"), Unreachable("x", replica="a", step="dns")])
async def test_what_cannot_be_known_yet_is_asked_again(error: RegistryError) -> None:
    source = Source([error])
    asked = await found(source)
    assert (asked.prices, source.asked) == ([(A, Cost(15, 1000))], 2)


async def test_what_is_no_reference_is_let_go() -> None:
    asked = await found(Source(), image="registry.test/NO:1", told=False)
    assert asked.prices == []


async def test_what_is_asked_keeps_to_the_budget_of_the_registry() -> None:
    clock = asyncio.get_running_loop().time
    asked = Asked(budget=Budget(Limits(in_flight=1, rate=20.0, burst=10), now=clock()))
    source = Source()
    costs = Costs(source, asked=asked, wanted=lambda _: True, chance=random.Random(0))  # noqa: S311
    task = asyncio.create_task(costs.run())
    began = clock()
    for number in range(64):
        costs.find(f"registry.test/app-{number}:1")
    while len(asked.prices) < 64:
        elapsed = clock() - began
        assert source.asked * ASKED <= 10 + 20 * elapsed + 1e-3
        await asyncio.sleep(0.01)
    assert clock() - began == pytest.approx((64 * ASKED - 10) / 20, abs=0.2)
    task.cancel()
    await asyncio.wait([task])


async def test_nothing_is_asked_in_a_pause_that_pulls_brought_about() -> None:
    clock = asyncio.get_running_loop().time
    budget = Budget(Limits(in_flight=1, rate=20.0, burst=10), now=clock())
    budget.throttled(clock(), retry_after_s=30)
    asked, source = Asked(budget=budget), Source()
    costs = Costs(source, asked=asked, wanted=lambda _: True, chance=random.Random(0))  # noqa: S311
    task = asyncio.create_task(costs.run())
    costs.find(A)
    await asyncio.sleep(29)
    assert source.asked == 0
    await asyncio.wait_for(asked.told.wait(), 30)
    assert source.asked == 1
    task.cancel()
    await asyncio.wait([task])


@dataclass
class Local:
    """A replica, a registry that has it alone, and a checker of that registry, as far as they are asked here."""

    asked: list[object] = field(default_factory=list)

    @property
    def registries(self) -> dict[str, "Local"]:
        return {"registry.test": self}

    @property
    def local(self) -> tuple["Local", ...]:
        return (self,)

    async def pull_cost(self, reference: ImageReference, *, deadline: float, tenant: object) -> PullCost:
        assert tenant is NOBODY
        assert (reference.path, deadline > asyncio.get_running_loop().time()) == ("a", True)
        return PullCost(3, 10, frozenset({Digest("sha256:1")}))

    async def has_manifest(self, repository: str, reference: str) -> None:
        self.asked.append((repository, reference))

    def pause(self, seconds: float) -> None:
        self.asked.append(seconds)


async def test_manifests_are_asked_of_the_replica_that_nodes_pull_from() -> None:
    local, digest = Local(), "sha256:" + "a" * 64
    manifests = FromManifests(cast("Checker", local))
    assert await manifests.cost(A) == Cost(3, 10, frozenset({"sha256:1"}))
    await manifests.look(A)
    await manifests.look(f"registry.test/team/b@{digest}")
    manifests.leave_alone("registry.test", 5.0)
    assert local.asked == [("a", "1"), ("team/b", digest), 5.0]
