"""JSON Patch (RFC 6902) on an object under review: pinned images, scheduling gates, the decision."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidegate.workload import WorkloadView

Operation = dict[str, Any]

_MOST_ANNOTATIONS = 256 << 10
"""Bytes of all annotations of an object together. Source: k8s.io/apimachinery pkg/api/validation/objectmeta.go."""


def pinned(seen: WorkloadView, pins: Mapping[str, str]) -> list[Operation]:
    """Each image that has a pin, wherever it stands; `test` first, so that nothing else is ever overwritten."""
    operations: list[Operation] = []
    for use in seen.images:
        pin = pins.get(use.image)
        if pin is not None:
            operations.append({"op": "test", "path": use.pointer, "value": use.image})
            operations.append({"op": "replace", "path": use.pointer, "value": pin})
    return operations


def gated(seen: WorkloadView, gates: Sequence[str]) -> list[Operation]:
    """A Pod's gates, each once."""
    missing = [{"name": gate} for gate in dict.fromkeys(gates) if gate not in seen.scheduling_gates]
    if missing and seen.pod.scheduling_gates is None:
        return [{"op": "add", "path": "/spec/schedulingGates", "value": missing}]
    return [{"op": "add", "path": "/spec/schedulingGates/-", "value": gate} for gate in missing]


def annotated(seen: WorkloadView, key: str, value: str) -> list[Operation]:
    """An annotation, unless it is there already or there is no room for it."""
    if seen.annotations.get(key) == value or not (seen.name or seen.generate_name):  # the latter: no metadata at all
        return []
    others = sum(len(k.encode()) + len(v.encode()) for k, v in seen.annotations.items() if k != key)
    if others + len(key) + len(value) > _MOST_ANNOTATIONS:
        return []
    if seen.metadata.annotations is None:
        return [{"op": "add", "path": "/metadata/annotations", "value": {key: value}}]
    return [{"op": "add", "path": f"/metadata/annotations/{_escaped(key)}", "value": value}]


def encoded(operations: Sequence[Operation]) -> str | None:
    """As an answer carries it; None for no change."""
    return b64encode(msgspec.json.encode(operations)).decode("ascii") if operations else None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
