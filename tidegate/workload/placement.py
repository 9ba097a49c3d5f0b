"""On which nodes a workload's Pods may run, as far as the object itself says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.workload.custom import at
from tidegate.workload.places import NO_PLACES, GroupKind, Places, places
from tidegate.workload.shapes import Scheduling


@dataclass(frozen=True, slots=True)
class Placement:
    """A pod spec's own fields; what is raw has the API's shape (k8s.io/api core/v1) and is not validated here."""

    node_selector: Mapping[str, str]
    tolerations: tuple[dict[str, Any], ...]
    affinity: dict[str, Any] | None
    node_name: str


ANYWHERE = Placement(node_selector={}, tolerations=(), affinity=None, node_name="")

_SCHEDULING = msgspec.json.Decoder(Scheduling | None)


def placement(
    group: str, kind: str, raw: bytes | msgspec.Raw, configured: Mapping[GroupKind, Places] = NO_PLACES
) -> Placement | None:
    """Of the (first) pod spec in the object; None if the kind holds no images. Raises `MalformedObject`.

    An object without a pod spec (ImagePullJob) is placed `ANYWHERE`.
    """
    where = places(group, kind, configured)
    if where is None:
        return None
    for place in (*(f"{template}/spec" for template in where.templates), *where.pod_specs):
        for _, found in at(raw, place, _SCHEDULING):
            if found is not None:
                return Placement(
                    node_selector=found.node_selector or {},
                    tolerations=tuple(found.tolerations or ()),
                    affinity=found.affinity,
                    node_name=found.node_name or "",
                )
    return ANYWHERE
