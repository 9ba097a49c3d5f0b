"""`python -m agent`: one on each node; it pulls through CRI what this node's NodePull grants, and reports.

The composition root: environment, files and the clock are read here and passed in.
"""

import argparse
import asyncio
import os
import random
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

import structlog
from prometheus_client import CollectorRegistry

from agent import addresses, news
from agent.advice import Files, NodeFacts, advice_on, read
from agent.cluster import ClusterPlans, ClusterStatus
from agent.credentials import Authenticated, Hosts
from agent.identity import Places, add_arguments, places_of, sources
from agent.imagefs import ImageDisk
from agent.loop import Agent, Settings
from agent.observed import Neighbours, Patience
from agent.pull import Pulls
from agent.report import Reporter
from agent.sightings import Sightings
from tidegate import __version__
from tidegate.config import Config, ConfigError, load
from tidegate.cri import DEFAULT_SOCKET, Containerd, CriImages
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, ConnectionConfigError
from tidegate.kube.reflector import Pauses
from tidegate.metrics import Metrics
from tidegate.process import calls, logs
from tidegate.process.cluster import connection
from tidegate.process.following import FollowedConfig
from tidegate.process.probes import create_app, served

log = structlog.get_logger()

_PAUSES = Pauses(most=10.0)
"""Of what this node asks the API server for: a status must not be older than this once the server is back."""

_RUNTIME_PAUSES = Pauses(first=0.5, most=10.0)
"""Until a runtime that went is listened to again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line and the environment say."""

    config: Path
    node: str
    kubeconfig: Path | None
    cri_socket: str
    metrics_port: int | None
    at_once: int | None
    credentials: Places
    kubelet_config: list[Path]
    containerd_config: Path
    resolv_conf: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent; 2 when the call or the configuration is wrong."""
    logs.configure()
    try:
        arguments = _parse(argv)
        config = load(arguments.config)
        cluster = connection(arguments.kubeconfig, os.environ)
    except (ConfigError, ConnectionConfigError) as exc:
        return calls.wrong(exc)
    return calls.run(_serve(arguments, config, cluster))


async def _serve(arguments: Arguments, config: Config, cluster: Connection) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    metrics = Metrics(CollectorRegistry(), program="agent")
    notes, started = dict[str, str](), asyncio.Event()
    file = FollowedConfig(arguments.config, config, metrics=metrics, notes=notes)
    nonce = secrets.token_hex(8)
    facts = await asyncio.to_thread(read, Files(tuple(arguments.kubelet_config), arguments.containerd_config))
    async with AsyncExitStack() as stack:
        if arguments.metrics_port is not None:
            app = create_app(metrics.registry, ready=started, notes=notes)
            await stack.enter_async_context(served(app, port=arguments.metrics_port))
        store = await stack.enter_async_context(CriImages(arguments.cri_socket))
        runtime = await stack.enter_async_context(Containerd(arguments.cri_socket))
        client = await stack.enter_async_context(KubeClient(cluster))
        hosts = Hosts(config)
        found = await stack.enter_async_context(
            sources(arguments.credentials, hosts=hosts, clock=loop.time, chance=random.SystemRandom())
        )
        plans = ClusterPlans(client, node=arguments.node, pauses=_PAUSES)
        agent = Agent(
            plans=plans,
            store=store,
            pulls=Pulls(Authenticated(store, found), runtime, metrics=metrics, wall=_now),
            neighbours=Neighbours(runtime, patience=Patience()),
            disk=ImageDisk(store.image_fs, low_percent=facts.low_percent),
            sightings=Sightings(metrics=metrics),
            reporter=Reporter(ClusterStatus(client, node=arguments.node), pauses=_PAUSES),
            listed=_listed(config),
            nonce=nonce,
            wall=_now,
            settings=Settings(at_once=arguments.at_once or config.pre_pull.per_node),
        )
        agent.describe(advice=_advised(facts))

        async def take(config: Config) -> None:
            hosts.take(config)
            agent.configure(listed=_listed(config), at_once=arguments.at_once or config.pre_pull.per_node)

        log.info(
            "agent.started", version=__version__, node=arguments.node, nonce=nonce, cri_socket=arguments.cri_socket,
            registries=[registry.host for registry in config.registries],
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(plans.run(), name="watch"),
                tasks.create_task(file.follow(take), name="configuration"),
                tasks.create_task(_listen(runtime, agent), name="runtime"),
                tasks.create_task(_resolve(agent, arguments.resolv_conf), name="addresses"),
            ]
            started.set()
            await agent.run(stopping)
            for task in background:
                task.cancel()
        log.info("agent.stopped", node=arguments.node)


async def _listen(runtime: Containerd, agent: Agent) -> None:
    await news.follow(
        runtime, on_image=agent.image_changed, on_back=agent.runtime_is_back, pauses=_RUNTIME_PAUSES
    )  # fmt: skip


async def _resolve(agent: Agent, resolv_conf: Path | None) -> Never:
    await addresses.watch(
        lambda: agent.listed,
        resolve=addresses.resolver(resolv_conf),
        tell=lambda found: agent.describe(addresses=found),
    )


def _advised(facts: NodeFacts) -> tuple[str, ...]:
    advice = advice_on(facts)
    for line in advice:
        log.info("node.advice", advice=line)
    return advice


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="agent", description="Pull what this node's NodePull grants, through CRI.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--node", default=os.environ.get("NODE_NAME", ""), help="default: $NODE_NAME")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: the Pod's own service account")
    parser.add_argument("--cri-socket", default=DEFAULT_SOCKET, metavar="ADDRESS", help="default: %(default)s")
    parser.add_argument("--metrics-port", type=calls.port, metavar="PORT", help="serve metrics there; default: nowhere")
    parser.add_argument("--at-once", type=int, metavar="N", help="images pulled at once; default: prePull.perNode")
    add_arguments(parser)
    parser.add_argument(
        "--kubelet-config", type=Path, action="append", metavar="PATH",
        help="a file, or a folder of drop-ins, in the order in which kubelet reads them; default: the usual places",
    )  # fmt: skip
    parser.add_argument(
        "--containerd-config", type=Path, default=Files().containerd, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--resolv-conf", type=Path, metavar="FILE", help="of the node; default: this Pod's own")
    given = parser.parse_args(argv)
    given.kubelet_config = given.kubelet_config or list(Files().kubelet)
    if not given.node:
        parser.error("--node: needed when NODE_NAME is not set")
    if given.at_once is not None and given.at_once < 1:
        parser.error("--at-once: at least 1")
    if not given.cri_socket.startswith("unix:/"):
        parser.error(f"--cri-socket: write it like {DEFAULT_SOCKET}")
    return Arguments(credentials=places_of(given), **vars(given))


def _listed(config: Config) -> frozenset[str]:
    return frozenset(registry.host for registry in config.registries)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
