"""The startup taint on kube-apiserver, taken off by the shipped controller: warm, past the deadline, after a crash."""

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.resources import NODEPULLS, NODES, PREPULLS
from tidegate.kube.shapes import Node

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CHECKOUT = Path(__file__).parents[3]
IMAGE = "registry.test/shop/app:1"
CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - {host: registry.test, replicas: {a: {endpoint: "http://127.0.0.1:1"}}}
prePull: {deadline: 20s, nodeCondition: true}
"""
TAINT = {"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}
OTHER = {"key": "example.com/dedicated", "effect": "NoSchedule", "value": "gpu"}
LEASE_S = 3


class Cluster:
    """Nodes, and a controller that is killed and started."""

    def __init__(self, client: KubeClient, api_server: Any, arguments: list[str]) -> None:
        self.client = client
        self.kubectl = api_server.kubectl
        self._arguments = arguments

    async def node(self, name: str, *, pool: str) -> None:
        node = {"metadata": {"name": name, "labels": {"pool": pool}}, "spec": {"taints": [TAINT, OTHER]}}
        await self.client.create(NODES, node)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await self.client.strategic_patch(NODES, name, ready, subresource="status")

    async def seen(self, name: str) -> Node:
        return await self.client.get(NODES, name)

    async def let_go(self, name: str, *, within_s: float) -> float:
        """Seconds since the creation, by the clock here."""
        async with asyncio.timeout(within_s):
            while any(taint.key == TAINT["key"] for taint in (await self.seen(name)).spec.taints):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return time.time() - _epoch((await self.seen(name)).metadata.creation_timestamp)

    def events(self, name: str) -> list[tuple[str, str]]:
        text = self.kubectl("get", "events.events.k8s.io", "-n", "default", "-o", "json")
        return [(e["reason"], e["note"]) for e in json.loads(text)["items"] if e["regarding"]["name"] == name]

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[Callable[[], None]]:
        """Gives what kills it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controller", *self._arguments, stderr=asyncio.subprocess.DEVNULL, cwd=CHECKOUT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(CHECKOUT)},
        )  # fmt: skip
        try:
            yield process.kill
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 20)


def _epoch(text: str | None) -> float:
    return datetime.fromisoformat(text or "").timestamp()


@pytest.fixture
async def cluster(api_server: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    namespace = f"startup-{uuid.uuid4().hex[:8]}"
    api_server.kubectl("create", "namespace", namespace)
    (tmp_path / "config.yaml").write_text(CONFIG)
    arguments = [
        "--config", str(tmp_path / "config.yaml"), "--kubeconfig", str(api_server.kubeconfig),
        "--namespace", namespace, "--lease", str(LEASE_S),
    ]  # fmt: skip
    async with KubeClient(from_kubeconfig(api_server.kubeconfig)) as client:
        yield Cluster(client, api_server, arguments)
    for kind in ("nodes", "validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api_server.kubectl("delete", kind, "--all", "--wait=true")
    api_server.kubectl("delete", "prepulls", "--all", "-A")
    api_server.kubectl("delete", "namespace", namespace, "--wait=false")


async def test_nodes_begin_when_they_are_warm_and_past_their_deadline_whoever_died(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = uuid.uuid4().hex[:8]
    empty, warm, cold = (f"{word}-{pool}" for word in ("empty", "warm", "cold"))
    asked = {"metadata": {"name": pool}, "spec": {"images": [IMAGE], "nodeSelector": {"pool": pool},
             "tolerations": [{"key": OTHER["key"], "operator": "Exists"}]}}  # fmt: skip
    await cluster.client.create(PREPULLS, asked, namespace="default")
    async with cluster.controller() as kill:
        await cluster.node(empty, pool="another")
        nothing_s = await cluster.let_go(empty, within_s=15)
        await cluster.node(warm, pool=pool)
        await cluster.node(cold, pool=pool)
        await _report_present(cluster, warm)
        warm_s = await cluster.let_go(warm, within_s=5)
        assert [t.key for t in (await cluster.seen(cold)).spec.taints if t.key == TAINT["key"]] == [TAINT["key"]]
        kill()
    async with cluster.controller():
        cold_s = await cluster.let_go(cold, within_s=30)
        await asyncio.sleep(0.5)
    assert cold_s <= 20 + LEASE_S + 2
    for name, reason in ((empty, "NoImagesWanted"), (warm, "ImagesPresent"), (cold, "DeadlinePassed")):
        seen = await cluster.seen(name)
        assert OTHER["key"] in {taint.key for taint in seen.spec.taints}, "nobody else's"
        said = next(c for c in seen.status.conditions if c.type == "tidegate.dev/ImagesPresent")
        assert (said.status, said.reason) == ("True", reason)
        assert [told for told, _ in cluster.events(name)] == [reason]
    with capsys.disabled():
        print(f"\ntaint gone after: none wanted {nothing_s:.1f} s, warm {warm_s:.1f} s, cold {cold_s:.1f} s (of 20)")
        for name in (empty, warm, cold):
            print(f"  {name}: {cluster.events(name)}")
        print(cluster.kubectl("describe", "node", cold).split("Events:")[-1])


async def _report_present(cluster: Cluster, name: str) -> None:
    """What the agent would."""
    async with asyncio.timeout(10):
        while not (found := [n for n in (await cluster.client.list(NODEPULLS)).items if n.metadata.name == name]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    status = {"nodeUid": found[0].spec.node_uid, "agent": "a", "images": [{"image": IMAGE, "phase": "Present"}]}
    await cluster.client.merge_patch(NODEPULLS, name, {"status": status}, subresource="status")
