"""A heavy image comes to both nodes through their own runtimes, one node after the other when the budget is one."""

from collections.abc import Callable
from datetime import datetime

import pytest
from bed import HOME, PULLED_FROM, TESTBED, Cluster, push, replicate, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

HEAVY = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: heavy, annotations: {{tidegate.dev/pre-pull: "true"}}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: heavy}}}}
  template:
    metadata: {{labels: {{app: heavy}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""


def statuses(cluster: Cluster, image: str) -> dict[str, dict]:
    """NodePull name → the status of one image on it."""
    found = {}
    for node in cluster.get("nodepulls")["items"]:
        for entry in node.get("status", {}).get("images", []):
            if entry["image"] == image:
                found[node["metadata"]["name"]] = entry
    return found


def _ready(cluster: Cluster) -> list[int]:
    return [one.get("status", {}).get("ready", 0) for one in cluster.get("prepulls", "-A")["items"]]


def test_an_annotated_workload_is_pulled_on_both_nodes_one_after_the_other(
    tidegate: Cluster, step: Callable[[str], None]
) -> None:
    digest = push(f"{HOME}/shop/heavy:1", random="64M")
    replicate("shop/heavy", digest, "1")
    image = f"{PULLED_FROM}/shop/heavy:1@{digest}"

    step("a Deployment of no replicas yet, annotated tidegate.dev/pre-pull")
    tidegate.apply(HEAVY.format(image=image))
    tidegate.until(
        "both nodes have the image",
        lambda: [e["phase"] for e in statuses(tidegate, image).values()] == ["Present", "Present"],
        within_s=60,
    )
    tidegate.until("the PrePull says so", lambda: _ready(tidegate) == [2], within_s=10)
    shown = tidegate.kubectl("get", "prepulls,nodepulls", "-A").out
    step(f"kubectl get prepulls,nodepulls -A:\n{shown}")

    first, second = sorted(
        (datetime.fromisoformat(e["startedAt"]), datetime.fromisoformat(e["finishedAt"]))
        for e in statuses(tidegate, image).values()
    )
    assert first[1] <= second[0], f"overlap: {first} and {second}"

    for node in ("node-1", "node-2"):
        listed = run([str(TESTBED / "in"), node, "ctr", "-n", "k8s.io", "images", "ls", "-q"])
        assert f"{PULLED_FROM}/shop/heavy@{digest}" in listed.out.split()

    step("the rollout starts warm: kubelet finds the image on the node")
    tidegate.kubectl("scale", "deployment/heavy", "--replicas=2")
    tidegate.kubectl("rollout", "status", "deployment/heavy", "--timeout=60s", timeout_s=90)
    events = tidegate.kubectl(
        "get", "events", "--field-selector=reason=Pulled", "-o", "jsonpath={.items[*].message}"
    ).out
    assert f'"{image}" already present on machine' in events


def test_an_agent_may_not_report_for_another_node(tidegate: Cluster) -> None:
    pods = tidegate.get("pods", "-n", "tidegate", "-l", "app=tidegate-agent")["items"]
    pod = next(p for p in pods if p["spec"]["nodeName"] == "node-1")["metadata"]
    token = tidegate.kubectl(
        "create", "token", "tidegate-agent", "-n", "tidegate", "--bound-object-kind=Pod",
        f"--bound-object-name={pod['name']}", f"--bound-object-uid={pod['uid']}",
    ).out.strip()  # fmt: skip
    for node, allowed in (("node-2", False), ("node-1", True)):
        ran = run([
            str(TESTBED / "in"), "curl", "-sk", "-X", "PATCH", "-H", f"Authorization: Bearer {token}",
            "-H", "Content-Type: application/merge-patch+json", "-d", '{"status":{"pulling":""}}',
            f"https://127.0.0.1:6443/apis/tidegate.dev/v1alpha1/nodepulls/{node}/status",
        ])  # fmt: skip
        assert ('"kind":"NodePull"' in ran.out.replace(" ", "")) == allowed, ran.out
