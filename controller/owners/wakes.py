"""Owners whose Pods were refused are woken when the cause may be gone.

A controller of Kubernetes that is refused a Pod backs off for up to 1,000 s, but any change of its object has it try at
once: an annotation with the time is such a change. Owners that are short of Pods are woken

- when a replica completes one of their images (as `ImageAvailability` has it),
- when their namespace stops to enforce, by whatever label,
- once after a start: nobody knows what happened before it.

Bounded: one owner at most every `QUIET_S`, a few at once, and none that lacks nothing.
"""

import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Never

import msgspec
import structlog

from controller.holding.judge import Rules
from controller.owners.mirror import OwnerMirror
from controller.owners.states import is_refused
from controller.workqueue import Again, WorkQueue
from tidegate.availability import name_of, spec_of
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import NotFound
from tidegate.kube.own import RETRIED_ANNOTATION, ImageAvailability
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Namespace, ReplicaSet, Workload
from tidegate.kube.times import timestamp
from tidegate.workload import MalformedObject, view

log = structlog.get_logger()

QUIET_S = 10.0
_WRITERS = 4
_SPREAD_S = 5.0
"""After a start, and for a whole namespace: not all in one moment."""

Owning = ReplicaSet | Workload


class Wakes:
    """Make it once owners, availabilities and namespaces are mirrored, call `start`, and run what `loops` names."""

    def __init__(
        self,
        client: KubeClient,
        *,
        owners: OwnerMirror,
        availabilities: Reflector[ImageAvailability],
        namespaces: Reflector[Namespace],
        rules: Rules,
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._owners = owners
        self._availabilities = availabilities
        self._namespaces = namespaces
        self._rules = rules
        self._wall = wall
        self._clock = clock
        self._chance = chance
        self._refused: dict[str, tuple[Resource[Any], frozenset[str]]] = {}
        """Owners that lack Pods, with the ImageAvailability names of their images; by `PLURAL/NAMESPACE/NAME`."""
        self._woken: dict[str, float] = {}
        self._queue = WorkQueue("refused owners", self._wake, workers=_WRITERS, chance=chance)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {"wake refused owners": self._queue.run}

    def start(self) -> None:
        """Take in all that is there, and every change from now on."""
        for resource, reflector in self._owners.owning():
            take = partial(self._take, resource)
            for key, owner in reflector.objects.items():
                take(key, None, owner)
            reflector.subscribe(take)
        for key in self._refused:
            self._queue.add_later(key, self._chance.uniform(0, _SPREAD_S))
        self._availabilities.subscribe(self._take_availability)
        self._namespaces.subscribe(self._take_namespace)

    def _take(self, resource: Resource[Any], name: str, _: Owning | None, new: Owning | None) -> None:
        key = f"{resource.plural}/{name}"
        if new is None or new.metadata.deletion_timestamp is not None or not is_refused(resource.kind, new):
            self._refused.pop(key, None)
            self._woken.pop(key, None)
        elif key not in self._refused or resource.kind != "ReplicaSet":  # a ReplicaSet's template never changes
            self._refused[key] = (resource, self._images(resource, new))

    def _images(self, resource: Resource[Any], owner: Owning) -> frozenset[str]:
        try:
            seen = view(resource.group, resource.kind, msgspec.json.encode(owner))
        except MalformedObject:
            return frozenset()
        images = {use.image for use in seen.images} if seen is not None else set()
        known = {image: reference for image in images if (reference := self._rules.reference(image)) is not None}
        return frozenset(name_of(spec_of(reference, image)) for image, reference in known.items())

    def _take_availability(self, name: str, old: ImageAvailability | None, new: ImageAvailability | None) -> None:
        if new is None:
            return
        before = {one.name for one in old.status.replicas if one.complete} if old is not None else set()
        if any(one.complete and one.name not in before for one in new.status.replicas):
            for key, (_, images) in self._refused.items():
                if name in images:
                    self._queue.add(key)

    def _take_namespace(self, name: str, old: Namespace | None, new: Namespace | None) -> None:
        if old is None or new is None or old.metadata.labels == new.metadata.labels:
            return
        enforced = self._rules.mode(name, old.metadata.labels) is Mode.ENFORCE
        if enforced and self._rules.mode(name, new.metadata.labels) is not Mode.ENFORCE:
            for key in self._refused:
                if key.split("/")[1] == name:
                    self._queue.add_later(key, self._chance.uniform(0, 1.0))

    async def _wake(self, key: str) -> None:
        """Change its annotation. Raises KubeError."""
        if (known := self._refused.get(key)) is None:
            return
        now = self._clock()
        if (quiet_s := self._woken.get(key, -QUIET_S) + QUIET_S - now) > 0:
            raise Again(quiet_s)
        self._woken[key] = now
        _, namespace, name = key.split("/")
        patch = {"metadata": {"annotations": {RETRIED_ANNOTATION: timestamp(self._wall())}}}
        with suppress(NotFound):
            await self._client.merge_patch(known[0], name, patch, namespace=namespace)
            log.info("owner.woken", owner=key)
