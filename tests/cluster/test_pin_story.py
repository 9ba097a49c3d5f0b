"""`tags: pin` on a real cluster: one ReplicaSet a digest, however often the Deployment is applied with its tag."""

import json
import time
from collections.abc import Callable

import pytest
from bed import HOME, PULLED_FROM, Cluster, push, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: pinned}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
SHOP = "shop/pinned"


def release(cluster: Cluster, tag: str, manager: tuple[str, ...] = ()) -> str:
    """Push what the tag shall be, apply the Deployment with the tag, wait for it; returns the digest."""
    digest = push(f"{HOME}/{SHOP}:{tag}")
    replicate(SHOP, digest, tag)
    time.sleep(1.1)  # a tag is believed for a second
    manifest = DEPLOYMENT.format(image=f"{PULLED_FROM}/{SHOP}:{tag}")
    cluster.kubectl("apply", *manager, "-f", "-", text=manifest)
    cluster.kubectl("rollout", "status", "-n", "pinned", "deployment/web", "--timeout=60s", timeout_s=90)
    return digest


def deployed(cluster: Cluster) -> dict[str, object]:
    found = cluster.get("deployment", "web", "-n", "pinned")
    return {
        "image": found["spec"]["template"]["spec"]["containers"][0]["image"],
        "generation": found["metadata"]["generation"],
    }


def test_three_rollouts_make_as_many_replicasets_as_digests(tidegate: Cluster, step: Callable[[str], None]) -> None:
    tidegate.namespace("pinned", story="pin")
    digests = [release(tidegate, tag) for tag in ("1", "2", "3")]
    assert deployed(tidegate)["image"] == f"{PULLED_FROM}/{SHOP}:3@{digests[2]}"

    again = DEPLOYMENT.format(image=f"{PULLED_FROM}/{SHOP}:3")
    for how in ((), ("--server-side", "--force-conflicts")):
        tidegate.kubectl("apply", *how, "-f", "-", text=again)  # kubectl keeps an annotation of its own, once
        before = deployed(tidegate)
        for _ in range(2):
            applied = tidegate.kubectl("apply", *how, "-f", "-", text=again)
            step(f"{' '.join(('kubectl apply', *how))}, with the tag again: {applied.out.strip()}")
            assert deployed(tidegate) == before, "nothing changed"

    sets = tidegate.get("replicasets", "-n", "pinned", "-l", "app=web")["items"]
    images = {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in sets}
    pods = tidegate.get("pods", "-n", "pinned", "-l", "app=web")["items"]
    step(f"{len(sets)} ReplicaSets, {len(set(digests))} digests")
    assert len(sets) == len(images) == len(set(digests)) == 3
    assert all("@sha256:" in pod["spec"]["containers"][0]["image"] for pod in pods)


def test_a_replicaset_that_keeps_its_tag_has_pods_that_are_pinned(tidegate: Cluster) -> None:
    digest = push(f"{HOME}/shop/kept:1")
    replicate("shop/kept", digest, "1")
    tagged = f"{PULLED_FROM}/shop/kept:1"
    manifest = DEPLOYMENT.replace("name: web, namespace", "name: kept, namespace").replace("app: web", "app: kept")
    tidegate.namespace("pinned", story="pin", **{"tidegate.dev/break-glass": "true"})
    paused = json.dumps({"metadata": {"labels": {"story": None}}})
    tidegate.kubectl("patch", "namespace", "pinned", "--type=merge", "-p", paused)
    time.sleep(1)
    tidegate.apply(manifest.format(image=tagged))
    tidegate.kubectl("rollout", "status", "-n", "pinned", "deployment/kept", "--timeout=60s", timeout_s=90)
    normal = json.dumps({"metadata": {"labels": {"story": "pin", "tidegate.dev/break-glass": None}}})
    tidegate.kubectl("patch", "namespace", "pinned", "--type=merge", "-p", normal)
    time.sleep(1)
    tidegate.kubectl("delete", "pods", "-n", "pinned", "-l", "app=kept")
    tidegate.kubectl("rollout", "status", "-n", "pinned", "deployment/kept", "--timeout=60s", timeout_s=90)
    sets = tidegate.get("replicasets", "-n", "pinned", "-l", "app=kept")["items"]
    assert [one["spec"]["template"]["spec"]["containers"][0]["image"] for one in sets] == [tagged]
    pods = tidegate.get("pods", "-n", "pinned", "-l", "app=kept")["items"]
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {f"{tagged}@{digest}"}
