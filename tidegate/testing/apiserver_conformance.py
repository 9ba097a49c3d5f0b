"""What our programs rely on in an API server: one suite for the double and for kube-apiserver.

A test module makes it its own by subclasses called `Test…`, with a `server` fixture. It needs pytest and
pytest-asyncio; nothing but tests may import it. Lists and watches are in `apiserver_conformance_lists`.
"""
# ruff: noqa: S101, PLR2004  these are tests; a number in an assertion is the specification

import uuid
from typing import Any, Protocol

import msgspec
import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, Invalid, KubeError, NotFound, Unavailable
from tidegate.kube.own import (
    Grant,
    NodeImage,
    NodeImageStatus,
    NodePull,
    NodePullSpec,
    NodePullStatus,
    Phase,
    PrePull,
    PrePullSpec,
)
from tidegate.kube.patch import difference
from tidegate.kube.resources import EVENTS, LEASES, NAMESPACES, NODEPULLS, NODES, PODS, PREPULLS, Resource
from tidegate.kube.shapes import (
    Condition,
    Lease,
    LeaseSpec,
    Metadata,
    Namespace,
    Node,
    NodeSpec,
    ObjectReference,
    Taint,
    Workload,
)
from tidegate.kube.shapes import Event as KubeEvent

RAW_PODS = Resource("", "v1", "pods", "Pod", namespaced=True, shape=Workload)


class Server(Protocol):
    """An API server under test, with our CRDs if it knows such a thing."""

    client: KubeClient

    async def forget(self) -> None:
        """Make it forget all history up to now."""


def node_pull(name: str = "", **labels: str) -> NodePull:
    return NodePull(metadata=Metadata(name=name or fresh(), labels=labels))


def fresh() -> str:
    return f"c-{uuid.uuid4().hex}"


class Conformance:
    """What the parts of the suite share; `server` is for the test module to give."""

    @pytest.fixture
    async def namespace(self, server: Server) -> str:
        made = await server.client.create(NAMESPACES, Namespace(metadata=Metadata(generate_name="conformance-")))
        return made.metadata.name


