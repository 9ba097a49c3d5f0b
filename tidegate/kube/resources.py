"""The API resources that the programs speak about, each with the shape that it decodes to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote

from tidegate.kube import own, shapes


class Identifies(Protocol):
    """What tells one object, and one version of it, from all others of its collection."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class HasMetadata(Protocol):
    """What every object of the API has."""

    @property
    def metadata(self) -> Identifies: ...


T = TypeVar("T", bound=HasMetadata)


@dataclass(frozen=True, slots=True)
class Resource(Generic[T]):
    """One collection of the API: `plural` is its name in URLs, `shape` what its objects decode to.

    `keep` makes of each decoded object what is handed on, for those who hold many and share what is alike.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    shape: type[T]
    keep: Callable[[T], T] | None = None
    metadata_only: bool = False
    """Whether the API server is to send nothing but metadata, of what is large and of which no more matters."""

    def kept(self, obj: T) -> T:
        """The object as it is handed on."""
        return obj if self.keep is None else self.keep(obj)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path, percent-encoded: `/apis/G/V/namespaces/NS/PLURAL/NAME/SUB`; all namespaces when none is given.

        Raises ValueError for a namespace where there is none, and for a missing one where a single object needs it.
        """
        if namespace and not self.namespaced:
            message = f"{self.plural} are in no namespace"
            raise ValueError(message)
        if name and self.namespaced and not namespace:
            message = f"{self.plural} need a namespace"
            raise ValueError(message)
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)


def key(metadata: Identifies) -> str:
    """`NAMESPACE/NAME`, or `NAME` for what is in no namespace."""
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, shapes.Namespace)
SECRETS = Resource("", "v1", "secrets", "Secret", True, shapes.Secret)
NODE_METADATA = Resource("", "v1", "nodes", "Node", False, shapes.MetadataOnly, metadata_only=True)
NODES = Resource("", "v1", "nodes", "Node", False, shapes.Node)
PODS = Resource("", "v1", "pods", "Pod", True, shapes.Pod)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True, shapes.Workload)
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet", True, shapes.ReplicaSet)
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet", True, shapes.Workload)
DAEMONSETS = Resource("apps", "v1", "daemonsets", "DaemonSet", True, shapes.Workload)
JOBS = Resource("batch", "v1", "jobs", "Job", True, shapes.Workload)
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob", True, shapes.Workload)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True, shapes.Lease)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True, shapes.Event)
_ADMISSION = "admissionregistration.k8s.io"
ADMISSION_POLICIES = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False, shapes.AdmissionObject
)
ADMISSION_BINDINGS = Resource(
    _ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False,
    shapes.AdmissionObject,
)  # fmt: skip
VALIDATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False,
    shapes.WebhookConfiguration,
)  # fmt: skip
MUTATING_WEBHOOKS = Resource(
    _ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False,
    shapes.WebhookConfiguration,
)  # fmt: skip
PREPULLS = Resource(own.GROUP, own.VERSION, "prepulls", "PrePull", True, own.PrePull)
NODEPULLS = Resource(own.GROUP, own.VERSION, "nodepulls", "NodePull", False, own.NodePull)
IMAGEAVAILABILITIES = Resource(
    own.GROUP, own.VERSION, "imageavailabilities", "ImageAvailability", False, own.ImageAvailability
)
