"""What kube-apiserver makes of Pods that wait for nodes: one patch opens the gate and adds where it should land."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.warm.pods import MOST_PREFERRED, Waiting, waiting_of
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.errors import Conflict, Forbidden
from tidegate.kube.own import PRE_PULL_GATE, REPLICA_GATE
from tidegate.kube.resources import PODS

pytestmark = pytest.mark.real

MANIFESTS = Path(__file__).parents[3] / "manifests"
CONTROLLER = "--as=system:serviceaccount:tidegate:tidegate-controller"
OTHER = "example.com/other"
ACTIVE_S = 20.0
READS = "kubectl-reads-waiting-pods"
OWN_TERM = {
    "weight": 7,
    "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
}
APART = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
    {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"}},
]}}  # fmt: skip


@pytest.fixture(scope="module")
def fenced(api_server: Any) -> Iterator[Any]:
    """The API server with our roles and the policy, once it is in force."""
    folder = [MANIFESTS / name for name in ("rbac.yaml", "gates.yaml")]
    api_server.kubectl("apply", "-f", "-", text="apiVersion: v1\nkind: Namespace\nmetadata: {name: tidegate}\n")
    for path in folder:
        api_server.kubectl("apply", "-f", str(path))
    api_server.kubectl("create", "clusterrole", READS, "--verb=get", "--resource=pods")  # kubectl does before a patch
    api_server.kubectl("create", "clusterrolebinding", READS, f"--clusterrole={READS}", f"--user={CONTROLLER[5:]}")
    end = time.monotonic() + ACTIVE_S
    while True:  # the API server takes a moment to compile a policy
        name = create(api_server)
        try:
            api_server.kubectl("patch", "pod", name, "--type=merge", "-p", '{"spec": {"schedulingGates": null}}')
        except AssertionError:
            break
        assert time.monotonic() < end, "the policy never came into force"
        time.sleep(0.2)
    yield api_server
    api_server.kubectl("delete", *(f"--filename={path}" for path in folder))
    api_server.kubectl("delete", "clusterrole,clusterrolebinding", READS)


@pytest.fixture
async def client(fenced: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient(from_kubeconfig(fenced.kubeconfig)) as client:
        yield client


def create(api_server: Any, *gates: str, **spec: Any) -> str:
    name = f"w-{uuid.uuid4().hex[:12]}"
    spec = {
        "containers": [{"name": "c", "image": "r.example/app:1"}],
        "schedulingGates": [{"name": gate} for gate in (PRE_PULL_GATE, *gates)],
        **spec,
    }
    metadata = {"name": name, "namespace": "default", "annotations": {PRE_PULL_GATE: "hold"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    api_server.kubectl("create", "-f", "-", text=json.dumps(pod))
    return name


async def seen(client: KubeClient, name: str) -> Waiting:
    pod = await client.get(PODS, name, namespace="default")
    waiting = waiting_of(pod, listed={"r.example"}, now=datetime.now(UTC))
    assert waiting is not None
    return waiting


def as_controller(api_server: Any, waiting: Waiting, warm: set[str]) -> dict[str, Any]:
    """The very patch that the controller sends, by its own account; the Pod's spec after it."""
    patch = {**waiting.let_go(warm), "metadata": {"resourceVersion": waiting.resource_version}}
    api_server.kubectl(CONTROLLER, "patch", "pod", waiting.name, "--type=merge", "-p", json.dumps(patch))
    spec: dict[str, Any] = json.loads(api_server.kubectl("get", "pod", waiting.name, "-o", "json"))["spec"]
    return spec


def term(node: str) -> dict[str, Any]:
    return {
        "weight": 100,
        "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
    }


async def test_one_patch_opens_the_gate_and_names_the_warm_nodes(fenced: Any, client: KubeClient) -> None:
    waiting = await seen(client, create(fenced, OTHER))
    spec = as_controller(fenced, waiting, {"node-2", "node-1"})
    assert spec["schedulingGates"] == [{"name": OTHER}]
    assert spec["affinity"] == {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term("node-1"), term("node-2")]}
    }


async def test_the_affinity_that_was_there_stays(fenced: Any, client: KubeClient) -> None:
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}
    own = {
        "requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": [OWN_TERM],
    }
    waiting = await seen(client, create(fenced, affinity={"nodeAffinity": own, **APART}))
    spec = as_controller(fenced, waiting, {"node-1"})
    assert "schedulingGates" not in spec
    assert spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == required
    assert spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] == [
        OWN_TERM, term("node-1"),
    ]  # fmt: skip
    assert spec["affinity"]["podAntiAffinity"] == APART["podAntiAffinity"]


async def test_as_many_nodes_as_we_ever_name_are_accepted(fenced: Any, client: KubeClient) -> None:
    waiting = await seen(client, create(fenced))
    spec = as_controller(fenced, waiting, {f"node-{number}" for number in range(1000)})
    terms = spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert len(terms) == MOST_PREFERRED


async def test_it_is_right_for_the_version_that_was_looked_at_only(fenced: Any, client: KubeClient) -> None:
    waiting = await seen(client, create(fenced))
    await client.merge_patch(PODS, waiting.name, {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    with pytest.raises(Conflict):
        await client.merge_patch(
            PODS, waiting.name, waiting.let_go({"node-1"}), namespace="default",
            resource_version=waiting.resource_version,
        )  # fmt: skip


async def test_nobody_else_opens_it_and_each_gate_says_how_it_is_opened(fenced: Any, client: KubeClient) -> None:
    name = create(fenced, REPLICA_GATE, OTHER)
    for left, said in (
        ([REPLICA_GATE, OTHER], "gate tidegate.dev/pre-pull is opened by tidegate's controller"),
        ([PRE_PULL_GATE], "gate tidegate.dev/replica is opened by tidegate's controller"),
        ([], "is opened by tidegate's controller"),
    ):
        patch = {"spec": {"schedulingGates": [{"name": gate} for gate in left] or None}}
        with pytest.raises(Forbidden, match=said):
            await client.merge_patch(PODS, name, patch, namespace="default")
    both = {"spec": {"schedulingGates": [{"name": PRE_PULL_GATE}, {"name": REPLICA_GATE}]}}
    pod = await client.merge_patch(PODS, name, both, namespace="default")
    assert [gate.name for gate in pod.spec.scheduling_gates] == [PRE_PULL_GATE, REPLICA_GATE]


async def test_whoever_is_not_fenced_opens_ours_and_leaves_others(fenced: Any) -> None:
    """What the documentation tells to do when tidegate is taken away."""
    name = create(fenced, REPLICA_GATE, OTHER)
    ours = [{"name": gate, "$patch": "delete"} for gate in (PRE_PULL_GATE, REPLICA_GATE)]
    patch = json.dumps({"spec": {"schedulingGates": ours}})
    fenced.kubectl(CONTROLLER, "patch", "pod", name, "-p", patch)
    spec = json.loads(fenced.kubectl("get", "pod", name, "-o", "json"))["spec"]
    assert spec["schedulingGates"] == [{"name": OTHER}]


async def test_the_annotation_is_its_authors_to_take_off(fenced: Any, client: KubeClient) -> None:
    name = create(fenced)
    off = {"metadata": {"annotations": {PRE_PULL_GATE: None}}}
    await client.merge_patch(PODS, name, off, namespace="default")
    assert not (await seen(client, name)).wishes
