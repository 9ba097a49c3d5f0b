"""A new node with the startup taint, beside a new one without: when Pods begin on each, and what they wait for."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from bed import HOME, PULLED_FROM, TESTBED, Cluster, push, replicate, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TAINT = "tidegate.dev/not-ready"
WARMED, COLD = "node-3", "node-4"
PREPULL = """
apiVersion: tidegate.dev/v1alpha1
kind: PrePull
metadata: {{name: startup, namespace: default}}
spec: {{images: ["{image}"], nodeSelector: {{kubernetes.io/hostname: node-3}}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: on-{node}}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  containers: [{{name: app, image: "{image}"}}]
"""


@pytest.fixture
def two_more(tidegate: Cluster) -> Iterator[Cluster]:
    """Two nodes more that may be made, which power failures take away again."""
    yield tidegate
    for node in (WARMED, COLD):
        tidegate.kubectl("delete", "pod", f"on-{node}", "--ignore-not-found", "--grace-period=0", "--force")
        run([str(TESTBED / "down"), node])
        tidegate.kubectl("delete", "node", node)
    tidegate.kubectl("delete", "prepull", "startup", "--ignore-not-found")


def add(nodes: str, *, taints: str = "") -> None:
    command = [str(TESTBED / "up"), "--nodes", nodes, "--registries", "2"]
    up = run(command, timeout_s=120, TIDEGATE_TESTBED_TAINTS=taints)
    assert up.code == 0, up.err


def times(cluster: Cluster, node: str) -> dict[str, datetime]:
    pod = cluster.get("pod", f"on-{node}")
    conditions = {one["type"]: one["lastTransitionTime"] for one in pod["status"]["conditions"]}
    found = {
        "created": pod["metadata"]["creationTimestamp"],
        "scheduled": conditions["PodScheduled"],
        "started": pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
    }
    return {what: datetime.fromisoformat(at) for what, at in found.items()}


def test_pods_begin_at_once_where_the_taint_leaves_when_images_are_there(
    two_more: Cluster, step: Callable[[str], None]
) -> None:
    digest = push(f"{HOME}/shop/startup:1", random="256M")
    replicate("shop/startup", digest, "1")
    image = f"{PULLED_FROM}/shop/startup:1@{digest}"
    two_more.apply(PREPULL.format(image=image))
    add("3", taints=f"{{key: {TAINT}, effect: NoSchedule}}")
    add("4")
    for node in (WARMED, COLD):
        two_more.apply(POD.format(node=node, image=image))
    for node in (WARMED, COLD):
        two_more.until(
            f"the Pod on {node} runs",
            lambda node=node: two_more.get("pod", f"on-{node}")["status"]["phase"] == "Running",
            within_s=120,
        )
    assert TAINT not in json.dumps(two_more.get("node", WARMED)["spec"])
    told = two_more.kubectl("get", "events", "--field-selector", f"involvedObject.name={WARMED}", "--no-headers").out
    removed = [line for line in told.splitlines() if TAINT in line]
    step("\n".join(removed))
    assert removed, "the controller says why it took the taint off"
    waits = {}
    for node in (WARMED, COLD):
        at = times(two_more, node)
        waits[node] = (at["started"] - at["scheduled"]).total_seconds()
        held = (at["scheduled"] - at["created"]).total_seconds()
        step(f"{node}: scheduled after {held:.0f} s, its container began {waits[node]:.0f} s later")
    events = two_more.kubectl(
        "get", "events", "--field-selector", f"involvedObject.name=on-{WARMED}", "--no-headers"
    ).out
    step(events.strip())
    assert waits[WARMED] <= 2, "nothing is pulled on a node that was warmed"
    assert waits[WARMED] < waits[COLD]
