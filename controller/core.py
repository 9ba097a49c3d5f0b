"""The controller's heart: every change of the cluster goes in, grants and objects come out.

All of it runs in one thread and without waiting; what has to wait (the API server, registries) is done by work queues.
Changes that come together are settled together, at once; without changes, at the next moment at which a budget has
something to give. Nothing polls.
"""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Never

import structlog

from controller.adopt import outstanding
from controller.books import Books
from controller.budget import Budget, Limits
from controller.costs import Costs, PullCosts
from controller.derive import Derived, MalformedObject, asks_alike, controller_of, derive, is_derived, name_for
from controller.granted import START_S, THROTTLED, Cost
from controller.grants import Grants
from controller.heavy import Heavy
from controller.images.checks import LOOK
from controller.mirror import Mirror
from controller.nodepulls import NodePulls, desired
from controller.nodes.standing import Standing
from controller.own import OwnRequests
from controller.pauses import Pauses
from controller.placement import Demands, facts, fits
from controller.plan import Ask, Plan, host_of
from controller.prepulls import STATUS_S, PrePulls
from controller.workqueue import WorkQueue
from tidegate.findings import FAILURES, Finding
from tidegate.kube.client import KubeClient
from tidegate.kube.own import NodeImageStatus, NodePull, NodePullSpec, Phase, PrePull
from tidegate.kube.reflector import OnChange, Reflector
from tidegate.kube.resources import JOBS, Resource
from tidegate.kube.shapes import Node, Workload
from tidegate.kube.times import milli_time
from tidegate.metrics import Metrics

log = structlog.get_logger()

_NODEPULL_WRITERS = 16
"""NodePulls written at once: twelve new nodes hear of their images within one round trip."""
_PREPULL_WRITERS = 4
_LOOK_AGAIN_S = 0.5
_FIND_AGAIN_S = 2.0
_PORTION = 100
"""Nodes whose changed wants are taken in before others are heard: one ask may be of thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the configuration file the pre-puller needs. `limits`: by registry host."""

    limits: Mapping[str, Limits]
    per_node: int = 1
    heavy_bytes: int = 2**30
    """Larger images of workloads that say nothing are pulled too."""
    mirrored: frozenset[str] = frozenset()
    """Registries, by host, behind a peer-to-peer mirror on the nodes."""
    platforms: tuple[str, ...] = ()
    """Of the nodes that images are for; empty: of any."""
    status_s: float = STATUS_S
    """The status of one PrePull is written at most once in this time, however many nodes finish."""


