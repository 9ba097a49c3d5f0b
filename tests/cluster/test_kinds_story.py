"""Holding, kind by kind: what each of Kubernetes' own controllers does with a Pod that waits, and what comes of it."""

import time
from collections.abc import Callable

import pytest
from bed import HOME, LOCAL, PULLED_FROM, Cluster, frozen, lose, push, put_blob, replicate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

STATEFUL_SET = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: kinds}}
spec:
  replicas: 1
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {{name: nightly, namespace: kinds}}
spec:
  activeDeadlineSeconds: 20
  template:
    metadata: {{labels: {{app: nightly}}}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "{image}", command: [/bin/sh, -c, "exit 0"]}}]
"""
DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: logs, namespace: kinds}}
spec:
  selector: {{matchLabels: {{app: logs}}}}
  template:
    metadata: {{labels: {{app: logs}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: kinds, labels: {{app: {name}}}}}
spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: app, image: "{image}"}}]}}
"""
GATE = "tidegate.dev/replica"


def lagging(repository: str) -> tuple[str, str, bytes]:
    """An image whose only layer has not come in: its reference, and the layer."""
    digest = push(f"{HOME}/{repository}:1")
    [(layer, data)] = replicate(repository, digest, "1")
    lose(repository, layer)
    return f"{PULLED_FROM}/{repository}:1@{digest}", layer, data


def whole(repository: str) -> str:
    digest = push(f"{HOME}/{repository}:1")
    replicate(repository, digest, "1")
    return f"{PULLED_FROM}/{repository}:1@{digest}"


@pytest.fixture(scope="module")
def kinds(tidegate: Cluster) -> Cluster:
    tidegate.namespace("kinds", story="hold")
    return tidegate


def is_running(cluster: Cluster, selector: str, *, at_least: int = 1) -> bool:
    pods = cluster.get("pods", "-n", "kinds", "-l", selector)["items"]
    return sum(pod["status"]["phase"] == "Running" for pod in pods) >= at_least


def test_a_statefulset_whose_template_is_mended_while_its_pod_is_held(
    kinds: Cluster, step: Callable[[str], None]
) -> None:
    late, _, _ = lagging("kinds/late")
    kinds.apply(STATEFUL_SET.format(image=late))
    kinds.until("db-0 is held", lambda: kinds.gates("kinds", "app=db") == {"db-0": [GATE]}, within_s=20)
    held = kinds.get("pod", "db-0", "-n", "kinds")["metadata"]["uid"]

    kinds.apply(STATEFUL_SET.format(image=whole("kinds/mended")))
    kinds.until("the mended one runs", lambda: is_running(kinds, "app=db"), within_s=30)
    assert kinds.get("pod", "db-0", "-n", "kinds")["metadata"]["uid"] != held
    told = [line for line in kinds.events("kinds").splitlines() if "HoldSuperseded" in line]
    step("\n".join(told))
    assert told


def test_a_job_with_a_deadline_is_held_for_half_of_it(kinds: Cluster, step: Callable[[str], None]) -> None:
    image, layer, data = lagging("kinds/nightly")
    kinds.apply(JOB.format(image=image))
    kinds.until("its Pod is held", lambda: GATE in str(kinds.gates("kinds", "app=nightly")), within_s=10)
    pod = kinds.get("pods", "-n", "kinds", "-l", "app=nightly")["items"][0]["metadata"]
    kinds.until("it is let go", lambda: GATE not in str(kinds.gates("kinds", "app=nightly")), within_s=15)
    told = next(one for one in kinds.get("events", "-n", "kinds")["items"] if one["reason"] == "HoldExpired")
    step(f"{told['reason']}: {told['message']}")
    assert told["involvedObject"]["name"] == pod["name"]
    put_blob(LOCAL, "kinds/nightly", layer, data)  # kubelet tries again, and the Job still has time
    kinds.kubectl("wait", "--for=condition=Complete", "job/nightly", "-n", "kinds", "--timeout=60s", timeout_s=90)


def test_a_daemonset_s_pods_are_never_held(kinds: Cluster, step: Callable[[str], None]) -> None:
    digest = push(f"{HOME}/kinds/logs:1")
    [(layer, data)] = replicate("kinds/logs", digest, "1")
    image = f"{PULLED_FROM}/kinds/logs:1@{digest}"
    kinds.apply(DAEMON_SET.format(image=image))
    kinds.until("it runs on both nodes", lambda: is_running(kinds, "app=logs", at_least=2), within_s=40)
    lose("kinds/logs", layer)
    time.sleep(1)
    kinds.kubectl("delete", "pods", "-n", "kinds", "-l", "app=logs", "--wait=false")
    kinds.until("new ones run on both nodes", lambda: is_running(kinds, "app=logs", at_least=2), within_s=40)
    assert GATE not in str(kinds.gates("kinds", "app=logs"))
    put_blob(LOCAL, "kinds/logs", layer, data)

    late, _, _ = lagging("kinds/late-logs")
    refused = kinds.apply(DAEMON_SET.replace("name: logs", "name: other").format(image=late), check=False)
    step(f"a new DaemonSet of an image that is not whole:\n{refused.err.strip()}")
    assert refused.code != 0


def test_kubectl_debug_works_while_the_replica_is_dark(kinds: Cluster, step: Callable[[str], None]) -> None:
    app, tool = whole("kinds/app"), whole("kinds/tool")
    late, layer, data = lagging("kinds/meanwhile")
    for name, image in (("app", app), ("tool", tool)):
        kinds.apply(POD.format(name=name, image=image))
    kinds.until("both run", lambda: is_running(kinds, "app in (app, tool)", at_least=2), within_s=40)
    with frozen("registry-2"):
        step("the local replica answers nothing")
        kinds.kubectl(
            "debug", "-n", "kinds", "tool", f"--image={app}", "-c", "debugger", "--profile=general", "--",
            "/bin/sh", "-c", "exit 0", timeout_s=30,
        )  # fmt: skip
        warned = kinds.kubectl(
            "debug", "-n", "kinds", "tool", f"--image={late}", "-c", "stranger", "--profile=general", timeout_s=30
        )
        step(f"kubectl debug with an image that nobody has seen:\n{warned.err.strip()}")
        assert "Warning: tidegate: deadline" in warned.err
        added = kinds.get("pod", "tool", "-n", "kinds")["spec"]["ephemeralContainers"]
        step(f"kubectl debug added: {added[0]['name']}, {added[0]['image']}")
        kinds.apply(POD.format(name="newcomer", image=late))
        step(f"a Pod of an image that nobody has seen: {kinds.gates('kinds', 'app=newcomer')}")
        assert kinds.gates("kinds", "app=newcomer") == {"newcomer": [GATE]}
    put_blob(LOCAL, "kinds/meanwhile", layer, data)
    kinds.until("it runs after the outage", lambda: is_running(kinds, "app=newcomer"), within_s=40)
