"""`python -m controller`: who may pull what, when. The composition root.

Several may run: one leads and writes, the others stand by with warm copies (`controller.leader`; what a leader does is
listed in `controller.leading`). Environment, files and the clock are read here and passed in. Ends with 0 after SIGTERM
or SIGINT, with 2 when the call or the configuration is wrong, with 3 when the lease is lost and the work under it does
not end, and with a traceback when a root task ended by itself.
"""

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import structlog
from prometheus_client import CollectorRegistry

from controller.copies import Copies
from controller.events.reader import Receivers, receivers_of
from controller.leader import Leader
from controller.leading import now
from controller.live import LiveConfig
from controller.pullsecrets.serving import PORT, Door, door_of, serve
from tidegate import __version__
from tidegate.config import Config, ConfigError, load
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, ConnectionConfigError
from tidegate.kube.fence import Fence
from tidegate.kube.lease import Candidate, Timing
from tidegate.metrics import Metrics
from tidegate.process import calls, logs
from tidegate.process.cluster import connection
from tidegate.process.probes import create_app, served
from tidegate.process.roots import forever

log = structlog.get_logger()

LEASE = "tidegate-controller"
GAVE_UP = 3
AGENTS = "tidegate-agent"
"""The agents' ServiceAccount, in our own namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says."""

    config: Path
    kubeconfig: Path | None
    metrics_port: int | None
    namespace: str
    lease: float
    events_url: Sequence[str]
    events_secret_file: Path | None
    events_ca_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    pull_secrets_port: int


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom it speaks to besides the API server and registries."""

    receivers: Receivers | None
    agents: Door | None


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
        agents = door_of(arguments.tls_cert, arguments.tls_key, port=arguments.pull_secrets_port)
    except (ConfigError, ConnectionConfigError) as exc:
        return calls.wrong(exc)
    return calls.run(_serve(arguments, config, cluster, Neighbours(receivers, agents)))


async def _serve(arguments: Arguments, config: Config, cluster: Connection, neighbours: Neighbours) -> None:
    """Lead, or stand by to lead, until a signal comes or a root task ends."""
    stopping, ready, notes = asyncio.Event(), asyncio.Event(), dict[str, str]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    metrics = Metrics(CollectorRegistry(), program="controller")
    live = LiveConfig(arguments.config, config, metrics=metrics, notes=notes)
    async with AsyncExitStack() as stack:
        if arguments.metrics_port is not None:
            app = create_app(metrics.registry, ready=ready, notes=notes)
            await stack.enter_async_context(served(app, port=arguments.metrics_port))
        await stack.enter_async_context(live.opened())
        fence = Fence(lambda: candidate.leads())  # noqa: PLW0108  it is made below, and asks the fence too
        leases = await stack.enter_async_context(KubeClient(cluster))  # its own: renewals queue behind nothing
        candidate = _candidate(leases, fence, arguments)
        client = await stack.enter_async_context(KubeClient(cluster, writing=fence.writing))
        copies = Copies(client)
        leader = Leader(
            live, client=client, fence=fence, copies=copies, receivers=neighbours.receivers, metrics=metrics,
            namespace=arguments.namespace, notes=notes,
        )  # fmt: skip
        log.info("controller.started", version=__version__, registries=[r.host for r in config.registries])
        async with asyncio.TaskGroup() as tasks:
            running: list[asyncio.Task[Any]] = [
                tasks.create_task(forever(f"watch {name}", reflector.run()), name=f"watch {name}")
                for name, reflector in copies.reflectors()
            ]
            running.append(tasks.create_task(forever("follow configuration", live.follow()), name="configuration"))
            tenants = copies.pull_secrets.run(lambda: live.now.config.pull_secret_namespaces)
            running.append(tasks.create_task(forever("watch pull secrets", tenants), name="pull secrets"))
            if neighbours.agents is not None:
                asked = serve(
                    neighbours.agents, cluster=cluster, copies=copies, config=lambda: live.now.config,
                    agents=f"system:serviceaccount:{arguments.namespace}:{AGENTS}", wall=now,
                )  # fmt: skip
                running.append(tasks.create_task(forever("serve pull secrets", asked), name="serve pull secrets"))
            lead = _lead(candidate, leader, live, copies)
            running.append(tasks.create_task(forever("lead", lead), name="lead"))
            running.append(tasks.create_task(_get_ready(copies, ready), name="get ready"))
            await stopping.wait()
            log.info("controller.stopping")
            await fence.close()  # so that whoever leads next need not wait for what was under way
            for task in running:
                task.cancel()
    log.info("controller.stopped")


def _candidate(client: KubeClient, fence: Fence, arguments: Arguments) -> Candidate:
    return Candidate(
        client,
        namespace=arguments.namespace,
        name=LEASE,
        identity=f"{socket.gethostname()[:128]}_{uuid.uuid4().hex}",
        timing=Timing.of(arguments.lease),
        wall=now,
        chance=random.SystemRandom(),
        give_up=_give_up,
        clean=fence.is_settled,
    )


async def _lead(candidate: Candidate, leader: Leader, live: LiveConfig, copies: Copies) -> Never:
    """Once it is known for which platforms images are asked."""
    await copies.pulls.nodes.synced.wait()
    live.platforms.follow(copies.pulls.nodes)
    await live.settled()
    await candidate.run(leader.work)
    raise AssertionError  # it leads, or stands by to, for ever


async def _get_ready(copies: Copies, ready: asyncio.Event) -> None:
    await copies.synced()
    ready.set()
    log.info("controller.ready")


def _give_up() -> None:
    """Nothing may be left half alive once another one leads, so this asks nobody."""
    log.critical("controller.gave_up", why="the lease is lost, and the work under it does not end")
    os._exit(GAVE_UP)


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
        "--lease", type=calls.at_least(3.0), default=Timing().lease_s, metavar="S",
        help="seconds after which another replica takes over from one that is gone; default: %(default)g",
    )  # fmt: skip
    parser.add_argument(
        "--events-url", action="append", default=[], metavar="URL",
        help="a receiver of registries' events (controller.events); may be given several times; default: none",
    )  # fmt: skip
    parser.add_argument("--events-secret-file", type=Path, metavar="FILE", help="what receivers know the reader by")
    parser.add_argument("--events-ca-file", type=Path, metavar="FILE", help="PEM bundle; default: the system's")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM chain; with it, pull secrets are served")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument(
        "--pull-secrets-port", type=calls.port, default=PORT, metavar="N", help="for agents; default: %(default)s"
    )
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
