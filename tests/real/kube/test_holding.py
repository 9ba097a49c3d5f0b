"""What kube-apiserver makes of held Pods: the policy that guards the gate, and what the controller writes."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.holding.gates import held_of
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.errors import Conflict, Forbidden
from tidegate.kube.own import (
    REPLICA_GATE,
    ImageAvailability,
    ImageAvailabilitySpec,
    ImageAvailabilityStatus,
    MissingParts,
    NamespaceUse,
    ReplicaAvailability,
)
from tidegate.kube.resources import EVENTS, IMAGEAVAILABILITIES, PODS
from tidegate.kube.shapes import Event, Metadata, ObjectReference, Pod

pytestmark = pytest.mark.real

MANIFESTS = Path(__file__).parents[3] / "manifests"
CONTROLLER = "--as=system:serviceaccount:tidegate:tidegate-controller"
IMAGE = "r.example/app@sha256:" + "a" * 64
ACTIVE_S = 20.0
READS = "kubectl-reads-pods"


@pytest.fixture(scope="module")
def guarded(api_server: Any) -> Iterator[Any]:
    """The API server with our roles and the policy, once it is in force; a cluster's other tests do without it."""
    api_server.kubectl("apply", "-f", "-", text="apiVersion: v1\nkind: Namespace\nmetadata: {name: tidegate}\n")
    for name in ("rbac.yaml", "gates.yaml"):
        api_server.kubectl("apply", "-f", str(MANIFESTS / name))
    api_server.kubectl(
        "create", "clusterrole", READS, "--verb=get", "--resource=pods"
    )  # what kubectl does before a patch
    api_server.kubectl("create", "clusterrolebinding", READS, f"--clusterrole={READS}", f"--user={CONTROLLER[5:]}")
    end = time.monotonic() + ACTIVE_S
    while True:  # the API server takes a moment to compile a policy
        name = create(api_server)
        try:
            api_server.kubectl("patch", "pod", name, "--type=merge", "-p", without(gates=[]))
        except AssertionError:
            break
        assert time.monotonic() < end, "the policy never came into force"
        time.sleep(0.2)
    yield api_server
    api_server.kubectl("delete", f"clusterrole/{READS}", f"clusterrolebinding/{READS}")
    api_server.kubectl("delete", "-f", str(MANIFESTS / "gates.yaml"), "-f", str(MANIFESTS / "rbac.yaml"))


