"""The scale-out with tidegate: the shipped controller and one shipped agent a node, on an API server in memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.cli.demo.fleet import Fleet, State
from tidegate.cli.demo.programs import Program, program
from tidegate.cli.demo.scene import BURST, FIXED_BOUND, HOST, NODES, REQUESTS_PER_SECOND
from tidegate.kube.own import GROUP, PRE_PULL_ANNOTATION, Phase
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.ports import free_port

START_S = 60.0
"""Fourteen interpreters on a laptop take a while."""
WARM_S = 60.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class BudgetedCluster:
    """An API server, a controller and twelve agents, idle until a workload comes."""

    api: ApiServerDouble
    programs: tuple[Program, ...]

    async def ready(self) -> None:
        """Wait until the controller has its lists and every agent watches its own NodePull."""
        await self.programs[0].until("every agent watches", self._everybody_watches, within_s=START_S)

    async def scale_out(self, fleet: Fleet, image: str) -> None:
        """Apply an annotated Deployment, and watch the nodes become warm."""
        mirror = asyncio.create_task(self._mirror(fleet))
        try:
            self.api.put(_deployment(image), plural="deployments")
            await fleet.watch(image, within_s=WARM_S)
        finally:
            mirror.cancel()
            await asyncio.gather(mirror, return_exceptions=True)

    async def _everybody_watches(self) -> bool:
        watched = {
            name
            for seen in self.api.requests
            if seen.path.endswith("/nodepulls") and "watch=" in seen.query
            for name in (*NODES, "*")
            if name in seen.query or (name == "*" and "fieldSelector" not in seen.query)
        }
        return watched == {*NODES, "*"}

    async def _mirror(self, fleet: Fleet) -> None:
        """Show on the screen what the agents report."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for pull in self.api.objects(GROUP, "nodepulls"):
                node = fleet.nodes[pull["metadata"]["name"]]
                images = pull.get("status", {}).get("images", [])
                if node.warm_s is None and images and images[0].get("phase") == Phase.PULLING:
                    node.state = State.PULLING


@asynccontextmanager
async def open_cluster(fleet: Fleet, folder: Path) -> AsyncIterator[BudgetedCluster]:
    """Start controller and agents for the nodes of a fleet."""
    config = folder / "pre-pull.yaml"
    config.write_text(yaml.safe_dump(_config(fleet.replica.url)), encoding="utf-8")
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServerDouble())
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}, plural="namespaces")
        for name in NODES:
            api.put(_node(name), plural="nodes")
        kubeconfig = str(api.kubeconfig(folder / "kubeconfig"))
        shared = ("--config", str(config), "--kubeconfig", kubeconfig)
        starting = [
            stack.enter_async_context(
                program("controller", *shared, "--metrics-port", str(free_port()), name="controller", folder=folder)
            ),
            *(
                stack.enter_async_context(
                    program("agent", *shared, "--node", name, "--cri-socket", fleet.sockets[name],
                            name=f"agent-{name}", folder=folder)
                )
                for name in NODES
            ),
        ]  # fmt: skip
        yield BudgetedCluster(api, tuple([await one for one in starting]))


def _config(endpoint: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "Config",
        "registries": [
            {
                "host": HOST,
                "replicas": {"westeurope": {"endpoint": endpoint}},
                "limits": {"requestsPerSecond": REQUESTS_PER_SECOND, "burst": BURST},
                "pulls": {
                    "inFlight": FIXED_BOUND,
                    "requestsPerSecond": REQUESTS_PER_SECOND,
                    "burst": BURST,
                    "maxInFlight": FIXED_BOUND,
                    "maxRequestsPerSecond": REQUESTS_PER_SECOND,
                },
            }
        ],
    }


def _node(name: str) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "creationTimestamp": created, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux"},
        },
    }


def _deployment(image: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "model", "namespace": "default", "annotations": {PRE_PULL_ANNOTATION: "true"}},
        "spec": {
            "replicas": len(NODES),
            "selector": {"matchLabels": {"app": "model"}},
            "template": {
                "metadata": {"labels": {"app": "model"}},
                "spec": {"containers": [{"name": "model", "image": image}]},
            },
        },
    }
