"""The objects of Kubernetes that the programs read and write, as far as they read and write them.

Unknown fields are dropped on decoding, so what is written back is always a patch, never a whole foreign object.
Field names follow the API (camelCase on the wire). Our own objects are in `tidegate.kube.own`.
"""

from typing import Any

import msgspec


class Shape(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """What all shapes have in common: camelCase on the wire, defaults left out."""


class OwnerReference(Shape, frozen=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(Shape, frozen=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class MetadataOnly(Shape, frozen=True):
    """Any object, of which no more is asked for."""

    metadata: Metadata = Metadata()


class Namespace(Shape, frozen=True):
    metadata: Metadata = Metadata()


class AdmissionObject(Shape, frozen=True):
    """A ValidatingAdmissionPolicy or its binding."""

    metadata: Metadata = Metadata()
    spec: dict[str, Any] = {}


class WebhookConfiguration(Shape, frozen=True):
    """Of validating or mutating webhooks."""

    metadata: Metadata = Metadata()
    webhooks: list[dict[str, Any]] = []


class Secret(Shape, frozen=True):
    metadata: Metadata = Metadata()
    data: dict[str, str] = {}
    """base64, as on the wire."""


class Taint(Shape, frozen=True):
    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class Toleration(Shape, frozen=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class NodeSpec(Shape, frozen=True):
    unschedulable: bool = False
    taints: list[Taint] = []


class Condition(Shape, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: str | None = None


class NodeSystemInfo(Shape, frozen=True):
    architecture: str = ""
    operating_system: str = ""


class NodeStatus(Shape, frozen=True):
    conditions: list[Condition] = []
    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(Shape, frozen=True):
    metadata: Metadata = Metadata()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Workload(Shape, frozen=True):
    """A Deployment, StatefulSet, DaemonSet, …: the object is kept generic, `tidegate.workload` reads its images."""

    metadata: Metadata = Metadata()
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class SchedulingGate(Shape, frozen=True):
    name: str


class Container(Shape, frozen=True):
    image: str = ""


class ImageVolume(Shape, frozen=True):
    reference: str = ""


class Volume(Shape, frozen=True):
    image: ImageVolume | None = None


class LocalObjectReference(Shape, frozen=True):
    name: str = ""


class PodSpec(Shape, frozen=True):
    containers: list[Container] = []
    init_containers: list[Container] = []
    volumes: list[Volume] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    scheduling_gates: list[SchedulingGate] = []
    image_pull_secrets: list[LocalObjectReference] = []
    affinity: dict[str, Any] | None = None


class PodStatus(Shape, frozen=True):
    phase: str = ""
    conditions: list[Condition] = []


class Pod(Shape, frozen=True):
    """A Pod as the controller sees it; `tidegate.workload` reads its images from what this encodes to."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplate(Shape, frozen=True):
    spec: PodSpec = PodSpec()


class ReplicaSetSpec(Shape, frozen=True):
    replicas: int = 1
    template: PodTemplate = PodTemplate()


class ReplicaSetStatus(Shape, frozen=True):
    replicas: int = 0
    conditions: list[Condition] = []


class ReplicaSet(Shape, frozen=True):
    """Typed, as there are ten for each Deployment."""

    metadata: Metadata = Metadata()
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class LeaseSpec(Shape, frozen=True):
    """Times are `MicroTime`: RFC 3339 in UTC with six digits."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Shape, frozen=True):
    metadata: Metadata = Metadata()
    spec: LeaseSpec = LeaseSpec()


class ObjectReference(Shape, frozen=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Event(Shape, frozen=True):
    """`events.k8s.io/v1`; it lives in the namespace of `regarding` (`default` for what has none).

    The API server requires `eventTime` (MicroTime), `type`, and `reportingController`, `reportingInstance`, `action`
    and `reason` of at most 128 characters each; `note` may have 1 kB.
    """

    metadata: Metadata = Metadata()
    event_time: str | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    type: str = ""
    regarding: ObjectReference = ObjectReference()
    note: str = ""
