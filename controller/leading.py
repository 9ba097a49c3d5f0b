"""What a leader does: the rooms, and how they are furnished. To add one, write its line in `rooms`.

A room is built from the `Desk`, is started once the copies that it reads are whole, and runs until the leader's work
ends. It keeps nothing that the next leader could not find in the API server.
"""

import asyncio
import random
import secrets
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Never

import structlog

from controller.budget import Limits
from controller.copies import Copies
from controller.core import Controller, Settings
from controller.costs import FromManifests
from controller.events.matching import Names
from controller.events.reader import Hurries, Reader, Receivers
from controller.holding.holds import Holds
from controller.holding.judge import Rules
from controller.holding.reports import Reports
from controller.images.images import Images, Sources
from controller.keys import KEY_BYTES, DecisionKeys
from controller.modes import Modes
from controller.nodes.startup import Startup, StartupSettings
from controller.owners.mirror import OwnerMirror
from controller.owners.wakes import Wakes
from controller.policies import Policies
from controller.pullsecrets.owners import Owners
from controller.warm.warming import Settings as WarmingSettings
from controller.warm.warming import Warming
from controller.webhooks import Webhooks
from tidegate.admission import excluded, policies, webhook_configurations
from tidegate.completeness import Checker
from tidegate.config import Config
from tidegate.config.policy import compile_policy
from tidegate.config.workloads import places_of
from tidegate.kube.client import KubeClient
from tidegate.metrics import Metrics
from tidegate.process.roots import forever
from tidegate.workload import PRESETS

log = structlog.get_logger()

Loops = Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]


def now() -> datetime:
    """The time of day, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What rooms are furnished with."""

    config: Config
    client: KubeClient
    copies: Copies
    checker: Checker
    metrics: Metrics
    namespace: str
    """tidegate's own."""
    settled_at: float
    """Before that moment of the loop's clock, what an earlier leader began may still come to be."""
    receivers: Receivers | None = None
    """Of registries' events."""
    wall: Callable[[], datetime] = now
    chance: random.Random = field(default_factory=random.SystemRandom)


async def _at_once() -> None:
    """For rooms that read no copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One part of the work. `start` returns at once; `loops` run for ever, each with its name."""

    loops: Callable[[], Loops]
    start: Callable[[], None] = lambda: None
    after: Callable[[], Awaitable[object]] = _at_once
    """Returns when the copies that it reads are whole."""


def rooms(desk: Desk) -> list[Room]:
    """All that a leader does."""
    copies = desk.copies
    keys, pulls, sources = _keys(desk), _pulls(desk), _sources(copies)
    images = _images(desk, sources, pulls)
    owners = OwnerMirror(copies.holds.replicasets, copies.pulls.workloads)
    startup = _startup(desk, pulls)
    kept, asked, modes = _policies(desk), _webhooks(desk), _modes(desk)
    holds, wakes = _holds(desk, owners, images), _wakes(desk, owners)
    warming = _warming(desk, owners)
    return [
        Room(loops=keys.loops),
        Room(loops=kept.loops),
        Room(loops=asked.loops),
        Room(loops=modes.loops, start=modes.start, after=copies.holds.synced),
        Room(loops=pulls.loops, start=pulls.start, after=copies.pulls.synced),
        Room(loops=startup.loops, start=startup.start, after=pulls.started.wait),
        Room(loops=images.loops, start=images.start, after=sources.synced),
        Room(loops=holds.loops, start=holds.start, after=copies.synced),
        Room(loops=wakes.loops, start=wakes.start, after=copies.synced),
        Room(loops=warming.loops, start=warming.start, after=copies.synced),
        *_events(desk, holds, images),
    ]


async def lead(desk: Desk, furnish: Callable[[Desk], Iterable[Room]] = rooms) -> Never:
    """Do all of it, until cancelled."""
    with desk.copies.told_while():
        async with asyncio.TaskGroup() as tasks:
            for room in furnish(desk):
                tasks.create_task(_open(room, tasks))
            await asyncio.Event().wait()
    raise AssertionError  # nothing sets that event


async def _open(room: Room, tasks: asyncio.TaskGroup) -> None:
    await room.after()
    room.start()
    for name, loop in room.loops().items():
        tasks.create_task(forever(name, loop()), name=name)


def _keys(desk: Desk) -> DecisionKeys:
    return DecisionKeys(
        desk.client,
        namespace=desk.namespace,
        wall=desk.wall,
        fresh=partial(secrets.token_bytes, KEY_BYTES),
        chance=desk.chance,
    )


def _policies(desk: Desk) -> Policies:
    rules = rules_of(desk.config)
    return Policies(desk.client, policies(rules.policy, rules.hosts, own=desk.namespace), chance=desk.chance)


def _webhooks(desk: Desk) -> Webhooks:
    unlabelled = compile_policy(desk.config.policy).base.mode
    custom = {**PRESETS, **places_of(desk.config.workloads)}
    wanted = webhook_configurations(unlabelled, own=desk.namespace, authority="", custom=custom)
    return Webhooks(desk.client, wanted, chance=desk.chance)


