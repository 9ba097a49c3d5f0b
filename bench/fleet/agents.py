"""`python -m bench.fleet.agents`: hundreds of agents in one process, with the shipped loop and a runtime that pretends.

Each has its own connection for its watch of its own NodePull, as on a node; statuses share the process's connections
(on a node an agent opens one of its own, so handshakes are missing here). A pull takes the time that it is told, a
quarter more or less, and moves nothing. Says `ready` when all watch and `planned` when all have heard of their images;
at SIGTERM it writes what happened, by the machine's monotonic clock, and ends.
"""

import argparse
import asyncio
import json
import logging
import random
import resource
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from agent.cluster import ClusterPlans, ClusterStatus
from agent.loop import Agent, Settings
from agent.observed import Neighbours, Patience
from agent.pull import Pulls
from agent.report import Reporter
from agent.sightings import Sightings
from bench.fleet.world import HOST, node_name
from tidegate.cri import Download, NotContainerd
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, from_kubeconfig
from tidegate.kube.own import NodePull
from tidegate.kube.reflector import Pauses
from tidegate.metrics import Metrics
from tidegate.reference import Digest

_STARTING = 20
"""Agents that open their watch at once: the API server shakes hands with each."""
_RECHECK_S = 60.0
_SILENT = "a runtime that pretends"
_CHANCE = random.Random()  # noqa: S311 - naps are no secret


class Record:
    """What all agents of this process did; seconds of the machine's monotonic clock."""

    def __init__(self, *, nodes: int, images: int) -> None:
        self._images = images
        self.began: list[float] = []
        self.ended: list[float] = []
        self.planned: dict[str, float] = {}
        """When each node first heard of all its images."""
        self.all_planned = asyncio.Event()
        self._nodes = nodes

    def heard(self, name: str, plan: NodePull | None) -> None:
        """Look at a plan."""
        if name not in self.planned and plan is not None and len(plan.spec.images) >= self._images:
            self.planned[name] = time.monotonic()
            if len(self.planned) == self._nodes:
                self.all_planned.set()


class Store:
    """An ImageStore without a runtime, on a disk without end; of what comes in it says nothing, as CRI-O does."""

    def __init__(self, record: Record, *, pull_s: float) -> None:
        self._record = record
        self._pull_s = pull_s
        self._there: set[str] = set()

    async def present(self, image: str) -> bool:
        return image in self._there

    async def pull(self, image: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the port's word
        assert timeout > self._pull_s
        self._record.began.append(time.monotonic())
        await asyncio.sleep(self._pull_s * _CHANCE.uniform(0.75, 1.25))
        self._there.add(image)
        self._record.ended.append(time.monotonic())
        return image

    async def downloads(self) -> Sequence[Download]:
        raise NotContainerd(_SILENT)

    async def manifest(self, digest: Digest) -> bytes | None:  # noqa: ARG002 - the port's word
        raise NotContainerd(_SILENT)

    async def shortfall(self, need: int) -> str:  # noqa: ARG002 - the port's word
        return ""


class Node:
    """One agent, and how it is started."""

    def __init__(
        self, name: str, *, cluster: Connection, statuses: KubeClient, record: Record, metrics: Metrics, pull_s: float
    ) -> None:
        self.name = name
        self._record = record
        self._watching = KubeClient(cluster)
        self._plans = ClusterPlans(self._watching, node=name, pauses=Pauses(most=10.0))
        store = Store(record, pull_s=pull_s)
        self._agent = Agent(
            plans=self._plans,
            store=store,
            pulls=Pulls(store, store, metrics=metrics, wall=_now),
            neighbours=Neighbours(store, patience=Patience()),
            disk=store,
            sightings=Sightings(metrics=metrics),
            reporter=Reporter(ClusterStatus(statuses, node=name), pauses=Pauses(most=10.0)),
            listed=frozenset({HOST}),
            nonce=secrets.token_hex(8),
            wall=_now,
            settings=Settings(recheck_s=_RECHECK_S),
        )

    async def open(self, stack: AsyncExitStack, tasks: asyncio.TaskGroup, stopping: asyncio.Event) -> None:
        """Start it; returns when its watch is about to run."""
        await stack.enter_async_context(self._watching)
        tasks.create_task(self._plans.run())
        tasks.create_task(self._listen())
        tasks.create_task(self._agent.run(stopping))
        await self._plans.node_uid()

    async def _listen(self) -> None:
        revision = 0
        while self.name not in self._record.planned:
            revision = await self._plans.changed(revision)
            self._record.heard(self.name, self._plans.current())


async def _run(arguments: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    cluster = from_kubeconfig(arguments.kubeconfig)
    record = Record(nodes=arguments.count, images=arguments.images)
    metrics = Metrics(CollectorRegistry(), program="agent")
    async with AsyncExitStack() as stack:
        statuses = await stack.enter_async_context(KubeClient(cluster))
        names = [node_name(number) for number in range(arguments.first, arguments.first + arguments.count)]
        nodes = [
            Node(name, cluster=cluster, statuses=statuses, record=record, metrics=metrics, pull_s=arguments.pull)
            for name in names
        ]
        async with asyncio.TaskGroup() as tasks:
            turns = asyncio.Semaphore(_STARTING)

            async def start(node: Node) -> None:
                async with turns:
                    await node.open(stack, tasks, stopping)

            await asyncio.gather(*(start(node) for node in nodes))
            _say("ready")
            await record.all_planned.wait()
            _say("planned")
            await stopping.wait()
            used = resource.getrusage(resource.RUSAGE_SELF)
            told = {
                "began": record.began, "ended": record.ended, "planned": list(record.planned.values()),
                "cpu_s": used.ru_utime + used.ru_stime,
            }  # fmt: skip
            arguments.out.write_text(json.dumps(told), encoding="utf-8")
            _say("written")
            sys.stdout.flush()
            signal.raise_signal(signal.SIGKILL)  # goodbyes of hundreds of watches would be measured by nobody


def _say(word: str) -> None:
    print(word, flush=True)


def _now() -> datetime:
    return datetime.now(UTC)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="bench.fleet.agents")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("first", "count", "images"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--pull", type=float, required=True, help="seconds that a pull takes")
    arguments = parser.parse_args(argv)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(_run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
