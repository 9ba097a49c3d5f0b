"""What else the gate is told of an object."""

import json
from typing import Any

import msgspec
import pytest

from tidegate.workload import MIRROR_ANNOTATION, Owner, WorkloadView, view

NODE = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": True}
REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u2", "controller": True}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u3"}


def seen(group: str, kind: str, **document: Any) -> WorkloadView:
    found = view(group, kind, json.dumps(document).encode())
    assert found is not None
    return found


def test_a_pod() -> None:
    pod = seen(
        "",
        "Pod",
        metadata={
            "generateName": "web-1-",
            "namespace": "shop",
            "uid": "u",
            "labels": {"app": "web"},
            "annotations": {"a": "b"},
            "ownerReferences": [CONFIG_MAP, REPLICA_SET],
            "managedFields": [{"fieldsV1": {"f:spec": {"f:containers": {}}}}],
        },
        spec={
            "nodeName": "n1",
            "serviceAccountName": "runner",
            "schedulingGates": [{"name": "example.com/a"}, {"name": "example.com/b"}],
            "imagePullSecrets": [{"name": "s"}, {}],
            "containers": [],
        },
    )
    assert (pod.name, pod.generate_name, pod.namespace, pod.uid) == ("", "web-1-", "shop", "u")
    assert (pod.labels, pod.annotations) == ({"app": "web"}, {"a": "b"})
    assert pod.owner == Owner(api_version="apps/v1", kind="ReplicaSet", name="web-1", uid="u2", controller=True)
    assert (pod.node_name, pod.service_account_name) == ("n1", "runner")
    assert pod.scheduling_gates == ("example.com/a", "example.com/b")
    assert pod.image_pull_secrets == ("s",)
    assert pod.is_pod
    assert not pod.being_deleted


@pytest.mark.parametrize("metadata", [None, {}, {"labels": None, "annotations": None, "ownerReferences": None}])
def test_what_is_not_there_is_empty(metadata: Any) -> None:
    pod = seen("", "Pod", metadata=metadata, spec=None)
    assert (pod.name, pod.generate_name, pod.namespace, pod.uid, pod.node_name, pod.service_account_name) == ("",) * 6
    assert (pod.labels, pod.annotations, pod.template_labels, pod.template_annotations) == ({}, {}, {}, {})
    assert (pod.scheduling_gates, pod.image_pull_secrets, pod.images) == ((), (), ())
    assert pod.owner is None
    assert not pod.being_deleted


TEMPLATE = {
    "metadata": {"labels": {"t": "l"}, "annotations": {"t": "a"}},
    "spec": {"serviceAccountName": "runner", "nodeName": "n1"},
}


@pytest.mark.parametrize(
    "group, kind, document",
    [
        pytest.param("apps", "Deployment", {"spec": {"template": TEMPLATE}}, id="Deployment"),
        pytest.param("", "PodTemplate", {"template": TEMPLATE}, id="PodTemplate"),
        pytest.param("batch", "CronJob", {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}}, id="CronJob"),
        pytest.param("argoproj.io", "Rollout", {"spec": {"template": TEMPLATE}}, id="Rollout"),
    ],
)
def test_a_template_is_kept_apart_from_its_object(group: str, kind: str, document: dict[str, Any]) -> None:
    found = seen(group, kind, metadata={"labels": {"o": "l"}, "annotations": {"o": "a"}}, **document)
    assert (found.labels, found.annotations) == ({"o": "l"}, {"o": "a"})
    assert (found.template_labels, found.template_annotations) == ({"t": "l"}, {"t": "a"})
    assert (found.service_account_name, found.node_name) == ("runner", "n1")
    assert not found.is_pod


def test_only_a_controller_owns() -> None:
    assert (
        seen("", "Pod", metadata={"ownerReferences": [CONFIG_MAP, {**REPLICA_SET, "controller": False}]}).owner is None
    )


def test_being_deleted() -> None:
    assert seen("", "Pod", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}).being_deleted
    assert not seen("", "Pod", metadata={"deletionTimestamp": None}).being_deleted


MIRROR_METADATA = {"annotations": {MIRROR_ANNOTATION: "hash"}, "ownerReferences": [NODE]}


@pytest.mark.parametrize(
    "group, kind, metadata, node_name, mirror",
    [
        pytest.param("", "Pod", MIRROR_METADATA, "n1", True, id="as a kubelet makes it"),
        pytest.param("", "Pod", {"ownerReferences": [NODE]}, "n1", False, id="without the annotation"),
        pytest.param("", "Pod", {**MIRROR_METADATA, "ownerReferences": []}, "n1", False, id="without an owner"),
        pytest.param(
            "", "Pod", {**MIRROR_METADATA, "ownerReferences": [REPLICA_SET]}, "n1", False, id="owned by no node"
        ),
        pytest.param("", "Pod", MIRROR_METADATA, "", False, id="on no node"),
        pytest.param("apps", "Deployment", MIRROR_METADATA, "n1", False, id="no Pod"),
    ],
)
def test_what_a_mirror_pod_looks_like(group: str, kind: str, metadata: Any, node_name: str, mirror: bool) -> None:  # noqa: FBT001 - a table
    spec = {"nodeName": node_name} if kind == "Pod" else {"template": {"spec": {"nodeName": node_name}}}
    assert seen(group, kind, metadata=metadata, spec=spec).is_mirror is mirror


def test_a_piece_of_a_larger_document_will_do() -> None:
    class Review(msgspec.Struct):
        object: msgspec.Raw

    review = msgspec.json.decode(b'{"object": {"spec": {"containers": [{"image": "a"}]}}}', type=Review)
    found = view("", "Pod", review.object)
    assert found is not None
    assert [use.image for use in found.images] == ["a"]