class Controller:
    """Call `start` once the mirror is synced, and run what `loops` names."""

    def __init__(
        self,
        client: KubeClient,
        mirror: Mirror,
        *,
        settings: Settings,
        costs: PullCosts,
        metrics: Metrics,
        wall: Callable[[], datetime],
        new_id: Callable[[], str],
        chance: random.Random,
        settled_at: float = -math.inf,
    ) -> None:
        """`settled_at`: before that moment of the loop's clock an earlier leader's grants may still come to be."""
        self._mirror = mirror
        self._settings = settings
        self._books = Books(metrics)
        self._wall = wall
        self._clock = asyncio.get_running_loop().time
        self._budgets = {
            host: Budget(limits, now=self._clock(), opens_at=settled_at) for host, limits in settings.limits.items()
        }
        self._grants = Grants(
            self._budgets, per_node=settings.per_node, new_id=new_id, chance=chance, mirrored=settings.mirrored
        )
        self._plan = Plan(listed=settings.limits.keys(), platforms=settings.platforms)
        self._derived: dict[str, Derived] = {}
        self._unasked: set[str] = set()
        """Of those, the ones whose PrePull is still to come."""
        self._heavy = Heavy(settings.heavy_bytes)
        self._costs = Costs(costs, asked=self, wanted=self._is_cost_wanted, chance=chance)
        self._own = OwnRequests(costs.sent)
        self._pauses = Pauses(costs, paused=self, chance=chance)
        self._nodepulls = NodePulls(client, wanted=self, observed=mirror.nodepulls.objects)
        prepulls = PrePulls(
            client, wanted=self._derived, observed=mirror.prepulls.objects, progress=self._plan.progress, wall=wall
        )
        self._specs = WorkQueue("nodepulls", self._nodepulls.write, workers=_NODEPULL_WRITERS, chance=chance)
        self._keeps = WorkQueue("prepulls", prepulls.keep, workers=_PREPULL_WRITERS, chance=chance)
        self._reports = WorkQueue("statuses", prepulls.report, workers=_PREPULL_WRITERS, chance=chance)
        self._touched: set[str] = set()
        self._happened = asyncio.Event()
        self.started = asyncio.Event()
        """Everything that is there has been taken in."""

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "settle": self._settling,
            "costs": self._costs.run,
            "pauses": self._pauses.run,
            "write NodePulls": self._specs.run,
            "keep PrePulls": self._keeps.run,
            "report on PrePulls": self._reports.run,
        }

    def start(self) -> None:
        """Take in all that is there, and every change from now on."""
        self._take_over()
        for reflector, take in self._takes():
            for key, value in reflector.objects.items():
                take(key, None, value)
            reflector.subscribe(take)
        self.started.set()

    def _take_over(self) -> None:
        """Take in what was granted before this began."""
        nodepulls, now = self._mirror.nodepulls.objects, self._clock()
        before = outstanding(nodepulls.values(), hosts=self._budgets.keys(), wall=self._wall(), now=now)
        for host in before.drained:
            self._budgets[host].drain(now)
        for granted in before.live:
            self._grants.adopt(granted)
            node = self._mirror.nodes.objects.get(granted.node)
            if node is None or node.metadata.uid != nodepulls[granted.node].spec.node_uid:
                self._grants.forget_node(granted.node, now)

    # What the writers of objects ask

    def node_uid(self, name: str) -> str | None:
        node = self._plan.node(name)
        return node.uid if node is not None else None

    def desired(self, name: str) -> NodePullSpec:
        return desired(self.node_uid(name) or "", self._plan.wants(name), self._grants.live(name), self._grants.cost)

    # What those ask who let nodes begin

    def standing(self, name: str) -> Standing | None:
        """How a node stands; None when there is none."""
        node = self._plan.node(name)
        if node is None:
            return None
        wanted, present = self._plan.counts(name)
        return Standing(
            uid=node.uid, usable=node.usable, wanted=wanted, present=present,
            decided=not any(fits(one.demands, node, platforms=self._settings.platforms) for one in self._undecided()),
        )  # fmt: skip

    def _undecided(self) -> Iterator[Derived]:
        """Workloads that will ask, or may, and do not yet."""
        yield from (self._derived[key] for key in self._unasked)
        yield from self._heavy.undecided()

    # What is told about registries

    def priced(self, image: str, cost: Cost) -> None:
        log.info("cost.known", image=image, requests=cost.requests, bytes=cost.bytes)
        self._grants.set_cost(image, cost, self._clock())
        if cost.platforms:
            self._plan.put_platforms(image, cost.platforms)
        self._weigh(image, cost)

    def unpriced(self, image: str, finding: Finding) -> None:
        if finding is Finding.UNSUPPORTED:  # schema 1, or nothing for this cluster: no node could pull it
            self._plan.put_platforms(image, frozenset())
        if finding not in FAILURES:
            self._weigh(image, None)

    def _is_cost_wanted(self, image: str) -> bool:
        return self._grants.is_wanted(image) or self._heavy.is_wanted(image)

    def _weigh(self, image: str, cost: Cost | None) -> None:
        for key in self._heavy.price(image, cost):
            self._wish(key, self._heavy.asks(key))
        self._happened.set()

    def wait_to_ask(self, host: str, requests: int) -> float:
        return self._budgets[host].wait_to_ask(requests, self._clock())

    def wait_to_find(self, image: str, requests: int) -> float:
        host = host_of(image)
        if self._grants.waits(host) and not self._grants.is_wanted(image):
            return _FIND_AGAIN_S  # only its size is asked for, and pulls go first
        return self.wait_to_ask(host, requests)

    def asking(self, host: str, requests: int) -> None:
        self._own.pay(host, requests)
        self._budgets[host].charge(requests, self._clock())

    def room_s(self, host: str) -> float:
        """Seconds until a look that nobody waits for takes nothing from pulls, or may ask again whether it does."""
        return _LOOK_AGAIN_S if self._grants.waits(host) else self.wait_to_ask(host, LOOK)

    def pause(self, host: str, seconds: float) -> None:
        self._budgets[host].pause(seconds, self._clock())
        self._happened.set()

    def paused_s(self, host: str) -> float:
        return self._budgets[host].paused_s(self._clock())

    def throttled(self, host: str, retry_after_s: float | None) -> None:
        self._budgets[host].throttled(self._clock(), retry_after_s=retry_after_s)
        self._happened.set()

    # What is told about the cluster

    def _takes(self) -> Iterator[tuple[Reflector[Any], OnChange[Any]]]:
        """Nodes first: what comes later is placed on them."""
        yield self._mirror.nodes, self._take_node
        for resource, reflector in self._mirror.workloads.items():
            yield reflector, partial(self._take_workload, resource)
        yield self._mirror.prepulls, self._take_prepull
        yield self._mirror.nodepulls, self._take_nodepull

    def _take_node(self, name: str, _: Node | None, new: Node | None) -> None:
        self._plan.put_node(name, facts(new) if new is not None else None)
        if new is None:
            self._grants.forget_node(name, self._clock())
        self._happened.set()

    def _take_nodepull(self, name: str, _: NodePull | None, _new: NodePull | None) -> None:
        self._nodepulls.seen(name)
        self._observe(name)
        self._touched.add(name)
        self._happened.set()

    def _take_prepull(self, key: str, old: PrePull | None, new: PrePull | None) -> None:
        self._ask(key)
        if key in self._derived or any(prepull is not None and is_derived(prepull) for prepull in (old, new)):
            self._keeps.add(key)
        self._reports.add_later(key, self._settings.status_s)
        self._happened.set()

    def _take_workload(self, resource: Resource[Workload], _: str, old: Workload | None, new: Workload | None) -> None:
        workload = new or old
        if workload is None:
            return
        if resource is not JOBS and old is not None and new is not None and asks_alike(old, new):
            return
        derived = self._derive(resource, new)
        key = f"{workload.metadata.namespace}/{name_for(resource.kind, workload.metadata.name)}"
        silent = derived if derived is not None and derived.silent else None
        self._heavy.put(key, silent)
        self._wish(key, derived if silent is None else self._heavy.asks(key))
        self._happened.set()

    def _wish(self, key: str, derived: Derived | None) -> None:
        """What a workload asks for is this now."""
        if derived == self._derived.get(key):
            return
        if derived is None:
            del self._derived[key]
        else:
            self._derived[key] = derived
        self._keeps.add(key)
        self._ask(key)
        self._happened.set()

    def _derive(self, resource: Resource[Workload], workload: Workload | None) -> Derived | None:
        if workload is None:
            return None
        try:
            return derive(resource, workload, listed=self._budgets.keys())
        except (MalformedObject, ValueError) as exc:
            metadata = workload.metadata
            log.warning(
                "workload.unreadable", kind=resource.kind, namespace=metadata.namespace, name=metadata.name,
                error=str(exc)[:256],
            )  # fmt: skip
            return None

    # What follows

    def _ask(self, key: str) -> None:
        self._put_ask(key)
        waits = key in self._derived and not self._plan.asks(key)
        (self._unasked.add if waits else self._unasked.discard)(key)

    def _put_ask(self, key: str) -> None:
        """What a PrePull asks for, on the nodes where its workload's pods could run if it has one."""
        prepull = self._mirror.prepulls.objects.get(key)
        if prepull is None or prepull.metadata.deletion_timestamp is not None:
            self._plan.put_ask(key, None)
            return
        spec, metadata, derived, owner = prepull.spec, prepull.metadata, self._derived.get(key), controller_of(prepull)
        demands = Demands(node_selector=spec.node_selector, tolerations=tuple(spec.tolerations))
        if derived is not None and owner is not None and owner.uid == derived.owner.uid:
            demands = derived.demands
        created = metadata.creation_timestamp or ""
        self._plan.put_ask(key, Ask(tuple(dict.fromkeys(spec.images)), demands, spec.priority, created))

    def _observe(self, name: str) -> None:
        """What the agent on a node says, if it is this node's agent."""
        node, nodepull = self._plan.node(name), self._mirror.nodepulls.objects.get(name)
        if node is None:
            return
        now, said = self._clock(), dict[str, NodeImageStatus]()
        if nodepull is not None and nodepull.spec.node_uid == node.uid:
            self._adopt(nodepull, now)
        reports = nodepull is not None and bool(nodepull.status.agent) and nodepull.status.node_uid == node.uid
        if nodepull is not None and reports:
            said = {entry.image: entry for entry in nodepull.status.images}
        self._grants.set_agent(name, now, reports=reports)
        for image in self._grants.images(name):
            self._grants.observe(name, image, said.get(image), now)
        self._plan.put_present(name, [image for image, entry in said.items() if entry.phase is Phase.PRESENT])

    def _adopt(self, nodepull: NodePull, now: float) -> None:
        """Take over grants that another controller wrote: nobody gains when two take back each other's."""
        if all(image.grant is None or self._grants.knows(image.grant.id) for image in nodepull.spec.images):
            return
        theirs = outstanding((nodepull,), hosts=self._budgets.keys(), wall=self._wall(), now=now).live
        for granted in theirs:
            if not self._grants.knows(granted.id):
                log.warning("grant.not_ours", grant=granted.id, node=granted.node, image=granted.image)
                self._grants.adopt(granted)

    async def _settling(self) -> Never:
        """Settle whenever something happened, or a budget has something to give, or a grant ends by itself."""
        while True:
            self._happened.clear()
            self._settle(self._clock())
            while self._plan.has_changed_nodes:
                await asyncio.sleep(0)
                self._settle(self._clock())
            at = self._grants.next_at(self._clock())
            try:
                async with asyncio.timeout_at(None if at == math.inf else at):
                    await self._happened.wait()
            except TimeoutError:
                pass

    def _price(self) -> None:
        for image in self._grants.take_unpriced():
            if (known := self._heavy.cost(image)) is not None:
                self.priced(image, known)
            else:
                self._costs.find(image, urgent=True)
        for image in self._heavy.take_unknown():
            self._costs.find(image)

    def _settle(self, now: float) -> None:
        """What all that has happened comes to."""
        for host, budget in self._budgets.items():
            budget.charge(self._own.unpaid(host), now)
        for name in self._plan.take_changed_nodes(_PORTION):
            if self._plan.node(name) is not None:
                self._grants.set_wants(name, self._plan.wants(name), now)
                self._observe(name)
                self._touched.add(name)
        self._price()
        for granted in self._grants.settle(now):
            granted.expires_at = milli_time(self._wall() + timedelta(seconds=START_S))
            self._books.granted(granted)
            self._specs.add(granted.node, urgent=True)
        for ended in self._grants.take_ended():
            self._books.ended(ended)
            if ended.result == THROTTLED:
                self._pauses.throttled(ended.granted.image, ended.retry_after_s)
            self._touched.add(ended.granted.node)
        for name in self._touched:
            self._specs.add(name)
        self._touched.clear()
        for key in self._plan.take_changed_asks():
            self._reports.add_later(key, self._settings.status_s)
        self._books.budgets(self._budgets)
