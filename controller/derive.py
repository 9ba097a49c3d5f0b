"""The PrePull that a workload asks for, or may ask for. Pure.

- `tidegate.dev/pre-pull: "true"` on the workload or on its pod template asks, and so does "hold". Without the
  annotation, or with "auto", it is silent: of its images those are asked for that are heavy (`heavy`). Any other word
  asks for nothing. The workload's own word goes before the template's.
- A workload that another one controls asks for nothing: its owner does (a CronJob's Jobs). A Job on its own is never
  silent, as its Pods come before any pull could, and not again; one that has ended asks for nothing.
- The PrePull is named after the workload, owned by it, and deleted with it; its images are the pod template's exact
  strings, each once, of listed registries only. Without such an image there is no PrePull.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from controller.placement import Demands, of_workload
from controller.plan import host_of
from tidegate.kube.own import HOLD, PRE_PULL_ANNOTATION, PrePull, PrePullSpec
from tidegate.kube.resources import CRONJOBS, DAEMONSETS, DEPLOYMENTS, JOBS, STATEFULSETS, Resource
from tidegate.kube.shapes import OwnerReference, ReplicaSet, Workload
from tidegate.workload import MalformedObject, placement, view

KINDS: tuple[Resource[Workload], ...] = (DEPLOYMENTS, STATEFULSETS, DAEMONSETS, CRONJOBS, JOBS)
"""Workloads that are looked at; ReplicaSets and Pods belong to one of them."""

NAME_LIMIT = 253
"""Characters of an object's name (a DNS subdomain)."""
ASKING = frozenset({"true", HOLD})
"""Words of the annotation that ask for the images."""
MOST_IMAGES = 64
MOST_TERMS = 32
"""Images, and tolerations or selector labels, of one PrePull, as its CRD allows."""
_HASH = 12
_SILENT = frozenset[str | None]({None, "auto"})
_ENDS = frozenset({"Complete", "Failed"})
_BY_KIND = {resource.kind: resource for resource in KINDS}


@dataclass(frozen=True, slots=True)
class Derived:
    """What a workload asks for: `key` is NAMESPACE/NAME of the PrePull, `demands` what its pods ask of a node."""

    namespace: str
    name: str
    owner: OwnerReference
    spec: PrePullSpec
    demands: Demands
    silent: bool = False
    """It says nothing: only what is heavy is asked for."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def derive(resource: Resource[Workload], workload: Workload, *, listed: Collection[str]) -> Derived | None:
    """The PrePull of a workload; None when it asks for none. Raises MalformedObject or ValueError for a broken one."""
    metadata = workload.metadata
    own = metadata.annotations.get(PRE_PULL_ANNOTATION)
    if own not in _SILENT | ASKING or metadata.deletion_timestamp is not None or _controlled(workload):
        return None
    word = own if own is not None else template_word(workload)
    if word not in (ASKING if resource is JOBS else _SILENT | ASKING) or _ended(workload):
        return None
    raw = msgspec.json.encode(workload)
    seen = view(resource.group, resource.kind, raw)
    if seen is None:
        return None
    images = list(dict.fromkeys(use.image for use in seen.images if host_of(use.image) in listed))[:MOST_IMAGES]
    found = placement(resource.group, resource.kind, raw)
    if not images or found is None:
        return None
    demands = of_workload(found)
    return Derived(
        namespace=metadata.namespace,
        name=name_for(resource.kind, metadata.name),
        owner=OwnerReference(
            api_version=resource.api_version, kind=resource.kind, name=metadata.name, uid=metadata.uid,
            controller=True, block_owner_deletion=False,
        ),
        spec=PrePullSpec(
            images=images,
            node_selector=dict(list(demands.node_selector.items())[:MOST_TERMS]),
            tolerations=[t for t in demands.tolerations if t.operator in {"Equal", "Exists"}][:MOST_TERMS],
        ),
        demands=demands,
        silent=word in _SILENT,
    )  # fmt: skip


def name_for(kind: str, workload: str) -> str:
    """The PrePull's name: `deployment-web`; what would be too long ends in a hash of the whole."""
    name = f"{kind.lower()}-{workload}"
    if len(name) <= NAME_LIMIT:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: NAME_LIMIT - _HASH - 1].rstrip('.-')}-{digest}"


def is_derived(prepull: PrePull) -> bool:
    """Whether a PrePull is one that we keep: owned by a workload and named after it."""
    owner = controller_of(prepull)
    return owner is not None and owner.kind in _BY_KIND and prepull.metadata.name == name_for(owner.kind, owner.name)


def controller_of(owned: PrePull | ReplicaSet | Workload) -> OwnerReference | None:
    """The owner that controls it."""
    return next((owner for owner in owned.metadata.owner_references if owner.controller), None)


def asks_alike(old: Workload, new: Workload) -> bool:
    """Whether nothing changed that says what is wanted: most writes are of a status."""
    return (
        old.spec == new.spec
        and old.metadata.annotations == new.metadata.annotations
        and old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        and old.metadata.owner_references == new.metadata.owner_references
    )


def _controlled(workload: Workload) -> bool:
    return any(owner.controller for owner in workload.metadata.owner_references)


def _ended(workload: Workload) -> bool:
    """Whether it is a Job that has come to its end."""
    conditions = workload.status.get("conditions")
    return isinstance(conditions, list) and any(
        isinstance(one, dict) and one.get("type") in _ENDS and one.get("status") == "True" for one in conditions
    )


def template_word(workload: Workload) -> str | None:
    """The annotation of its pod template, without the decoding that most workloads are spared."""
    spec = workload.spec
    job = spec.get("jobTemplate")
    template = (job.get("spec") or {}).get("template") if isinstance(job, dict) else spec.get("template")
    metadata = template.get("metadata") if isinstance(template, dict) else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    word = annotations.get(PRE_PULL_ANNOTATION) if isinstance(annotations, dict) else None
    return word if isinstance(word, str) else None


__all__ = [
    "KINDS",
    "Derived",
    "MalformedObject",
    "asks_alike",
    "controller_of",
    "derive",
    "is_derived",
    "name_for",
    "template_word",
]
