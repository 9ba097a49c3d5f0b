"""What Pods, workload templates and PrePulls say about images. Pure, but for bounded memories of what was read."""

from collections.abc import Collection, Iterable
from functools import lru_cache

import msgspec
import structlog

from controller.images.inventory import Use
from controller.images.naming import Image, image_of
from controller.images.pods import PlacedPod, PodImages
from tidegate.kube.own import PrePull
from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Pod, Workload
from tidegate.workload import MalformedObject, view

log = structlog.get_logger()

RAN = frozenset({"Running", "Succeeded"})
"""Phases of Pods for which the node has pulled every image of theirs: before that, they are Pending."""
_REMEMBERED = 32_768


class Uses:
    """Reads objects. `hosts`: the listed registries."""

    def __init__(self, hosts: Collection[str]) -> None:
        self._hosts = frozenset(hosts)
        self.image = lru_cache(_REMEMBERED)(self._image)
        self._placed = lru_cache(_REMEMBERED)(self._read_placed)

    def of_placed(self, pod: PlacedPod | None) -> Use | None:
        """A Pod on a node.

        What an ephemeral container names counts as used, but not as having run: the Pod's phase says nothing about it.
        """
        if pod is None:
            return None
        return self._placed(pod.metadata.namespace, pod.spec, pod.status.phase in RAN)

    def of_pending(self, pod: Pod | None) -> Use | None:
        """A Pod on no node yet."""
        if pod is None:
            return None
        return self._use(pod.metadata.namespace, "", "Pod", msgspec.json.encode(pod))

    def of_workload(self, resource: Resource[Workload], workload: Workload | None) -> Use | None:
        """A workload's template."""
        if workload is None:
            return None
        raw = msgspec.json.encode(workload)
        return self._use(workload.metadata.namespace, resource.group, resource.kind, raw)

    def of_prepull(self, prepull: PrePull | None) -> Use | None:
        """Wanted on nodes; run by nobody."""
        return None if prepull is None else Use("", self._images(prepull.spec.images))

    def _read_placed(self, namespace: str, spec: PodImages, ran: bool) -> Use | None:  # noqa: FBT001  a cache's key
        return self._use(namespace, "", "Pod", msgspec.json.encode({"spec": spec}), ran=ran)

    def _use(self, namespace: str, group: str, kind: str, raw: bytes, *, ran: bool = False) -> Use | None:
        try:
            seen = view(group, kind, raw)
        except MalformedObject as exc:
            log.warning("images.unreadable", kind=kind, namespace=namespace, error=str(exc)[:256])
            return None
        if seen is None:
            return None
        images = self._images(use.image for use in seen.images)
        started = self._images(use.image for use in seen.images if not use.ephemeral) if ran else ()
        return Use(namespace, images, frozenset(image.name for image in started))

    def _images(self, texts: Iterable[str]) -> tuple[Image, ...]:
        found = (self.image(text) for text in texts)
        return tuple({image.name: image for image in found if image is not None}.values())

    def _image(self, text: str) -> Image | None:
        return image_of(text, self._hosts)
