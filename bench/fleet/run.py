"""One size of fleet, from an empty API server to its figures."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fleet.crowd import Said, crowd
from bench.fleet.figures import Page, latencies
from bench.fleet.world import ASK, NAMESPACE, ask, configuration, images, make_nodes
from bench.processes import Child, running
from tests.real.kube.server import ApiServer
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.resources import PREPULLS
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble

_FAMILIES = ("apiserver_request_total", "apiserver_watch_events_total", "apiserver_watch_events_sizes_sum")
_RUN_S = 600.0
"""For one size, all in all."""
_OPEN_S = 300.0
_PLAN_S = 420.0
_LOOK_S = 0.5
_FULL_S = 10.0
"""After the last node has heard of its images, until what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What is run."""

    nodes: int
    images: int
    in_flight: int
    pull_s: float
    window_s: float
    each: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is counted at one time."""

    at: float
    cpu_s: dict[str, float]
    rss_mb: dict[str, float]
    db_bytes: int
    writes: Counter[str]
    events: dict[str, float]
    event_bytes: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one size."""

    size: Size
    known_s: float
    """From the controller's start to the last NodePull's being there, all empty."""
    plan_s: float
    """From the PrePull's creation to the last agent's hearing of its images."""
    empty: Moment
    full: Moment
    end: Moment
    latencies: list[float]
    pulls: int
    in_window: int
    ready: int
    agents_cpu_s: float


async def measure(size: Size, folder: Path) -> Figures:
    """Run it."""
    server = ApiServer(folder, without=("TaintNodesByCondition",))
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(server.define)
        async with (
            asyncio.timeout(_RUN_S),
            RegistryDouble() as registry,
            KubeClient(from_kubeconfig(server.kubeconfig)) as client,
        ):
            return await _Run(size, folder, server, registry, client).all()
    finally:
        server.stop()


class _Run:
    def __init__(
        self, size: Size, folder: Path, server: ApiServer, registry: RegistryDouble, client: KubeClient
    ) -> None:
        self._size = size
        self._folder = folder
        self._server = server
        self._registry = registry
        self._client = client

    async def all(self) -> Figures:
        size = self._size
        wanted = images(self._registry, size.images)
        await make_nodes(self._client, size.nodes)
        _note(f"{size.nodes} Nodes are there")
        async with crowd(
            self._server.kubeconfig, self._folder,
            nodes=size.nodes, each=size.each, images=size.images, pull_s=size.pull_s,
        ) as agents:  # fmt: skip
            await agents.word("ready", within_s=_OPEN_S)
            _note("all agents watch")
            async with self._controlled() as child:
                began = time.monotonic()
                await self._until(self._all_there, within_s=_PLAN_S)
                known_s = time.monotonic() - began
                await asyncio.sleep(_FULL_S)  # the agents' first statuses are on their way
                empty = await self._moment(child)
                _note(f"all NodePulls are there, after {known_s:.1f} s")
                asked = time.monotonic()
                await ask(self._client, wanted)
                await agents.word("planned", within_s=_PLAN_S)
                _note(f"all are planned, within {time.monotonic() - asked:.1f} s")
                await asyncio.sleep(_FULL_S)
                full = await self._moment(child)
                ready = await self._window()
                end = await self._moment(child)
                _note(f"the window has ended, {ready} nodes are ready")
                said = await agents.end()
        return Figures(
            size=size, known_s=known_s, plan_s=max(said.planned) - asked, empty=empty, full=full, end=end,
            latencies=_within(said, size, full.at, end.at), pulls=len(said.ended),
            in_window=sum(full.at <= at < end.at for at in said.ended), ready=ready, agents_cpu_s=said.cpu_s,
        )  # fmt: skip

    @asynccontextmanager
    async def _controlled(self) -> AsyncIterator[Child]:
        config = configuration(self._folder, replica=self._registry.url, in_flight=self._size.in_flight)
        port = free_port()
        arguments = (
            "--config", str(config), "--kubeconfig", str(self._server.kubeconfig), "--metrics-port", str(port),
            "--namespace", NAMESPACE,
        )  # fmt: skip
        log = self._folder / "controller.log"
        async with running("controller", arguments, port=port, core=None, log=log) as child:
            yield child

    async def _window(self) -> int:
        """Let it run; how many nodes have everything then."""
        end = time.monotonic() + self._size.window_s
        while True:
            ready = (await self._client.get(PREPULLS, ASK, namespace=NAMESPACE)).status.ready
            left = end - time.monotonic()
            if left <= 0 or ready == self._size.nodes:
                return ready
            await asyncio.sleep(min(left, 5.0))

    def _all_there(self) -> bool:
        return self._page().writes()["POST nodepulls"] >= self._size.nodes

    async def _until(self, holds: Callable[[], bool], *, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110  a page of metrics tells nobody
                await asyncio.sleep(_LOOK_S)

    def _page(self) -> Page:
        return Page(self._server.get("/metrics").decode(), _FAMILIES)

    async def _moment(self, child: Child) -> Moment:
        page = await asyncio.to_thread(self._page)
        processes = {"controller": child}
        processes |= {name: Child(pid, 0) for name, pid in self._server.pids().items()}
        status = json.loads(await asyncio.to_thread(self._server.etcdctl, "endpoint", "status", "--write-out=json"))
        kinds = ("nodepulls", "nodes", "prepulls", "imageavailabilities")
        return Moment(
            at=time.monotonic(),
            cpu_s={name: process.cpu_s() or 0.0 for name, process in processes.items()},
            rss_mb={name: process.rss_mb() or 0.0 for name, process in processes.items()},
            db_bytes=status[0]["Status"]["dbSize"],
            writes=page.writes(),
            events={kind: page.total("apiserver_watch_events_total", resource=kind) for kind in kinds},
            event_bytes={kind: page.total("apiserver_watch_events_sizes_sum", resource=kind) for kind in kinds},
        )


def _within(said: Said, size: Size, since: float, until: float) -> list[float]:
    kept = sum(at < until for at in said.ended)
    return latencies(said.began, sorted(said.ended)[:kept], slots=size.in_flight, since=since)


def _note(what: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)
