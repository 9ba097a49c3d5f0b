"""The images inside any Kubernetes object, with the JSON pointer of each, and what else the gate must know of it.

Pure: bytes in, values out. For any bytes the answer is a value or `MalformedObject`, nothing else. A malformed object
is first of all the API server's business, which would refuse it; here it only must not do harm.
"""

from tidegate.workload.decoding import MalformedObject
from tidegate.workload.placement import ANYWHERE, Placement, placement
from tidegate.workload.places import BUILT_IN, NO_PLACES, PRESETS, GroupKind, Places, holds_images, places
from tidegate.workload.shapes import Owner
from tidegate.workload.view import (
    IMAGES_LIMIT,
    MIRROR_ANNOTATION,
    ImageUse,
    WorkloadView,
    new_images,
    same_images,
    view,
)

__all__ = [
    "ANYWHERE",
    "BUILT_IN",
    "IMAGES_LIMIT",
    "MIRROR_ANNOTATION",
    "NO_PLACES",
    "PRESETS",
    "GroupKind",
    "ImageUse",
    "MalformedObject",
    "Owner",
    "Placement",
    "Places",
    "WorkloadView",
    "holds_images",
    "new_images",
    "placement",
    "places",
    "same_images",
    "view",
]
