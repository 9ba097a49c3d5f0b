"""What holding needs to know of a Pod. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tidegate.kube.own import REPLICA_GATE
from tidegate.kube.resources import key
from tidegate.kube.shapes import ObjectReference, OwnerReference, Pod, Workload
from tidegate.kube.times import moment_of
from tidegate.policy import exempt_reason
from tidegate.pull_secrets import wearer_of
from tidegate.workload import MalformedObject, view


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A Pod that carries our gate, as it was at `resource_version`."""

    key: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    exempt_reason: str
    images: tuple[str, ...]
    """Each once, as the Pod writes them."""
    gates: tuple[str, ...]
    """All, ours among them."""
    created: datetime
    owner: OwnerReference | None = None
    """Its controller."""
    pull_secrets: tuple[str, ...] = ()
    """Names of those that it brings, its ServiceAccount's among them: the API server has copied them."""

    @property
    def owned(self) -> bool:
        """It has a controller owner."""
        return self.owner is not None

    @property
    def is_of_job(self) -> bool:
        """A Job made it."""
        return self.owner is not None and self.owner.kind == "Job"

    @property
    def reference(self) -> ObjectReference:
        """The Pod as Events name it."""
        return ObjectReference(api_version="v1", kind="Pod", namespace=self.namespace, name=self.name, uid=self.uid)

    def without_gate(self) -> Mapping[str, Any]:
        """The merge patch that opens our gate and leaves others shut; right for `resource_version` only."""
        others = [{"name": name} for name in self.gates if name != REPLICA_GATE]
        return {"spec": {"schedulingGates": others or None}}


def held_of(pod: Pod | None, *, now: datetime) -> Held | None:
    """None for a Pod that waits for nothing of ours: no gate, placed already, or being deleted.

    Raises MalformedObject. `now` is when a Pod without a readable creation time was made.
    """
    if pod is None or pod.spec.node_name or pod.metadata.deletion_timestamp is not None:
        return None
    gates = tuple(gate.name for gate in pod.spec.scheduling_gates)
    if REPLICA_GATE not in gates:
        return None
    seen = view("", "Pod", msgspec.json.encode(pod))
    if seen is None:  # the library knows Pods
        return None
    metadata = pod.metadata
    return Held(
        key=key(metadata),
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=metadata.labels,
        exempt_reason=exempt_reason(metadata.annotations),
        images=tuple(dict.fromkeys(use.image for use in seen.images)),
        gates=gates,
        created=moment_of(metadata.creation_timestamp) or now,
        owner=next((one for one in metadata.owner_references if one.controller), None),
        pull_secrets=wearer_of(seen, metadata.namespace).secrets,
    )


def hold_limit_s(job: Workload | None) -> float | None:
    """Seconds from its creation after which a Job's Pod is let go: half of the Job's deadline, if it has one.

    A Job's clock runs while its Pods are gated: held to its end, it would fail without having begun. A Pod's own
    `activeDeadlineSeconds` counts from when a kubelet takes it, and says nothing of how long it may wait.
    """
    limit = job.spec.get("activeDeadlineSeconds") if job is not None else None
    return limit / 2 if isinstance(limit, int) and limit > 0 else None


__all__ = ["Held", "MalformedObject", "held_of", "hold_limit_s"]
