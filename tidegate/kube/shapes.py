"""The Kubernetes objects that the programs read and write, as far as they read and write them.

Unknown fields are dropped on decoding, so what is written back is always a patch, never a whole foreign object.
Field names follow the API (camelCase on the wire).
"""

from enum import StrEnum
from typing import Any

import msgspec

GROUP = "tidegate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

PRE_PULL_ANNOTATION = f"{GROUP}/pre-pull"
HOLD = "hold"
"""The annotation's word by which a workload's new Pods wait for their images on nodes, too."""
PRE_PULL_GATE = PRE_PULL_ANNOTATION
"""The scheduling gate of a Pod whose image is not yet on enough nodes."""
RETRIED_ANNOTATION = f"{GROUP}/retried-at"
"""On what makes Pods: when the controller last woke it, as what its Pods were refused for had changed."""
REPLICA_GATE = f"{GROUP}/replica"
"""The scheduling gate of a Pod whose image is still on its way."""
DECISION_SECRET = "tidegate-decision"  # noqa: S105 - a name
"""In tidegate's own namespace: the keys by which /mutate signs what it decided; the newest by name signs."""


class Shape(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """What all shapes have in common: camelCase on the wire, defaults left out."""


class Phase(StrEnum):
    """How far one image is on a node.

    A word of another version reads as Pulling: it neither hides the whole object, nor says that a grant is over.
    """

    PENDING = "Pending"
    PULLING = "Pulling"
    PRESENT = "Present"
    FAILED = "Failed"
    SKIPPED = "Skipped"

    @classmethod
    def _missing_(cls, _: object) -> "Phase":
        return cls.PULLING


class Reason(StrEnum):
    """Why a pull failed, or why there was none. A word of another version reads as Other."""

    NONE = ""
    THROTTLED = "Throttled"
    UNAUTHORIZED = "Unauthorized"
    NOT_FOUND = "NotFound"
    NO_SPACE = "NoSpace"
    CANCELED = "Canceled"
    STALLED = "Stalled"
    COLLECTED = "Collected"
    OTHER = "Other"

    @classmethod
    def _missing_(cls, _: object) -> "Reason":
        return cls.OTHER


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


class PrePullSpec(Shape, frozen=True):
    """What is wanted: images, exactly as pods spell them, on the nodes that match."""

    images: list[str] = []
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    priority: int = 0


class PrePullStatus(Shape, frozen=True):
    observed_generation: int = 0
    nodes: int = 0
    """Nodes where the images are wanted."""
    ready: int = 0
    """Nodes that have all of them."""
    conditions: list[Condition] = []


class PrePull(Shape, frozen=True):
    api_version: str = API_VERSION
    kind: str = "PrePull"
    metadata: Metadata = Metadata()
    spec: PrePullSpec = PrePullSpec()
    status: PrePullStatus = PrePullStatus()


class Grant(Shape, frozen=True):
    """Leave to pull one image once. The agent quotes `id` in its status; after `expiresAt` it is worth nothing."""

    id: str
    expires_at: str
    """RFC 3339 in UTC; the agent starts nothing past it."""
    seconds: float
    """How long the pull may take from the moment the agent starts it, by the agent's monotonic clock."""


class NodeImage(Shape, frozen=True):
    """One image that a node should have; without a grant the agent may look, not pull."""

    image: str
    bytes: int = 0
    """Compressed bytes of the platform's layers, from the manifest; 0 when unknown."""
    grant: Grant | None = None


class NodePullSpec(Shape, frozen=True):
    node_uid: str = ""
    images: list[NodeImage] = []


class NodeImageStatus(Shape, frozen=True):
    """How far one image is on a node."""

    image: str
    phase: Phase = Phase.PENDING
    reason: Reason = Reason.NONE
    message: str = ""
    grant: str = ""
    """The id of the grant that this status answers."""
    attempts: int = 0
    bytes: int = 0
    collected: int = 0
    """How often it was here and then gone, without anybody's asking us."""
    started_at: str | None = None
    finished_at: str | None = None
    throttled: bool = False
    retry_after_seconds: float | None = None


class RegistryAddresses(Shape, frozen=True):
    """Where a node finds one registry."""

    registry: str
    addresses: list[str] = []
    """As its resolver answers, in their own order; none: it does not."""


class NodePullStatus(Shape, frozen=True):
    node_uid: str = ""
    """UID of the Node that the agent found itself on; of another UID the status does not count."""
    agent: str = ""
    """A nonce of the agent's start: a new one means that all was looked at anew."""
    observed_generation: int = 0
    wanted: int = 0
    """Images in the spec that was looked at; with the two below, what `kubectl get nodepulls` shows."""
    present: int = 0
    """Images whose phase is Present."""
    pulling: str = ""
    """The image being pulled now, or empty."""
    images: list[NodeImageStatus] = []
    addresses: list[RegistryAddresses] = []
    advice: list[str] = []
    """What the node's own configuration means for images that wait there for their Pods."""


class NodePull(Shape, frozen=True):
    """Cluster-scoped, named like its Node and owned by it. The controller writes spec, the agent status."""

    api_version: str = API_VERSION
    kind: str = "NodePull"
    metadata: Metadata = Metadata()
    spec: NodePullSpec = NodePullSpec()
    status: NodePullStatus = NodePullStatus()


class ImageAvailabilitySpec(Shape, frozen=True):
    """Which image: by digest, or by tag where that is how it is used."""

    registry: str = ""
    repository: str = ""
    digest: str = ""
    tag: str = ""
    image: str = ""
    """One string as a Pod writes it."""


class MissingParts(Shape, frozen=True):
    """What a replica lacks; bytes are the descriptors' own."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    first: list[str] = []
    """Digests: all, or the first ten in their own order."""


class ReplicaAvailability(Shape, frozen=True):
    """One image on one replica."""

    name: str
    complete: bool = False
    missing: MissingParts = MissingParts()
    finding: str = ""
    since: str | None = None
    """Since when the finding is this one."""
    complete_since: str | None = None
    lag_seconds: float | None = None
    """Of its first arrival there, kept for good: from when the image was first looked for, or was complete at home if
    that was later, to when it was found complete. 0 at home, and where it was complete at the first look."""


class NamespaceUse(Shape, frozen=True):
    """A namespace where the image runs, or ran within a day."""

    name: str
    since: str | None = None
    """When it was first seen running there."""
    unused_since: str | None = None
    """When neither a Pod nor a workload's template there named it any more."""


class ImageAvailabilityStatus(Shape, frozen=True):
    replicas: list[ReplicaAvailability] = []
    namespaces: list[NamespaceUse] = []
    complete_on: str = ""
    """Names of replicas, for people; so is the next."""
    missing_on: str = ""
    unused_since: str | None = None
    """When nothing in the cluster used it any more; a day later the object goes."""
    observed_at: str | None = None
    """When the status last changed."""


class ImageAvailability(Shape, frozen=True):
    """Cluster-scoped, written by the controller: where an image is whole."""

    api_version: str = API_VERSION
    kind: str = "ImageAvailability"
    metadata: Metadata = Metadata()
    spec: ImageAvailabilitySpec = ImageAvailabilitySpec()
    status: ImageAvailabilityStatus = ImageAvailabilityStatus()
