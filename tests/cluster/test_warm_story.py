"""A rollout to a new heavy image, beside the same without "hold": who waits for a pull, and where."""

from collections.abc import Callable
from datetime import datetime
from statistics import median

import pytest
from bed import HOME, PULLED_FROM, Cluster, push, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NAMESPACE = "warm"
HEAVY = "256M"
READY_S = 240
ROLLOUT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: warm}}
spec:
  replicas: 6
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}, annotations: {{{annotations}}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
HOLD = 'tidegate.dev/pre-pull: "hold"'


def image_of(repository: str, *, random: str) -> str:
    """A new image on both registries; the same name never means the same bytes twice."""
    digest = push(f"{HOME}/{repository}:1", random=random)
    replicate(repository, digest, "1")
    return f"{PULLED_FROM}/{repository}:1@{digest}"


def starts(cluster: Cluster, name: str, image: str) -> dict[str, float]:
    """Pod → seconds from when it was scheduled to when its container started, of those with the image."""
    found = {}
    for pod in cluster.get("pods", "-n", NAMESPACE, "-l", f"app={name}")["items"]:
        if pod["spec"]["containers"][0]["image"] != image or "deletionTimestamp" in pod["metadata"]:
            continue
        conditions = {one["type"]: one for one in pod["status"].get("conditions", [])}
        scheduled = datetime.fromisoformat(conditions["PodScheduled"]["lastTransitionTime"])
        running = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        found[pod["metadata"]["name"]] = (datetime.fromisoformat(running) - scheduled).total_seconds()
    return found


def roll(cluster: Cluster, name: str, image: str, annotations: str) -> None:
    cluster.apply(ROLLOUT.format(name=name, image=image, annotations=annotations))
    cluster.kubectl(
        "rollout", "status", "-n", NAMESPACE, f"deployment/{name}", f"--timeout={READY_S}s", timeout_s=READY_S + 30
    )


def pulls(cluster: Cluster, image: str) -> list[str]:
    """What kubelets said of having to pull it."""
    said = cluster.get("events", "-n", NAMESPACE, "--field-selector=reason=Pulling")["items"]
    return [event["message"] for event in said if image in event["message"]]


def test_no_pod_of_a_held_rollout_waits_for_a_pull(tidegate: Cluster, step: Callable[[str], None]) -> None:
    tidegate.namespace(NAMESPACE, story="hold")
    small = image_of("shop/small", random="1K")
    for name, annotations in (("held", HOLD), ("plain", "")):
        roll(tidegate, name, small, annotations)
    step('two Deployments of six run a small image; both are rolled to a heavy one, first the one without "hold"')

    cold, heavy = image_of("shop/cold", random=HEAVY), image_of("shop/warm", random=HEAVY)
    roll(tidegate, "plain", cold, "")
    roll(tidegate, "held", heavy, HOLD)

    plain, held = starts(tidegate, "plain", cold), starts(tidegate, "held", heavy)
    assert len(plain) == len(held) == 6
    for title, seconds in (('without "hold"', plain), ('with "hold"', held)):
        lines = "\n".join(f"    {pod:<28} {took:5.0f} s" for pod, took in sorted(seconds.items()))
        step(f"{title}, container start minus scheduling (median {median(seconds.values()):.0f} s):\n{lines}")
    events = tidegate.events(NAMESPACE)
    step("\n".join(line for line in events.splitlines() if "Warm" in line))
    assert "WarmingUp" in events
    assert "WarmReady" in events
    assert "WarmExpired" not in events
    assert pulls(tidegate, cold), "without the gate a kubelet pulls"
    assert not pulls(tidegate, heavy), "with it none does"
    assert max(held.values()) < max(plain.values())
    assert not any(tidegate.gates(NAMESPACE, "app=held").values())


def test_an_editor_takes_the_annotation_off_and_not_the_gate(tidegate: Cluster, step: Callable[[str], None]) -> None:
    """The image never comes to this replica, so that both gates stay shut for as long as this takes."""
    tidegate.namespace(NAMESPACE, story="hold")
    image = f"{PULLED_FROM}/shop/never:1@{push(f'{HOME}/shop/never:1')}"
    tidegate.apply(ROLLOUT.format(name="editor", image=image, annotations=HOLD))
    both = ["tidegate.dev/pre-pull", "tidegate.dev/replica"]
    tidegate.until(
        "six Pods wait at both gates",
        lambda: [sorted(gates) for gates in tidegate.gates(NAMESPACE, "app=editor").values()] == [both] * 6,
        within_s=30,
    )
    pod = next(iter(tidegate.gates(NAMESPACE, "app=editor")))
    for left in (both[:1], both[1:], []):
        gates = ", ".join(f'{{"name": "{gate}"}}' for gate in left)
        patch = f'{{"spec": {{"schedulingGates": [{gates}]}}}}'
        refused = tidegate.kubectl("patch", "pod", pod, "-n", NAMESPACE, "--type=merge", "-p", patch, check=False)
        assert refused.code != 0
        step(refused.err.strip())
    tidegate.kubectl("annotate", "pod", pod, "-n", NAMESPACE, "tidegate.dev/pre-pull-")
    tidegate.until("it is let go", lambda: tidegate.gates(NAMESPACE)[pod] == both[1:], within_s=10)
    assert "WarmLifted" in tidegate.events(NAMESPACE)
    tidegate.kubectl("delete", "deployment", "editor", "-n", NAMESPACE)
