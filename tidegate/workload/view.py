"""What the gate and the controller need to know of an object, read from its bytes.

`view` is on the path of every review: shapes.py lists what is decoded, everything else is skipped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from tidegate.workload.builtin import READERS, Found
from tidegate.workload.custom import at
from tidegate.workload.decoding import MalformedObject, decoded
from tidegate.workload.places import NO_PLACES, GroupKind, Places, places
from tidegate.workload.shapes import Container, Metadata, Object, Owner, PodSpec, PodTemplate

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
"""On the API object that a kubelet makes for a static Pod. Source: k8s.io/api core/v1 annotation_key_constants.go."""

IMAGES_LIMIT: Final = 1000
"""Images that one object may name."""

_VARIABLE: Final = "$("

_NO_STRINGS: Mapping[str, str] = {}
_NO_METADATA = Metadata()
_NO_POD = PodSpec()
_OBJECT = msgspec.json.Decoder(Object)
_TEMPLATE = msgspec.json.Decoder(PodTemplate | None)
_POD_SPEC = msgspec.json.Decoder(PodSpec | None)
_STRING = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True)
class ImageUse:
    """One image string of an object."""

    image: str
    """Exactly as the object has it; never empty."""
    pointer: str
    """JSON pointer of the string in the object."""
    ephemeral: bool = False
    """Of an ephemeral container, which nothing can hold."""


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """An object that can hold images."""

    group: str
    kind: str
    images: tuple[ImageUse, ...]
    """In the object's order: containers, init, ephemeral, volumes. One string may be there more than once."""
    metadata: Metadata
    template: Metadata | None
    """Metadata of the (first) pod template; None if the object is a Pod or has none."""
    pod: PodSpec
    """The Pod's own spec, or that of the (first) pod template."""

    @property
    def name(self) -> str:
        """Empty on creation with `generate_name`."""
        return self.metadata.name or ""

    @property
    def generate_name(self) -> str:
        return self.metadata.generate_name or ""

    @property
    def namespace(self) -> str:
        """Empty for cluster-scoped objects; in a review the request's own namespace is the one that counts."""
        return self.metadata.namespace or ""

    @property
    def uid(self) -> str:
        return self.metadata.uid or ""

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or _NO_STRINGS

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations or _NO_STRINGS

    @property
    def template_labels(self) -> Mapping[str, str]:
        return (self.template or _NO_METADATA).labels or _NO_STRINGS

    @property
    def template_annotations(self) -> Mapping[str, str]:
        return (self.template or _NO_METADATA).annotations or _NO_STRINGS

    @property
    def owner(self) -> Owner | None:
        """The controller that owns the object: the API server allows one at most."""
        return next((owner for owner in self.metadata.owner_references or () if owner.controller), None)

    @property
    def is_pod(self) -> bool:
        return self.kind == "Pod" and not self.group

    @property
    def node_name(self) -> str:
        """The node that the Pod (or template) names; empty for those that a scheduler places."""
        return self.pod.node_name or ""

    @property
    def being_deleted(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def is_mirror(self) -> bool:
        """All that a mirror Pod's object says. Anyone can write it: believe it only of a node's own request."""
        if not (self.is_pod and MIRROR_ANNOTATION in self.annotations and self.node_name):
            return False
        owner = self.owner
        return owner is not None and owner.kind == "Node"

    @property
    def scheduling_gates(self) -> tuple[str, ...]:
        return tuple(gate.name for gate in self.pod.scheduling_gates or () if gate.name)

    @property
    def image_pull_secrets(self) -> tuple[str, ...]:
        return tuple(secret.name for secret in self.pod.image_pull_secrets or () if secret.name)

    @property
    def service_account_name(self) -> str:
        return self.pod.service_account_name or ""


def view(
    group: str, kind: str, raw: bytes | msgspec.Raw, configured: Mapping[GroupKind, Places] = NO_PLACES
) -> WorkloadView | None:
    """The object of that group and kind in JSON; None if the kind holds no images. Raises `MalformedObject`."""
    read = READERS.get((group, kind))
    if read is not None:
        found = read(raw)
        images = _bounded(_images_of(found.pod, found.pointer))
    elif (where := places(group, kind, configured)) is not None:
        found = Found(metadata=decoded(raw, _OBJECT).metadata)
        images = _bounded(_custom_images(raw, where, found))
    else:
        return None
    return WorkloadView(group, kind, images, found.metadata or _NO_METADATA, found.template, found.pod or _NO_POD)


def same_images(old: WorkloadView, new: WorkloadView) -> bool:
    """Whether both name the same set of image strings: only that, wherever and however often each stands."""
    return {use.image for use in old.images} == {use.image for use in new.images}


def new_images(old: WorkloadView, new: WorkloadView) -> tuple[ImageUse, ...]:
    """The uses of images that the old object did not name anywhere.

    What only its ephemeral containers named is new elsewhere: they are let in where others are not.
    """
    known = {use.image for use in old.images}
    lasting = {use.image for use in old.images if not use.ephemeral}
    return tuple(use for use in new.images if use.image not in (known if use.ephemeral else lasting))


def _images_of(pod: PodSpec | None, pointer: str) -> Iterator[ImageUse]:
    """`pointer` is that of the pod spec."""
    if pod is None:
        return
    yield from _images_in(pod.containers, f"{pointer}/containers")
    yield from _images_in(pod.init_containers, f"{pointer}/initContainers")
    yield from _images_in(pod.ephemeral_containers, f"{pointer}/ephemeralContainers", ephemeral=True)
    for index, volume in enumerate(pod.volumes or ()):
        if volume.image is not None and volume.image.reference:
            yield ImageUse(volume.image.reference, f"{pointer}/volumes/{index}/image/reference")


def _images_in(containers: list[Container] | None, pointer: str, *, ephemeral: bool = False) -> Iterator[ImageUse]:
    for index, container in enumerate(containers or ()):
        if container.image:
            yield ImageUse(container.image, f"{pointer}/{index}/image", ephemeral)


def _custom_images(raw: bytes | msgspec.Raw, where: Places, found: Found) -> Iterator[ImageUse]:
    """Fills `found` on the way: the first template or pod spec stands for all in what is no image."""
    for place in where.templates:
        for pointer, template in at(raw, place, _TEMPLATE):
            if template is not None:
                found.pod = found.pod or template.spec
                found.template = found.template or template.metadata
                yield from _images_of(template.spec, f"{pointer}/spec")
    for place in where.pod_specs:
        for pointer, pod in at(raw, place, _POD_SPEC):
            found.pod = found.pod or pod
            yield from _images_of(pod, pointer)
    for place in where.images:
        for pointer, image in at(raw, place, _STRING):
            if image and not (where.variables and _VARIABLE in image):
                yield ImageUse(image, pointer)


def _bounded(images: Iterator[ImageUse]) -> tuple[ImageUse, ...]:
    found = tuple(islice(images, IMAGES_LIMIT + 1))
    if len(found) > IMAGES_LIMIT:
        raise MalformedObject(pointer="", reason=f"more than {IMAGES_LIMIT} images")
    return found
