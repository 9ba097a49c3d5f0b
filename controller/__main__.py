"""`python -m controller`: who may pull what, when. The composition root.

Environment, files and the clock are read here and passed in. Ends with 0 after SIGTERM or SIGINT, with 2 when the call
or the configuration is wrong, and with a traceback when a root task ended by itself.
"""

import argparse
import asyncio
import os
import random
import secrets
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from controller.budget import Limits
from controller.core import Controller, Settings
from controller.costs import FromManifests
from controller.holding.availability import Availability
from controller.holding.holds import Holds
from controller.holding.judge import Rules
from controller.holding.mirror import HoldMirror
from controller.holding.polls import REMEMBERED_ABSENCE_S
from controller.holding.reports import Reports
from controller.keys import KEY_BYTES, DecisionKeys
from controller.mirror import Mirror
from controller.owners.mirror import OwnerMirror
from controller.owners.wakes import Wakes
from tidegate import __version__
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import Config, ConfigError, load
from tidegate.config.policy import compile_policy
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, ConnectionConfigError
from tidegate.metrics import Metrics
from tidegate.process import calls, logs
from tidegate.process.cluster import connection
from tidegate.process.probes import create_app, served
from tidegate.process.roots import forever
from tidegate.replicas import open_registries

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says."""

    config: Path
    kubeconfig: Path | None
    metrics_port: int | None
    namespace: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the controller until it is told to stop."""
    arguments = _parse(argv, namespace=os.environ.get("POD_NAMESPACE") or "tidegate")
    logs.configure()
    try:
        config = load(arguments.config)
        cluster = connection(arguments.kubeconfig, os.environ)
    except (ConfigError, ConnectionConfigError) as exc:
        return calls.wrong(exc)
    return calls.run(_until_told(arguments, config, cluster))


async def _until_told(arguments: Arguments, config: Config, cluster: Connection) -> None:
    """Serve until a signal comes or a root task ends."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve(arguments, config, cluster), name="serve")
        await stopping.wait()
        log.info("controller.stopping")
        serving.cancel()
    log.info("controller.stopped")


async def _serve(arguments: Arguments, config: Config, cluster: Connection) -> None:
    metrics = Metrics(CollectorRegistry(), program="controller")
    metrics.config_valid.set(1)
    ready = asyncio.Event()
    async with AsyncExitStack() as stack:
        if arguments.metrics_port is not None:
            app = create_app(metrics.registry, ready=ready)
            await stack.enter_async_context(served(app, port=arguments.metrics_port))
        registries = await stack.enter_async_context(open_registries(config, metrics=metrics))
        memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics, memory=memory)
        stack.push_async_callback(checker.aclose)
        client = await stack.enter_async_context(KubeClient(cluster))
        mirror, hold_mirror = Mirror(client), HoldMirror(client)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for name, reflector in (*mirror.reflectors(), *hold_mirror.reflectors()):
            tasks.create_task(forever(f"watch {name}", reflector.run()), name=f"watch {name}")
        log.info("controller.started", version=__version__, registries=[r.host for r in config.registries])
        chance = random.SystemRandom()
        keys = DecisionKeys(
            client,
            namespace=arguments.namespace,
            wall=_now,
            fresh=partial(secrets.token_bytes, KEY_BYTES),
            chance=chance,
        )
        tasks.create_task(forever("decision keys", keys.run()), name="decision keys")
        await mirror.synced()
        controller = Controller(
            client,
            mirror,
            settings=settings_of(config),
            costs=FromManifests(checker),
            metrics=metrics,
            wall=_now,
            new_id=_new_id,
            chance=chance,
        )
        controller.start()
        for name, loop in controller.loops().items():
            tasks.create_task(forever(name, loop()), name=name)
        await hold_mirror.synced()
        owners = OwnerMirror(hold_mirror.replicasets, mirror.workloads)
        availability, holds = holding(
            client, hold_mirror, config=config, owners=owners, checker=checker, metrics=metrics, chance=chance
        )
        wakes = waking(client, hold_mirror, config=config, owners=owners, chance=chance)
        holds.start()
        wakes.start()
        for name, loop in {**availability.loops(), **holds.loops(), **wakes.loops()}.items():
            tasks.create_task(forever(name, loop()), name=name)
        ready.set()
        log.info("controller.ready")


def holding(
    client: KubeClient,
    mirror: HoldMirror,
    *,
    config: Config,
    owners: OwnerMirror,
    checker: Checker,
    metrics: Metrics,
    chance: random.Random,
) -> tuple[Availability, Holds]:
    """What looks after held Pods, and what writes down where their images are. The mirror is synced."""
    availability = Availability(client, observed=mirror.availabilities, metrics=metrics, wall=_now, chance=chance)
    holds = Holds(
        client,
        pods=mirror.pods,
        namespaces=mirror.namespaces,
        owners=owners,
        rules=rules_of(config),
        checker=checker,
        reports=Reports(client, instance=socket.gethostname()[:128], wall=_now, chance=chance),
        on_finding=availability.found,
        metrics=metrics,
        wall=_now,
        clock=asyncio.get_running_loop().time,
        chance=chance,
    )
    return availability, holds


def waking(
    client: KubeClient, mirror: HoldMirror, *, config: Config, owners: OwnerMirror, chance: random.Random
) -> Wakes:
    """What wakes the owners of refused Pods. The mirror is synced."""
    return Wakes(
        client,
        owners=owners,
        availabilities=mirror.availabilities,
        namespaces=mirror.namespaces,
        rules=rules_of(config),
        wall=_now,
        clock=asyncio.get_running_loop().time,
        chance=chance,
    )


def rules_of(config: Config) -> Rules:
    """By what the verdict on a held Pod is taken again."""
    return Rules(compile_policy(config.policy), frozenset(registry.host for registry in config.registries))


def settings_of(config: Config) -> Settings:
    """The part of the file that the pre-puller needs. Platforms that nobody wrote down exclude no node."""
    return Settings(
        limits={
            registry.host: Limits(
                in_flight=registry.pulls.in_flight,
                rate=registry.pulls.requests_per_second,
                burst=registry.pulls.burst,
            )
            for registry in config.registries
        },
        per_node=config.pre_pull.per_node,
        platforms=tuple(config.cluster.platforms) if "platforms" in config.cluster.model_fields_set else (),
    )


def _parse(argv: Sequence[str] | None, *, namespace: str) -> Arguments:
    parser = argparse.ArgumentParser(
        prog="controller", description="Grant pulls to nodes within one budget, release held Pods."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: the Pod's own service account")
    parser.add_argument("--metrics-port", type=calls.port, metavar="N", help="metrics and probes; default: nowhere")
    parser.add_argument(
        "--namespace", default=namespace, metavar="NAME", help="tidegate's own; default: POD_NAMESPACE, else tidegate"
    )
    return Arguments(**vars(parser.parse_args(argv)))


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


if __name__ == "__main__":
    sys.exit(main())