class ObjectsConformance(Conformance):
    """Single objects."""

    async def test_creation_stamps_and_drops_the_status(self, server: Server) -> None:
        made = await server.client.create(
            NODEPULLS, msgspec.structs.replace(node_pull(), status=NodePullStatus(present=4))
        )

        assert made.metadata.uid
        assert made.metadata.creation_timestamp
        assert int(made.metadata.resource_version) > 0
        assert made.metadata.generation == 1
        assert made.status == NodePullStatus()
        assert await server.client.get(NODEPULLS, made.metadata.name) == made

    async def test_a_name_is_taken_once(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull())

        with pytest.raises(AlreadyExists) as told:
            await server.client.create(NODEPULLS, node_pull(made.metadata.name))
        assert (told.value.status, told.value.reason) == (409, "AlreadyExists")

    async def test_a_name_is_generated(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, NodePull(metadata=Metadata(generate_name="made-")))

        assert made.metadata.name.startswith("made-")
        assert len(made.metadata.name) == len("made-") + 5

    @pytest.mark.parametrize(
        "name", ["", "Upper", "under_score", "-first", "last-", "sp ace", "a" * 254, "sla/sh", "new\nline"]
    )
    async def test_a_bad_name_is_invalid(self, server: Server, name: str) -> None:
        with pytest.raises(Invalid) as told:
            await server.client.create(NODEPULLS, NodePull(metadata=Metadata(name=name)))
        assert told.value.status == 422

    async def test_a_version_at_creation_is_an_error(self, server: Server) -> None:
        with pytest.raises(Unavailable, match="resourceVersion should not be set"):
            await server.client.create(NODEPULLS, NodePull(metadata=Metadata(name=fresh(), resource_version="7")))

    async def test_a_namespace_has_to_exist(self, server: Server) -> None:
        wanted = PrePull(metadata=Metadata(name="any"), spec=PrePullSpec(images=["a"]))

        with pytest.raises(NotFound):
            await server.client.create(PREPULLS, wanted, namespace="never-made")

    async def test_a_namespace_has_to_be_that_of_the_path(self, server: Server, namespace: str) -> None:
        elsewhere = Metadata(name="any", namespace="kube-system")

        with pytest.raises(Invalid):
            await server.client.create(
                PREPULLS, PrePull(metadata=elsewhere, spec=PrePullSpec(images=["a"])), namespace=namespace
            )

    async def test_a_namespace_carries_its_name_as_a_label(self, server: Server, namespace: str) -> None:
        found = await server.client.get(NAMESPACES, namespace)

        assert found.metadata.labels["kubernetes.io/metadata.name"] == namespace

    async def test_what_is_not_there_is_not_found(self, server: Server) -> None:
        for asked in (
            server.client.get(NODEPULLS, fresh()),
            server.client.merge_patch(NODEPULLS, fresh(), {"spec": {"nodeUid": "x"}}),
            server.client.merge_patch(NODEPULLS, fresh(), {"spec": {"nodeUid": "x"}}, resource_version="1"),
            server.client.delete(NODEPULLS, fresh()),
        ):
            with pytest.raises(NotFound):
                await asked

    async def test_a_merge_patch_merges_objects_replaces_lists_and_deletes_nulls(self, server: Server) -> None:
        spec = NodePullSpec(node_uid="u", images=[NodeImage(image="a"), NodeImage(image="b")])
        labels = {"kept": "1", "changed": "1", "deleted": "1"}
        made = await server.client.create(
            NODEPULLS, NodePull(metadata=Metadata(name=fresh(), labels=labels), spec=spec)
        )

        patch = {
            "metadata": {"labels": {"changed": "2", "deleted": None, "new": "3"}},
            "spec": {"images": [{"image": "c"}]},
        }
        now = await server.client.merge_patch(NODEPULLS, made.metadata.name, patch)

        assert now.metadata.labels == {"kept": "1", "changed": "2", "new": "3"}
        assert now.spec == NodePullSpec(node_uid="u", images=[NodeImage(image="c")])

    async def test_a_patch_that_changes_nothing_writes_nothing(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull(a="b"))

        now = await server.client.merge_patch(NODEPULLS, made.metadata.name, {"metadata": {"labels": {"a": "b"}}})

        assert now == made

    async def test_a_patch_of_an_older_version_is_a_conflict(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull())
        name, version = made.metadata.name, made.metadata.resource_version
        await server.client.merge_patch(NODEPULLS, name, {"spec": {"nodeUid": "a"}}, resource_version=version)

        with pytest.raises(Conflict) as told:
            await server.client.merge_patch(NODEPULLS, name, {"spec": {"nodeUid": "b"}}, resource_version=version)
        assert (told.value.status, told.value.reason) == (409, "Conflict")
        assert (await server.client.get(NODEPULLS, name)).spec.node_uid == "a"

    async def test_spec_and_status_are_written_apart(self, server: Server) -> None:
        name = (await server.client.create(NODEPULLS, node_pull())).metadata.name
        both = {"spec": {"nodeUid": "u"}, "status": {"present": 5}, "metadata": {"labels": {"a": "b"}}}

        status = await server.client.merge_patch(NODEPULLS, name, both, subresource="status")
        assert (status.spec.node_uid, status.status.present, status.metadata.generation) == ("", 5, 1)
        assert status.metadata.labels == {}

        both["status"] = {"present": 6}
        spec = await server.client.merge_patch(NODEPULLS, name, both)
        assert (spec.spec.node_uid, spec.status.present, spec.metadata.generation) == ("u", 5, 2)

    async def test_a_generation_counts_specs_alone(self, server: Server) -> None:
        name = (await server.client.create(NODEPULLS, node_pull())).metadata.name
        label: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}}
        spec: dict[str, Any] = {"spec": {"nodeUid": "u"}}

        for patch, generation in ((label, 1), (spec, 2), (spec, 2)):
            assert (await server.client.merge_patch(NODEPULLS, name, patch)).metadata.generation == generation

    @pytest.mark.parametrize("field", ["uid", "name"])
    async def test_identity_cannot_be_patched(self, server: Server, field: str) -> None:
        made = await server.client.create(NODEPULLS, node_pull())

        with pytest.raises(Invalid):
            await server.client.merge_patch(NODEPULLS, made.metadata.name, {"metadata": {field: "another"}})

    async def test_a_difference_makes_the_state_that_was_meant(self, server: Server) -> None:
        grant = Grant(id="g", expires_at="2030-01-01T00:00:00Z", seconds=1.5)
        old = NodePullSpec(node_uid="u", images=[NodeImage(image="a", bytes=7, grant=grant), NodeImage(image="b")])
        new = NodePullSpec(images=[NodeImage(image="b", bytes=3), NodeImage(image="a", bytes=7)])
        made = await server.client.create(NODEPULLS, NodePull(metadata=Metadata(name=fresh()), spec=old))

        now = await server.client.merge_patch(NODEPULLS, made.metadata.name, {"spec": difference(old, new)})

        assert (made.spec, now.spec) == (old, new)

    async def test_a_status_goes_back_to_its_defaults(self, server: Server) -> None:
        name = (await server.client.create(NODEPULLS, node_pull())).metadata.name
        images = [NodeImageStatus(image="a", phase=Phase.PULLING, throttled=True, retry_after_seconds=0.5)]
        old = NodePullStatus(node_uid="u", agent="n", wanted=2, present=1, pulling="a", images=images)
        new = NodePullStatus(node_uid="u", agent="n", wanted=2)

        for status in (old, new):
            before = (await server.client.get(NODEPULLS, name)).status
            patch = {"status": difference(before, status)}
            now = await server.client.merge_patch(NODEPULLS, name, patch, subresource="status")
            assert now.status == status

    async def test_fields_that_we_do_not_know_stay(self, server: Server, namespace: str) -> None:
        spec = {"containers": [{"name": "c", "image": "i:1", "args": ["x"]}]}
        await server.client.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, namespace=namespace)
        await server.client.merge_patch(PODS, "p", {"metadata": {"annotations": {"a": "b"}}}, namespace=namespace)

        raw = await server.client.get(RAW_PODS, "p", namespace=namespace)

        assert raw.spec["containers"][0]["args"] == ["x"]
        assert raw.metadata.annotations == {"a": "b"}

    async def test_a_node_keeps_the_status_of_its_creation(self, server: Server) -> None:
        status = {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"architecture": "arm64"}}
        made = await server.client.create(NODES, {"metadata": {"name": fresh()}, "status": status})

        assert made.status.node_info.architecture == "arm64"
        assert made.status.conditions == [Condition(type="Ready", status="True")]
        await server.client.delete(NODES, made.metadata.name)

    async def test_a_deletion_is_of_that_very_object(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull())
        name, uid = made.metadata.name, made.metadata.uid

        for wanted_uid, wanted_version in (("another", ""), ("", "1")):
            with pytest.raises(Conflict):
                await server.client.delete(NODEPULLS, name, uid=wanted_uid, resource_version=wanted_version)
        await server.client.delete(NODEPULLS, name, uid=uid, resource_version=made.metadata.resource_version)
        with pytest.raises(NotFound):
            await server.client.get(NODEPULLS, name)
        assert (await server.client.create(NODEPULLS, node_pull(name))).metadata.uid != uid

    async def test_a_finalizer_defers_a_deletion(self, server: Server) -> None:
        body = {"metadata": {"name": fresh(), "finalizers": ["tidegate.dev/conformance"]}, "spec": {}}
        name = (await server.client.create(NODEPULLS, body)).metadata.name

        await server.client.delete(NODEPULLS, name)
        assert (await server.client.get(NODEPULLS, name)).metadata.deletion_timestamp
        await server.client.merge_patch(NODEPULLS, name, {"metadata": {"finalizers": None}})
        with pytest.raises(NotFound):
            await server.client.get(NODEPULLS, name)

    async def test_a_lease_is_renewed_by_whoever_saw_it_last(self, server: Server, namespace: str) -> None:
        spec = LeaseSpec(holder_identity="a", lease_duration_seconds=15, renew_time="2026-01-01T00:00:00.000001Z")
        made = await server.client.create(LEASES, Lease(metadata=Metadata(name="l"), spec=spec), namespace=namespace)
        renewed = {"spec": {"renewTime": "2026-01-01T00:00:05.123456Z"}}

        first = await server.client.merge_patch(
            LEASES, "l", renewed, namespace=namespace, resource_version=made.metadata.resource_version
        )
        with pytest.raises(Conflict):
            await server.client.merge_patch(
                LEASES, "l", renewed, namespace=namespace, resource_version=made.metadata.resource_version
            )

        assert made.spec == spec
        assert first.spec.renew_time == "2026-01-01T00:00:05.123456Z"

    async def test_an_event_can_be_told(self, server: Server, namespace: str) -> None:
        told = KubeEvent(
            metadata=Metadata(generate_name="e-"),
            event_time="2026-01-01T00:00:00.000000Z",
            reporting_controller="tidegate.dev/controller",
            reporting_instance="controller-0",
            action="Pull",
            reason="Throttled",
            type="Warning",
            regarding=ObjectReference(kind="Pod", namespace=namespace, name="p"),
            note="the registry asks for a pause",
        )

        assert (await server.client.create(EVENTS, told, namespace=namespace)).reason == "Throttled"

    async def test_a_strategic_patch_changes_one_condition(self, server: Server) -> None:
        made = await server.client.create(NODES, Node(metadata=Metadata(name=fresh())))
        name = made.metadata.name
        for kind, status in (("Ready", "True"), ("example.com/A", "False"), ("example.com/A", "True")):
            said = {"status": {"conditions": [{"type": kind, "status": status, "reason": "R", "message": "m"}]}}
            await server.client.strategic_patch(NODES, name, said, subresource="status")

        conditions = (await server.client.get(NODES, name)).status.conditions
        assert {c.type: c.status for c in conditions} == {"Ready": "True", "example.com/A": "True"}
        with pytest.raises((Conflict, Invalid)):
            await server.client.strategic_patch(NODES, name, {"metadata": {"uid": "another"}})

    async def test_a_merge_patch_replaces_taints(self, server: Server) -> None:
        when = "2026-01-01T00:00:00Z"
        a, b = Taint(key="x/a", effect="NoExecute", time_added=when), Taint(key="x/b", effect="NoSchedule", value="v")
        made = await server.client.create(NODES, Node(metadata=Metadata(name=fresh()), spec=NodeSpec(taints=[a, b])))
        own = [taint for taint in made.spec.taints if taint.key not in {"x/a", "x/b"}]  # the API server's

        patch = {"spec": {"taints": [*own, a]}}
        version = made.metadata.resource_version
        now = await server.client.merge_patch(NODES, made.metadata.name, patch, resource_version=version)

        assert now.spec.taints == [*own, a]

    async def test_custom_resources_know_no_strategic_patch(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull())

        with pytest.raises(KubeError, match="the body of the request was in"):
            await server.client.strategic_patch(NODEPULLS, made.metadata.name, {"spec": {"nodeUid": "u"}})
