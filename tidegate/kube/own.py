"""Our own objects in the Kubernetes API, and the names that we give to things in others'.

`PrePull`, `NodePull` and `ImageAvailability`, as far as the programs read and write them; see `manifests/crds`.
"""

from enum import StrEnum

from tidegate.kube.shapes import Condition, Metadata, Shape, Toleration

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
