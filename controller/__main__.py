"""`python -m controller`: who may pull what, when. The composition root.

Environment, files and the clock are read here and passed in. Ends with 0 after SIGTERM or SIGINT, with 2 when the call
or the configuration is wrong, and with a traceback when a root task ended by itself.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from controller.budget import Limits
from controller.core import Controller, Settings
from controller.costs import FromManifests
from controller.mirror import Mirror
from tidegate import __version__
from tidegate.completeness import Checker
from tidegate.config import Config, ConfigError, load
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the controller until it is told to stop."""
    arguments = _parse(argv)
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
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics)
        stack.push_async_callback(checker.aclose)
        client = await stack.enter_async_context(KubeClient(cluster))
        mirror = Mirror(client)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for name, reflector in mirror.reflectors():
            tasks.create_task(forever(f"watch {name}", reflector.run()), name=f"watch {name}")
        log.info("controller.started", version=__version__, registries=[r.host for r in config.registries])
        await mirror.synced()
        controller = Controller(
            client,
            mirror,
            settings=settings_of(config),
            costs=FromManifests(checker),
            metrics=metrics,
            wall=_now,
            new_id=_new_id,
            chance=random.SystemRandom(),
        )
        controller.start()
        for name, loop in controller.loops().items():
            tasks.create_task(forever(name, loop()), name=name)
        ready.set()
        log.info("controller.ready")


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


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="controller", description="Grant pulls to nodes within one budget.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: the Pod's own service account")
    parser.add_argument("--metrics-port", type=calls.port, metavar="N", help="metrics and probes; default: nowhere")
    return Arguments(**vars(parser.parse_args(argv)))


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


if __name__ == "__main__":
    sys.exit(main())
