"""The shipped controller and agents as processes, on an API server, runtimes and a registry in memory."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.cri.client import CriImages
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble, Throttle
from tidegate.testing.runtime import RuntimeDouble

HOST = "registry.test"
IN_FLIGHT = 3
RATE, BURST = 20.0, 20
"""Of the budget: a pull costs 15 requests."""
SLACK = IN_FLIGHT * 15
"""Requests that the registry takes beyond the burst: grants may arrive late, and then pulls begin all at once."""


@dataclass
class Fleet:
    """Nodes that start cold, and the programs that warm them. `peak`: nodes that were downloading at once."""

    api: ApiServerDouble
    replica: RegistryDouble
    folder: Path
    image: str
    runtimes: dict[str, RuntimeDouble] = field(default_factory=dict)
    stores: dict[str, CriImages] = field(default_factory=dict)
    programs: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    peak: int = 0

    async def start(self, program: str, *arguments: str) -> None:
        name = " ".join((program, *(arguments[1:2] if program == "agent" else ())))
        with (self.folder / "log").open("ab") as log:
            self.programs[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", program, "--config", str(self.folder / "config.yaml"),
                "--kubeconfig", str(self.folder / "kubeconfig"), *arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def start_agent(self, node: str) -> None:
        await self.start("agent", "--node", node, "--cri-socket", self.runtimes[node].socket)

    async def start_controller(self) -> None:
        await self.start("controller", "--lease", "3")

    async def start_all(self) -> None:
        await self.start_controller()
        for node in self.runtimes:
            await self.start_agent(node)
        await self.until(self._all_report, within_s=60)

    async def kill(self, name: str) -> None:
        """As the kernel does it."""
        self.programs[name].send_signal(signal.SIGKILL)
        await self.programs[name].wait()

    def want(self) -> None:
        self.api.put(
            {"apiVersion": "tidegate.dev/v1alpha1", "kind": "PrePull",
             "metadata": {"name": "heavy", "namespace": "default"}, "spec": {"images": [self.image]}},
            plural="prepulls",
        )  # fmt: skip

    async def warm(self, at_least: int) -> bool:
        return sum([await store.present(self.image) for store in self.stores.values()]) >= at_least

    async def until(self, holds: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not await holds():  # noqa: ASYNC110  what is awaited is in other programs' hands
                await asyncio.sleep(0.03)

    async def watch_peak(self) -> None:
        while True:
            self.peak = max(self.peak, sum(runtime.open_downloads > 0 for runtime in self.runtimes.values()))
            await asyncio.sleep(0.01)

    def nodepulls(self) -> list[dict[str, Any]]:
        return self.api.objects("tidegate.dev", "nodepulls")

    async def _all_report(self) -> bool:
        return sum(bool(o.get("status", {}).get("agent")) for o in self.nodepulls()) == len(self.runtimes)

    async def end(self) -> None:
        for process in self.programs.values():
            if process.returncode is None:
                process.terminate()
        async with asyncio.timeout(10):
            await asyncio.gather(*(process.wait() for process in self.programs.values()))


OpenFleet = Callable[..., Any]


@pytest.fixture
def open_fleet(tmp_path: Path) -> OpenFleet:
    """`async with open_fleet(nodes=6, bandwidth=…) as fleet`."""

    @asynccontextmanager
    async def opening(*, nodes: int, bandwidth: float = 20 << 20) -> AsyncIterator[Fleet]:
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(ApiServerDouble())
            api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}, plural="namespaces")
            replica = await stack.enter_async_context(RegistryDouble())
            image = build_image(layers=12, layer_bytes=1 << 18, seed="heavy")
            replica.put("app", image, tag="1")
            replica.fault(throttle=Throttle(rate=RATE, burst=BURST + SLACK), bandwidth=bandwidth)
            fleet = Fleet(api, replica, tmp_path, f"{HOST}/app:1@{image.digest}")
            for number in range(nodes):
                name = f"node-{number}"
                runtime = RuntimeDouble(registries={HOST: replica.url})
                fleet.runtimes[name] = await stack.enter_async_context(runtime)
                fleet.stores[name] = await stack.enter_async_context(CriImages(runtime.socket))
                api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, plural="nodes")
            registry = {
                "host": HOST, "replicas": {"local": {"endpoint": replica.url}},
                "pulls": {
                    "inFlight": IN_FLIGHT, "requestsPerSecond": RATE, "burst": BURST,
                    "maxInFlight": IN_FLIGHT, "maxRequestsPerSecond": RATE,
                },
            }  # fmt: skip
            config = {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [registry]}
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            api.kubeconfig(tmp_path / "kubeconfig")
            watching = asyncio.create_task(fleet.watch_peak())
            try:
                yield fleet
            finally:
                watching.cancel()
                await asyncio.wait([watching])
                await fleet.end()

    return opening
