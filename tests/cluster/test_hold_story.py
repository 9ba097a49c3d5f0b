"""A lagging replica, held: the rollout waits at the gate, and goes on by itself when its image has come in."""

import time
from collections.abc import Callable

import pytest
from bed import HOME, LOCAL, PULLED_FROM, Cluster, lose, push, put_blob, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "tide"
ROLLOUT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: tide}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""


def gates(cluster: Cluster) -> list[list[str]]:
    """The scheduling gates of each Pod of the rollout."""
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app=web")["items"]
    return [[gate["name"] for gate in pod["spec"].get("schedulingGates", [])] for pod in pods]


def test_three_pods_wait_for_their_image_and_go_on_by_themselves(
    tidegate: Cluster, step: Callable[[str], None]
) -> None:
    tidegate.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")
    digest = push(f"{HOME}/shop/tide:1")
    [(layer, data)] = replicate("shop/tide", digest, "1")
    lose("shop/tide", layer)
    image = f"{PULLED_FROM}/shop/tide:1@{digest}"

    applied = tidegate.apply(ROLLOUT.format(image=image))
    step(f"kubectl apply of a Deployment of three: {applied.out.strip()}\n{applied.err.strip()}")
    assert "Warning:" in applied.err
    tidegate.until("three Pods are held", lambda: gates(tidegate) == [["tidegate.dev/replica"]] * 3, within_s=20)
    pod = tidegate.get("pods", "-n", NAMESPACE)["items"][0]["metadata"]["name"]
    without = '{"spec":{"schedulingGates":[]}}'
    opened = tidegate.kubectl("patch", "pod", pod, "-n", NAMESPACE, "--type=merge", "-p", without, check=False)
    assert opened.code != 0
    assert "is opened by tidegate's controller" in opened.err
    time.sleep(18)  # the controller looks on, and the Pods wait
    assert gates(tidegate) == [["tidegate.dev/replica"]] * 3

    step("the layer arrives")
    put_blob(LOCAL, "shop/tide", layer, data)
    arrived = time.monotonic()
    tidegate.until("all three are released", lambda: gates(tidegate) == [[], [], []], within_s=10)
    took_s = time.monotonic() - arrived
    step(f"released {took_s:.1f} s after the layer arrived")
    assert took_s < 4, "two seconds, and what kubectl takes to look"
    tidegate.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/web", "--timeout=60s", timeout_s=90)
    events = tidegate.kubectl("get", "events", "-n", NAMESPACE, "--no-headers").out
    step("\n".join(line for line in events.splitlines() if "Replica" in line))
    assert "ReplicaLagging" in events
    assert "ReplicaComplete" in events
    step(tidegate.kubectl("get", "imageavailabilities").out)
