"""The shipped controller on kube-apiserver: Pods of a Deployment wait for a node, and go there when it is warm."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CHECKOUT = Path(__file__).parents[3]
CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - {host: registry.test, replicas: {a: {endpoint: "http://127.0.0.1:1"}}}
"""
IMAGE = "registry.test/heavy@sha256:" + "a" * 64
HOLD = {"tidegate.dev/pre-pull": "hold"}
GATE = "tidegate.dev/pre-pull"


async def until(met: Callable[[], Any], *, within_s: float) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := met()):  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.1)
    return found


@pytest.fixture
async def namespace(api_server: Any, tmp_path: Path) -> AsyncIterator[str]:
    """One in which the objects of a test are, with a controller that leads."""
    name = f"warm-{uuid.uuid4().hex[:8]}"
    api_server.kubectl("create", "namespace", name)
    (tmp_path / "config.yaml").write_text(CONFIG)
    arguments = [
        "--config", str(tmp_path / "config.yaml"), "--kubeconfig", str(api_server.kubeconfig), "--namespace", name,
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controller", *arguments, stderr=log, cwd=CHECKOUT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(CHECKOUT)},
        )  # fmt: skip
        try:
            yield name
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api_server.kubectl("delete", kind, "--all", "--wait=true")
    api_server.kubectl("delete", "namespace", name, "--wait=false")


class Hands:
    """What controllers of Kubernetes and an agent would do."""

    def __init__(self, api_server: Any, namespace: str) -> None:
        self.api_server = api_server
        self.namespace = namespace

    def get(self, kind: str, name: str) -> dict[str, Any]:
        text = self.api_server.kubectl("get", kind, name, "-n", self.namespace, "--ignore-not-found", "-o", "json")
        return json.loads(text or "{}")

    def make(self, document: dict[str, Any]) -> str:
        """Create it, and return its UID."""
        made = self.api_server.kubectl(
            "create", "-n", self.namespace, "-f", "-", "-o", "json", text=json.dumps(document)
        )
        return str(json.loads(made)["metadata"]["uid"])

    def status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        self.api_server.kubectl(
            "patch", kind, name, "-n", self.namespace, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip

    def workload(self, kind: str, name: str, owner: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        labels = {"app": "web"}
        template = {
            "metadata": {"labels": labels, "annotations": HOLD},
            "spec": {"containers": [{"name": "c", "image": IMAGE}], "schedulingGates": [{"name": GATE}]},
        }
        metadata = {"name": name, "ownerReferences": [owner] if owner else []}
        if kind == "Pod":
            document = {"apiVersion": "v1", "metadata": {**metadata, **template["metadata"]}, "spec": template["spec"]}
        else:
            del template["spec"]["schedulingGates"]
            selecting = {"selector": {"matchLabels": labels}, "template": template, **spec}
            document = {"apiVersion": "apps/v1", "metadata": metadata, "spec": selecting}
        uid = self.make({"kind": kind, **document})
        return {"apiVersion": document["apiVersion"], "kind": kind, "name": name, "uid": uid, "controller": True}

    def gates(self, pod: str) -> list[str]:
        return [gate["name"] for gate in self.get("pod", pod)["spec"].get("schedulingGates", [])]

    def reasons(self) -> set[str]:
        events = json.loads(self.api_server.kubectl("get", "events", "-n", self.namespace, "-o", "json"))["items"]
        return {event["reason"] for event in events}


async def test_two_pods_of_a_deployment_wait_for_the_one_node_that_there_is(api_server: Any, namespace: str) -> None:
    hands, node = Hands(api_server, namespace), f"node-{namespace}"
    uid = hands.make({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    hands.status("node", node, {"conditions": [{"type": "Ready", "status": "True", "reason": "Up", "message": ""}]})
    api_server.kubectl("patch", "node", node, "--type=merge", "-p", '{"spec": {"taints": null}}')
    top = hands.workload("Deployment", "web", replicas=2)
    owner = hands.workload("ReplicaSet", "web-1", top, replicas=2)
    for pod in ("web-1-a", "web-1-b"):
        hands.workload("Pod", pod, owner)
    try:
        pulling = await until(lambda: hands.get("nodepull", node).get("spec", {}).get("images"), within_s=40)
        assert [entry["image"] for entry in pulling] == [IMAGE]
        await until(lambda: "WarmingUp" in hands.reasons(), within_s=20)
        assert [hands.gates(pod) for pod in ("web-1-a", "web-1-b")] == [[GATE], [GATE]]
        there = {"image": IMAGE, "phase": "Present"}
        hands.status("nodepull", node, {"nodeUid": uid, "agent": "a1", "images": [there]})
        await until(lambda: not hands.gates("web-1-a") and not hands.gates("web-1-b"), within_s=10)
        await until(lambda: "WarmReady" in hands.reasons(), within_s=10)
        [term] = hands.get("pod", "web-1-a")["spec"]["affinity"]["nodeAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["preference"]["matchFields"][0]["values"] == [node]
    finally:
        api_server.kubectl("delete", f"node/{node}", f"nodepull/{node}")