@pytest.fixture
async def client(guarded: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient(from_kubeconfig(guarded.kubeconfig)) as client:
        yield client


def create(api_server: Any, *gates: str) -> str:
    name = f"x-{uuid.uuid4().hex[:12]}"
    spec = {
        "containers": [{"name": "c", "image": IMAGE}],
        "schedulingGates": [{"name": gate} for gate in (REPLICA_GATE, *gates)],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    api_server.kubectl("create", "-f", "-", text=json.dumps(pod))
    return name


def without(gates: list[str]) -> str:
    return json.dumps({"spec": {"schedulingGates": [{"name": gate} for gate in gates] or None}})


async def test_nobody_else_opens_our_gate(guarded: Any, client: KubeClient) -> None:
    name = create(guarded, "example.com/other")
    for patch in ([], ["example.com/other"]):
        with pytest.raises(Forbidden, match="opened by tidegate's controller"):
            await client.merge_patch(PODS, name, json.loads(without(patch)), namespace="default")


async def test_anything_else_about_a_held_pod_may_be_changed(guarded: Any, client: KubeClient) -> None:
    name = create(guarded, "example.com/other")
    await client.merge_patch(PODS, name, {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    pod = await client.merge_patch(PODS, name, json.loads(without([REPLICA_GATE])), namespace="default")
    assert [gate.name for gate in pod.spec.scheduling_gates] == [REPLICA_GATE]
    guarded.kubectl("delete", "pod", name, "--wait=false")


async def test_the_controller_opens_it_with_the_role_it_has(guarded: Any) -> None:
    name = create(guarded)
    guarded.kubectl(CONTROLLER, "patch", "pod", name, "--type=merge", "-p", without(gates=[]))
    assert "schedulingGates" not in json.loads(guarded.kubectl("get", "pod", name, "-o", "json"))["spec"]


async def test_the_patch_is_right_for_the_version_that_was_judged_only(guarded: Any, client: KubeClient) -> None:
    name = create(guarded, "example.com/other")
    pod = await client.get(PODS, name, namespace="default")
    seen = held_of(pod, now=datetime.now(UTC))
    assert seen is not None
    assert seen.images == (IMAGE,)
    await client.merge_patch(PODS, name, {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    stale = json.dumps({**seen.without_gate(), "metadata": {"resourceVersion": seen.resource_version}})
    with pytest.raises(Conflict):
        await client.merge_patch(
            PODS, name, seen.without_gate(), namespace="default", resource_version=seen.resource_version
        )
    with pytest.raises(AssertionError, match=r"Conflict|modified"):
        guarded.kubectl(CONTROLLER, "patch", "pod", name, "--type=merge", "-p", stale)
    fresh = json.loads(guarded.kubectl("get", "pod", name, "-o", "json"))["metadata"]["resourceVersion"]
    right = json.dumps({**seen.without_gate(), "metadata": {"resourceVersion": fresh}})
    guarded.kubectl(CONTROLLER, "patch", "pod", name, "--type=merge", "-p", right)
    after = await client.get(PODS, name, namespace="default")
    assert [gate.name for gate in after.spec.scheduling_gates] == ["example.com/other"]


async def test_unscheduled_pods_can_be_watched(guarded: Any, client: KubeClient) -> None:
    listed = await client.list(PODS, field_selector="spec.nodeName=")
    name = create(guarded)
    async with asyncio.timeout(10):
        async for event in client.watch(
            PODS, resource_version=listed.resource_version, field_selector="spec.nodeName="
        ):
            if event.object is not None and event.object.metadata.name == name:
                assert isinstance(event.object, Pod)
                break


@pytest.mark.parametrize(
    "verb,what",
    [
        ("create", "secrets"), ("get", "secrets/tidegate-decision"), ("patch", "secrets/tidegate-decision"),
    ],
)  # fmt: skip
def test_the_controller_may_do_what_it_does(guarded: Any, verb: str, what: str) -> None:
    assert guarded.kubectl("auth", "can-i", verb, what, "--namespace=tidegate", CONTROLLER).strip() == "yes"


def test_an_event_is_accepted_from_the_controller(guarded: Any) -> None:
    event = Event(
        metadata=Metadata(name=f"x-{uuid.uuid4().hex}", namespace="default"),
        event_time="2026-11-24T12:00:00.000000Z", reporting_controller="tidegate.dev/controller",
        reporting_instance="test", action="Hold", reason="ReplicaLagging", type="Normal",
        regarding=ObjectReference(api_version="v1", kind="Pod", namespace="default", name="p", uid="u"),
        note="held: waiting",
    )  # fmt: skip
    document = {"apiVersion": EVENTS.api_version, "kind": "Event", **msgspec.to_builtins(event)}
    guarded.kubectl(CONTROLLER, "create", "-f", "-", text=json.dumps(document))


async def test_everything_that_the_shape_can_say_is_kept(client: KubeClient, guarded: Any) -> None:
    name = f"img-{uuid.uuid4().hex}"
    spec = ImageAvailabilitySpec(registry="r.example", repository="app", digest=IMAGE.partition("@")[2], image=IMAGE)
    made = await client.create(IMAGEAVAILABILITIES, ImageAvailability(metadata=Metadata(name=name), spec=spec))
    assert made.spec == spec
    entry = ReplicaAvailability(
        name="westeurope", complete=True, missing=MissingParts(manifests=1, blobs=2, bytes=2**40), finding="ok",
        since="2026-11-24T12:00:00Z", complete_since="2026-11-24T12:00:00Z", lag_seconds=43.5,
    )  # fmt: skip
    status = ImageAvailabilityStatus(
        replicas=[entry], namespaces=[NamespaceUse(name="shop", since="2026-11-24T12:00:00Z")],
        observed_at="2026-11-24T12:00:00Z",
    )  # fmt: skip
    patched = await client.merge_patch(IMAGEAVAILABILITIES, name, {"status": status}, subresource="status")
    assert patched.status == status
    header, row = guarded.kubectl("get", "ia", name).splitlines()
    assert header.split() == ["NAME", "IMAGE", "COMPLETE", "ON", "MISSING", "ON", "UNUSED", "CHANGED", "AGE"]
    assert row.split()[:2] == [name, IMAGE]
    await client.delete(IMAGEAVAILABILITIES, name)
