"""A namespace that ran by tag begins to enforce: what runs goes on running, what is new is refused."""

from collections.abc import Callable

import pytest
from bed import HOME, PULLED_FROM, Cluster, push, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WORKLOADS = 20
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: old}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, story: old}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
---
"""


def ready(cluster: Cluster) -> int:
    return sum(one["status"].get("readyReplicas", 0) for one in cluster.get("deployments", "-n", "old")["items"])


def test_twenty_workloads_by_tag_survive_a_drain_and_a_twenty_first_is_refused(
    tidegate: Cluster, step: Callable[[str], None]
) -> None:
    image = f"{PULLED_FROM}/shop/old:1"
    replicate("shop/old", push(f"{HOME}/shop/old:1"), "1")
    tidegate.namespace("old", **{"tidegate.dev/mode": "audit"})
    tidegate.until("its mode is known", lambda: mode(tidegate) == "audit", within_s=10)
    tidegate.apply("".join(DEPLOYMENT.format(name=f"web-{n}", image=image) for n in range(WORKLOADS)))
    tidegate.until("twenty run", lambda: ready(tidegate) == WORKLOADS, within_s=90)
    tidegate.until("it is known where the image runs", lambda: "old" in runs_in(tidegate, image), within_s=20)

    tidegate.namespace("old", **{"tidegate.dev/mode": "enforce"})
    tidegate.until("the namespace enforces", lambda: mode(tidegate) == "enforce", within_s=10)
    before = {pod["metadata"]["name"] for pod in tidegate.get("pods", "-n", "old")["items"]}
    drained = tidegate.kubectl("drain", "node-1", "--pod-selector=story=old", "--ignore-daemonsets", timeout_s=90)
    try:
        step(drained.out.strip().splitlines()[-1])
        tidegate.until("all twenty are back", lambda: ready(tidegate) == WORKLOADS, within_s=90)
    finally:
        tidegate.kubectl("uncordon", "node-1")
    after = tidegate.get("pods", "-n", "old")["items"]
    replaced = [pod for pod in after if pod["metadata"]["name"] not in before]
    step(
        f"{len(replaced)} Pods were replaced, {len(after)} of {WORKLOADS} run: all by tag, in a namespace that enforces"
    )
    assert replaced
    assert {pod["spec"]["nodeName"] for pod in after} == {"node-2"}

    refused = tidegate.apply(DEPLOYMENT.format(name="twenty-first", image=image), check=False)
    step(f"a twenty-first:\n{refused.err.strip()}")
    assert refused.code != 0
    assert "not-pinned" in refused.err


def mode(cluster: Cluster) -> str:
    return cluster.get("namespace", "old")["metadata"]["labels"].get("tidegate.dev/effective-mode", "")


def runs_in(cluster: Cluster, image: str) -> set[str]:
    found = [one for one in cluster.get("imageavailabilities")["items"] if one["spec"]["image"] == image]
    return {use["name"] for one in found for use in one.get("status", {}).get("namespaces", [])}
