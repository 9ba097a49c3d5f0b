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
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from controller.copies import Copies
from controller.events.reader import Receivers, receivers_of
from controller.holding.polls import REMEMBERED_ABSENCE_S
from controller.leading import Desk, lead
from tidegate import __version__
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import Config, ConfigError, load
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, ConnectionConfigError
from tidegate.metrics import Metrics
from tidegate.process import calls, logs
from tidegate.process.cluster import connection
from tidegate.process.probes import create_app, served
from tidegate.process.roots import forever
from tidegate.replicas import open_registries, probed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says."""

    config: Path
    kubeconfig: Path | None
    metrics_port: int | None
    namespace: str
    events_url: Sequence[str]
    events_secret_file: Path | None
    events_ca_file: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the controller until it is told to stop."""
    arguments = _parse(argv, namespace=os.environ.get("POD_NAMESPACE") or "tidegate")
    logs.configure()
    try:
        config = load(arguments.config)
        cluster = connection(arguments.kubeconfig, os.environ)
        receivers = receivers_of(
            arguments.events_url, secret_file=arguments.events_secret_file, ca_file=arguments.events_ca_file
        )
    except (ConfigError, ConnectionConfigError) as exc:
        return calls.wrong(exc)
    return calls.run(_until_told(arguments, config, cluster, receivers))


async def _until_told(arguments: Arguments, config: Config, cluster: Connection, receivers: Receivers | None) -> None:
    """Serve until a signal comes or a root task ends."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve(arguments, config, cluster, receivers), name="serve")
        await stopping.wait()
        log.info("controller.stopping")
        serving.cancel()
    log.info("controller.stopped")


async def _serve(arguments: Arguments, config: Config, cluster: Connection, receivers: Receivers | None) -> None:
    metrics = Metrics(CollectorRegistry(), program="controller")
    metrics.config_valid.set(1)
    ready = asyncio.Event()
    async with AsyncExitStack() as stack:
        if arguments.metrics_port is not None:
            app = create_app(metrics.registry, ready=ready)
            await stack.enter_async_context(served(app, port=arguments.metrics_port))
        registries = await stack.enter_async_context(open_registries(config, metrics=metrics))
        await stack.enter_async_context(probed(registries, chance=random.SystemRandom()))
        memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics, memory=memory)
        stack.push_async_callback(checker.aclose)
        client = await stack.enter_async_context(KubeClient(cluster))
        copies = Copies(client)
        desk = Desk(
            config=config, client=client, copies=copies, checker=checker, metrics=metrics,
            namespace=arguments.namespace, receivers=receivers,
        )  # fmt: skip
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for name, reflector in copies.reflectors():
            tasks.create_task(forever(f"watch {name}", reflector.run()), name=f"watch {name}")
        log.info("controller.started", version=__version__, registries=[r.host for r in config.registries])
        tasks.create_task(forever("lead", lead(desk)), name="lead")
        await copies.synced()
        ready.set()
        log.info("controller.ready")


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
    parser.add_argument(
        "--events-url", action="append", default=[], metavar="URL",
        help="a receiver of registries' events (controller.events); may be given several times; default: none",
    )  # fmt: skip
    parser.add_argument("--events-secret-file", type=Path, metavar="FILE", help="what receivers know the reader by")
    parser.add_argument("--events-ca-file", type=Path, metavar="FILE", help="PEM bundle; default: the system's")
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
