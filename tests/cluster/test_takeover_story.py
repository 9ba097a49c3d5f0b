"""The controller that looks after held Pods is killed half-way, and another one goes on."""

import time
from collections.abc import Callable

import pytest
from bed import HOME, LOCAL, PULLED_FROM, TESTBED, Cluster, lose, push, put_blob, replicate, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

GATE = "tidegate.dev/replica"
ROLLOUT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: takeover}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
LEASE_S = 15


def leader(cluster: Cluster) -> str:
    """The Pod that holds the Lease."""
    holder = cluster.get("lease", "tidegate-controller", "-n", "tidegate")["spec"].get("holderIdentity") or ""
    pods = cluster.get("pods", "-n", "tidegate", "-l", "app=tidegate-controller")["items"]
    return next((pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"] in holder), "")


def kill(cluster: Cluster, pod: str) -> None:
    """SIGKILL to the one process of its container, which says goodbye to nobody."""
    found = cluster.get("pod", pod, "-n", "tidegate")
    container = found["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    inside = [str(TESTBED / "in"), found["spec"]["nodeName"]]
    tasks = run([*inside, "ctr", "--namespace", "k8s.io", "tasks", "ls"]).out
    pid = next(line.split()[1] for line in tasks.splitlines() if line.startswith(container))
    assert run([*inside, "kill", "-9", pid]).code == 0


def test_another_controller_releases_what_the_first_one_held(tidegate: Cluster, step: Callable[[str], None]) -> None:
    tidegate.namespace("takeover", story="hold")
    digest = push(f"{HOME}/shop/takeover:1")
    [(layer, data)] = replicate("shop/takeover", digest, "1")
    lose("shop/takeover", layer)
    tidegate.apply(ROLLOUT.format(image=f"{PULLED_FROM}/shop/takeover:1@{digest}"))
    held = [[GATE]] * 3
    tidegate.until("three Pods are held", lambda: [*tidegate.gates("takeover").values()] == held, within_s=20)

    first = leader(tidegate)
    assert first
    kill(tidegate, first)
    killed = time.monotonic()
    tidegate.until("another one leads", lambda: leader(tidegate) not in {"", first}, within_s=2 * LEASE_S)
    step(f"{first} was killed; {leader(tidegate)} leads after {time.monotonic() - killed:.1f} s")
    assert [*tidegate.gates("takeover").values()] == held

    put_blob(LOCAL, "shop/takeover", layer, data)
    arrived = time.monotonic()
    tidegate.until("all are released", lambda: [*tidegate.gates("takeover").values()] == [[], [], []], within_s=10)
    took_s = time.monotonic() - arrived
    step(f"released {took_s:.1f} s after the layer arrived")
    assert took_s < 4, "two seconds, and what kubectl takes to look"
    tidegate.kubectl("rollout", "status", "-n", "takeover", "deployment/web", "--timeout=60s", timeout_s=90)
    told = [line for line in tidegate.events("takeover").splitlines() if " Replica" in line]
    step("\n".join(told))
    assert sum("deployment/web" in line for line in told) == 1
