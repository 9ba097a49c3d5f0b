"""Where the pods of a template could run, as far as an image's being there matters. Pure.

Looked at: node selector, required node affinity, taints with effect NoSchedule or NoExecute, cordons, readiness, and
the node's platform. Not looked at, because they change by the minute or say nothing about images: resources, pod
affinity, topology spread, preferences.

Semantics are those of the scheduler: selector terms are alternatives, requirements within one must all hold, an empty
term matches nothing; `NotIn` and `DoesNotExist` hold for a missing label, `Gt` and `Lt` compare integers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from tidegate.kube.own import GROUP
from tidegate.kube.shapes import Node, Shape, Taint, Toleration
from tidegate.workload import Placement

STARTUP_TAINTS = (
    f"{GROUP}/",
    "startup-taint.cluster-autoscaler.kubernetes.io/",
    "node.cilium.io/agent-not-ready",
    "node.kubernetes.io/not-ready",  # set at a Node's creation, taken off a while after the condition says ready
)
"""Prefixes of taints that leave by themselves while a node starts: it is exactly then that images are wanted on it."""

_REPELLING = frozenset({"NoSchedule", "NoExecute"})
_NAME_FIELD = "metadata.name"
_PLATFORM_PARTS = 2


class Requirement(Shape, frozen=True):
    """One requirement on a label, or on the node's name."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Term(Shape, frozen=True):
    """Requirements that must all hold."""

    match_expressions: tuple[Requirement, ...] = ()
    match_fields: tuple[Requirement, ...] = ()


class _Terms(Shape, frozen=True):
    node_selector_terms: tuple[Term, ...] = ()


class _NodeAffinity(Shape, frozen=True):
    required: _Terms | None = msgspec.field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class _Affinity(Shape, frozen=True):
    node_affinity: _NodeAffinity | None = None


@dataclass(frozen=True, slots=True)
class Demands:
    """What a pod asks of its node."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    terms: tuple[Term, ...] | None = None
    """Required node affinity: one of them must match. None: no such requirement."""


ANYWHERE = Demands()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What of a Node decides whether images are wanted on it; two equal ones mean that nothing changed for us."""

    name: str
    uid: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    usable: bool
    """Neither cordoned, nor known to be not ready, nor on its way out."""
    platform: str
    """`os/architecture`, or empty when the node does not say."""


def facts(node: Node) -> NodeFacts:
    """What we keep of a Node."""
    ready = next((condition.status for condition in node.status.conditions if condition.type == "Ready"), "True")
    info = node.status.node_info
    known = info.operating_system and info.architecture
    return NodeFacts(
        name=node.metadata.name,
        uid=node.metadata.uid,
        labels=node.metadata.labels,
        taints=tuple(t for t in node.spec.taints if t.effect in _REPELLING and not t.key.startswith(STARTUP_TAINTS)),
        usable=ready == "True" and not node.spec.unschedulable and node.metadata.deletion_timestamp is None,
        platform=f"{info.operating_system}/{info.architecture}" if known else "",
    )


def of_workload(found: Placement) -> Demands:
    """What a template's pod spec asks of its node. Raises ValueError for what no API server would have taken."""
    affinity = msgspec.convert(found.affinity, _Affinity | None)
    required = affinity.node_affinity.required if affinity and affinity.node_affinity else None
    return Demands(
        node_selector=found.node_selector,
        tolerations=tuple(msgspec.convert(found.tolerations, list[Toleration])),
        terms=required.node_selector_terms if required else None,
    )


def fits(demands: Demands, node: NodeFacts, *, platforms: Collection[str] = ()) -> bool:
    """Whether a pod could run there. `platforms`: those the cluster's images are for; empty means any."""
    return (
        node.usable
        and platform_fits(node.platform, platforms)
        and demands.node_selector.items() <= node.labels.items()
        and all(any(_tolerates(t, taint) for t in demands.tolerations) for taint in node.taints)
        and (demands.terms is None or any(_term_holds(term, node) for term in demands.terms))
    )


def platform_fits(platform: str, platforms: Collection[str]) -> bool:
    """Whether a node of one platform runs what is for these; empty on either side means any.

    A node says no variant, so a wanted platform is compared by its first two parts.
    """
    return not platform or not platforms or any(_without_variant(wanted) == platform for wanted in platforms)


def _without_variant(platform: str) -> str:
    return "/".join(platform.split("/", _PLATFORM_PARTS)[:_PLATFORM_PARTS])


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.operator == "Exists":
        return toleration.key in {"", taint.key}
    return toleration.operator in {"", "Equal"} and toleration.key == taint.key and toleration.value == taint.value


def _term_holds(term: Term, node: NodeFacts) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return all(_holds(r, node.labels.get(r.key)) for r in term.match_expressions) and all(
        r.key == _NAME_FIELD and _holds(r, node.name) for r in term.match_fields
    )


def _holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" if value is not None and len(requirement.values) == 1:
            return _compares(requirement.operator, value, requirement.values[0])
    return False


def _compares(operator: str, value: str, bound: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)
    except ValueError:
        return False
