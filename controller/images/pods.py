"""Placed Pods, as small as they can be kept: a cluster has a hundred thousand of them.

Only what tells one Pod from another is kept for each; what they use is shared by all that use the same.
"""

import sys
from functools import lru_cache

import msgspec

from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Container, Shape, Volume

PLACED = "spec.nodeName!="
"""Those that are not are another copy's: each Pod is in one of the two."""
_SHARED = 32_768
"""Distinct lists of images; more of them are kept apart, nothing else."""


class Identity(Shape, frozen=True, gc=False):
    """What a local copy needs of an object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class PodImages(Shape, frozen=True):
    """The parts of a pod spec that name images, under the API's names."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()


class PodPhase(Shape, frozen=True):
    phase: str = ""


class PlacedPod(Shape, frozen=True, gc=False):
    metadata: Identity = Identity()
    spec: PodImages = PodImages()
    status: PodPhase = PodPhase()


@lru_cache(_SHARED)
def _shared(spec: PodImages) -> PodImages:
    volumes = tuple(volume for volume in spec.volumes if volume.image is not None)
    return msgspec.structs.replace(spec, volumes=volumes)


@lru_cache(64)
def _phase(phase: str) -> PodPhase:
    return PodPhase(phase=phase)


def slim(pod: PlacedPod) -> PlacedPod:
    """The same Pod, holding what it shares with others only once."""
    metadata = pod.metadata
    identity = Identity(
        name=metadata.name,
        namespace=sys.intern(metadata.namespace),
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )
    return PlacedPod(metadata=identity, spec=_shared(pod.spec), status=_phase(pod.status.phase))


PLACED_PODS = Resource("", "v1", "pods", "Pod", True, PlacedPod, keep=slim)