def _modes(desk: Desk) -> Modes:
    return Modes(
        desk.client,
        namespaces=desk.copies.holds.namespaces,
        policy=compile_policy(desk.config.policy),
        alone=excluded(desk.namespace),
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _pulls(desk: Desk) -> Controller:
    return Controller(
        desk.client,
        desk.copies.pulls,
        settings=settings_of(desk.config),
        costs=FromManifests(desk.checker, tenants=_owners(desk).tenants),
        metrics=desk.metrics,
        wall=desk.wall,
        new_id=lambda: uuid.uuid4().hex,
        chance=desk.chance,
        settled_at=desk.settled_at,
    )


def _owners(desk: Desk) -> Owners:
    return Owners(desk.copies.pulls, tenant=desk.copies.pull_secrets.tenant, config=lambda: desk.config)


def _startup(desk: Desk, pulls: Controller) -> Startup:
    chosen = desk.config.pre_pull
    return Startup(
        desk.client,
        nodes=desk.copies.pulls.nodes,
        nodepulls=desk.copies.pulls.nodepulls,
        standing=pulls.standing,
        settings=StartupSettings(
            taint=chosen.startup_taint, condition=chosen.node_condition, deadline_s=chosen.deadline
        ),
        reports=_reports(desk),
        metrics=desk.metrics,
        wall=desk.wall,
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _reports(desk: Desk) -> Reports:
    return Reports(desk.client, instance=socket.gethostname()[:128], wall=desk.wall, chance=desk.chance)


def _sources(copies: Copies) -> Sources:
    return Sources(
        placed=copies.images.placed,
        pending=copies.holds.pods,
        workloads=copies.pulls.workloads,
        prepulls=copies.pulls.prepulls,
        availabilities=copies.holds.availabilities,
    )


def _images(desk: Desk, sources: Sources, pulls: Controller) -> Images:
    return Images(
        desk.client,
        sources,
        surveyor=desk.checker,
        registries=desk.checker.registries,
        limits={registry.host: registry.limits for registry in desk.config.registries},
        pulls=pulls,
        metrics=desk.metrics,
        wall=desk.wall,
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _holds(desk: Desk, owners: OwnerMirror, images: Images) -> Holds:
    return Holds(
        desk.client,
        pods=desk.copies.holds.pods,
        namespaces=desk.copies.holds.namespaces,
        availabilities=desk.copies.holds.availabilities,
        owners=owners,
        rules=rules_of(desk.config),
        checker=desk.checker,
        tenant=desk.copies.pull_secrets.tenant,
        reports=_reports(desk),
        on_finding=images.found,
        metrics=desk.metrics,
        wall=desk.wall,
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _wakes(desk: Desk, owners: OwnerMirror) -> Wakes:
    return Wakes(
        desk.client,
        owners=owners,
        availabilities=desk.copies.holds.availabilities,
        namespaces=desk.copies.holds.namespaces,
        rules=rules_of(desk.config),
        wall=desk.wall,
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _warming(desk: Desk, owners: OwnerMirror) -> Warming:
    return Warming(
        desk.client,
        pods=desk.copies.holds.pods,
        namespaces=desk.copies.holds.namespaces,
        pulls=desk.copies.pulls,
        owners=owners,
        settings=WarmingSettings(
            listed=frozenset(registry.host for registry in desk.config.registries),
            platforms=settings_of(desk.config).platforms,
            deadline_s=desk.config.pre_pull.deadline,
        ),
        reports=_reports(desk),
        wall=desk.wall,
        clock=asyncio.get_running_loop().time,
        chance=desk.chance,
    )


def _events(desk: Desk, *hurries: Hurries) -> list[Room]:
    """What registries tell brings the checks of all these forward."""
    if desk.receivers is None:
        return []
    names = Names(desk.config.registries)
    return [Room(loops=Reader(desk.receivers, names=names, hurries=hurries, chance=desk.chance).loops)]


def rules_of(config: Config) -> Rules:
    """By what the verdict on a held Pod is taken again."""
    return Rules(
        compile_policy(config.policy),
        frozenset(registry.host for registry in config.registries),
        {registry.host: where for registry in config.registries if (where := registry.pull_secret_namespaces)},
    )


def settings_of(config: Config) -> Settings:
    """The part of the file that the pre-puller needs. Platforms that nobody wrote down exclude no node."""
    return Settings(
        limits={
            registry.host: Limits(
                in_flight=registry.pulls.in_flight,
                rate=registry.pulls.requests_per_second,
                burst=registry.pulls.burst,
                most_in_flight=registry.pulls.max_in_flight,
                most_rate=registry.pulls.max_requests_per_second,
            )
            for registry in config.registries
        },
        per_node=config.pre_pull.per_node,
        heavy_bytes=config.pre_pull.heavy_bytes,
        mirrored=frozenset(registry.host for registry in config.registries if registry.pulls.mirror),
        platforms=tuple(config.cluster.platforms) if "platforms" in config.cluster.model_fields_set else (),
    )
