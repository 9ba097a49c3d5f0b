"""What the state of a workload says about its Pods. Pure.

Objects are read as far as needed, and whatever is odd in them counts as absent: they are other people's.
"""

from collections.abc import Mapping
from typing import Any

from tidegate.kube.shapes import ReplicaSet, Workload

REVISION_LABEL = "controller-revision-hash"
"""On a StatefulSet's Pod: the revision of the template that it was made from."""
ORDINAL_LABEL = "apps.kubernetes.io/pod-index"
_FAILED = "ReplicaFailure"


def is_refused(kind: str, owner: ReplicaSet | Workload) -> bool:
    """Whether an owner has fewer Pods than it wants, and so may be backing off from a refusal.

    A ReplicaSet says when it was refused one; the others do not, and being short is all there is to see.
    """
    if isinstance(owner, ReplicaSet):
        failed = any(one.type == _FAILED and one.status == "True" for one in owner.status.conditions)
        return failed and owner.status.replicas < owner.spec.replicas
    spec, status = owner.spec, owner.status
    match kind:
        case "StatefulSet":
            return _number(status, "replicas") < _number(spec, "replicas", default=1)
        case "DaemonSet":
            return _number(status, "currentNumberScheduled") < _number(status, "desiredNumberScheduled")
        case "Job":
            return not _is_over(spec, status) and _number(status, "active") < _wanted_of_job(spec, status)
    return False


def is_superseded(labels: Mapping[str, str], name: str, owner: Workload) -> bool:
    """Whether a Pod of a StatefulSet was made from a template that is no longer the one for its place.

    Below `partition` the old template goes on being right. A status that is older than the spec says nothing.
    """
    made_from, update = labels.get(REVISION_LABEL), owner.status.get("updateRevision")
    if not made_from or not isinstance(update, str) or not update or made_from == update:
        return False
    if _number(owner.status, "observedGeneration") < owner.metadata.generation:
        return False
    strategy = owner.spec.get("updateStrategy")
    rolling = strategy.get("rollingUpdate") if isinstance(strategy, dict) else None
    partition = _number(rolling, "partition") if isinstance(rolling, dict) else 0
    ordinal = labels.get(ORDINAL_LABEL) or name.rpartition("-")[2]
    return ordinal.isdecimal() and int(ordinal) >= partition


def _wanted_of_job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    left = _number(spec, "completions", default=1) - _number(status, "succeeded")
    return min(_number(spec, "parallelism", default=1), max(left, 0))


def _is_over(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    conditions = status.get("conditions")
    ended = {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}
    return spec.get("suspend") is True or any(
        isinstance(one, dict) and one.get("type") in ended and one.get("status") == "True"
        for one in (conditions if isinstance(conditions, list) else ())
    )


def _number(of: Mapping[str, Any], key: str, *, default: int = 0) -> int:
    value = of.get(key)
    return value if isinstance(value, int) else default
