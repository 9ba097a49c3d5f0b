"""What is to be known of a Pod that waits for nodes, and the patch that lets it go. Pure."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from controller.placement import Demands, of_workload
from controller.plan import host_of
from tidegate.kube.own import HOLD, PRE_PULL_ANNOTATION, PRE_PULL_GATE, REPLICA_GATE
from tidegate.kube.resources import key
from tidegate.kube.shapes import ObjectReference, OwnerReference, Pod
from tidegate.kube.times import moment_of
from tidegate.workload import ANYWHERE, MalformedObject, placement, view

MOST_PREFERRED = 32
"""Nodes that one Pod's affinity names. Each takes a term of its own, as the API server allows one name a term."""
WEIGHT = 100
"""The most that a preference may weigh."""
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A Pod that carries the gate, as it was at `resource_version`."""

    key: str
    group: str
    """What Pods have in common that wait for the same nodes: owner, images, and what they ask of a node."""
    namespace: str
    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str]
    wishes: bool
    """Its annotation still says that it wants to wait."""
    gates: tuple[str, ...]
    created: datetime
    images: tuple[str, ...]
    """Of listed registries, each once, as the Pod writes them."""
    demands: Demands
    preferred: tuple[Any, ...]
    """The node affinity that it prefers by itself, as the API has it."""
    owner: OwnerReference | None = None

    @property
    def is_free(self) -> bool:
        """No other gate of ours is before this one."""
        return REPLICA_GATE not in self.gates

    @property
    def reference(self) -> ObjectReference:
        """The Pod as Events name it."""
        return ObjectReference(api_version="v1", kind="Pod", namespace=self.namespace, name=self.name, uid=self.uid)

    def let_go(self, warm: Collection[str]) -> Mapping[str, Any]:
        """The merge patch that opens the gate and prefers these nodes; right for `resource_version` only."""
        others = [{"name": name} for name in self.gates if name != PRE_PULL_GATE]
        spec: dict[str, Any] = {"schedulingGates": others or None}
        if warm:
            terms = [*self.preferred, *(_prefers(name) for name in chosen(warm, self.uid))]
            spec["affinity"] = {"nodeAffinity": {_PREFERRED: terms}}
        return {"spec": spec}


def waiting_of(pod: Pod | None, *, listed: Collection[str], now: datetime) -> Waiting | None:
    """None for a Pod that does not wait: no gate, placed already, or being deleted.

    Raises MalformedObject or ValueError. `now` is when a Pod without a readable creation time was made.
    """
    if pod is None or pod.spec.node_name or pod.metadata.deletion_timestamp is not None:
        return None
    gates = tuple(gate.name for gate in pod.spec.scheduling_gates)
    if PRE_PULL_GATE not in gates:
        return None
    raw, metadata = msgspec.json.encode(pod), pod.metadata
    seen = view("", "Pod", raw)
    images = dict.fromkeys(use.image for use in seen.images) if seen is not None else {}
    listed_images = tuple(image for image in images if host_of(image) in listed)
    demands = of_workload(placement("", "Pod", raw) or ANYWHERE)
    owner = next((one for one in metadata.owner_references if one.controller), None)
    alike = msgspec.json.encode((listed_images, demands), order="deterministic")
    node_affinity = (pod.spec.affinity or {}).get("nodeAffinity") or {}
    return Waiting(
        key=key(metadata),
        group=f"{owner.uid if owner else metadata.uid}/{hashlib.sha256(alike).hexdigest()[:16]}",
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=metadata.labels,
        wishes=metadata.annotations.get(PRE_PULL_ANNOTATION) == HOLD,
        gates=gates,
        created=moment_of(metadata.creation_timestamp) or now,
        images=listed_images,
        demands=demands,
        preferred=tuple(node_affinity.get(_PREFERRED) or ()),
        owner=owner,
    )


def chosen(warm: Collection[str], uid: str) -> Sequence[str]:
    """As many as an affinity may name; of more than that, each Pod chooses others."""

    def draw(name: str) -> bytes:
        return hashlib.sha256(f"{uid}/{name}".encode()).digest()

    return sorted(warm if len(warm) <= MOST_PREFERRED else sorted(warm, key=draw)[:MOST_PREFERRED])


def _prefers(node: str) -> Mapping[str, Any]:
    matching = {"key": "metadata.name", "operator": "In", "values": [node]}
    return {"weight": WEIGHT, "preference": {"matchFields": [matching]}}


__all__ = ["MOST_PREFERRED", "WEIGHT", "MalformedObject", "Waiting", "chosen", "waiting_of"]
