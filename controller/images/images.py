"""The images that the cluster uses: followed through the API, looked for on every replica, written down.

Make it, call `start` once what `Sources` names is synced, and run what `loops` names. `found` takes in what holding
learned; `hurry` is for whoever hears that something happened in a repository.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Never, TypeVar

import structlog

from controller.images.checks import Checks, Pulls, Surveyor
from controller.images.inventory import Inventory, Use
from controller.images.naming import Image, image_in
from controller.images.objects import Objects
from controller.images.pods import PlacedPod
from controller.images.status import is_due, is_proven
from controller.images.uses import Uses
from tidegate.config.registries import LimitsConfig
from tidegate.findings import ImageFinding, ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.own import ImageAvailability, PrePull
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import HasMetadata, Resource
from tidegate.kube.shapes import Pod, Workload
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.replicas import RegistryReplicas

log = structlog.get_logger()

SWEEP_S = 600.0
COUNT_S = 5.0

T = TypeVar("T", bound=HasMetadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The local copies of what uses images, and of what is written about them."""

    placed: Reflector[PlacedPod]
    """Pods on nodes."""
    pending: Reflector[Pod]
    """Pods on none."""
    workloads: Mapping[Resource[Workload], Reflector[Workload]]
    prepulls: Reflector[PrePull]
    availabilities: Reflector[ImageAvailability]

    async def synced(self) -> None:
        """Wait until all of them are whole: what is not seen in one would count as used no more."""
        copies: tuple[Reflector[Any], ...] = (
            self.placed, self.pending, self.prepulls, self.availabilities, *self.workloads.values()
        )  # fmt: skip
        for reflector in copies:
            await reflector.synced.wait()


class Images:
    """See the module."""

    def __init__(
        self,
        client: KubeClient,
        sources: Sources,
        *,
        surveyor: Surveyor,
        registries: Mapping[str, RegistryReplicas],
        limits: Mapping[str, LimitsConfig],
        pulls: Pulls,
        metrics: Metrics,
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._sources = sources
        self._observed = sources.availabilities
        self._registries = registries
        self._metrics = metrics
        self._wall = wall
        self._uses = Uses(registries)
        self._inventory = Inventory()
        self._checks = Checks(
            surveyor, registries, limits=limits, pulls=pulls, found=self._answered, clock=clock, chance=chance
        )
        self._objects = Objects(
            client, observed=self._observed.objects, inventory=self._inventory, registries=registries,
            metrics=metrics, wall=wall, chance=chance,
        )  # fmt: skip
        self._counted: object = None

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "write ImageAvailability": self._objects.run,
            "sweep ImageAvailability": self._sweeping,
            "count unavailable images": self._counting,
            **self._checks.loops(),
        }

    def found(self, finding: ImageFinding, _: ImageReference) -> None:
        """Take in what replicas answered to somebody else; for images in use."""
        image = self._uses.image(finding.image)
        if image is not None and self._inventory.uses(image.name) and finding.replicas:
            self._checks.heard(image.name, finding.replicas)
            self._objects.answered(image.name, finding.replicas)

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int:
        """Something is said to have happened to `name` (`domain/path`): see `Checks.hurry`."""
        return self._checks.hurry(name, digest=digest, tag=tag)

    def start(self) -> None:
        """Take in all that is there, and every change from now on; then look whether the objects still tell it."""
        self._follow(self._sources.placed, self._uses.of_placed)
        self._follow(self._sources.pending, self._uses.of_pending)
        self._follow(self._sources.prepulls, self._uses.of_prepull)
        for resource, reflector in self._sources.workloads.items():
            self._follow(reflector, partial(self._uses.of_workload, resource))
        self._observed.subscribe(self._object_changed)
        for name in self._observed.objects:
            self._objects.review(name)
        log.info("images.followed", images=len(self._inventory), objects=len(self._observed.objects))

    def _follow(self, reflector: Reflector[T], read: Callable[[T | None], Use | None]) -> None:
        def changed(_: str, old: T | None, new: T | None) -> None:
            self._changed(read(old), read(new))

        for key, obj in reflector.objects.items():
            changed(key, None, obj)
        reflector.subscribe(changed)

    def _changed(self, old: Use | None, new: Use | None) -> None:
        for name in self._inventory.change(old, new):
            image = self._inventory.image(name)
            if image is None:
                self._checks.drop(name)
            else:
                self._want(image)
            self._objects.touch(name)
            self._counted = None

    def _want(self, image: Image) -> None:
        observed = self._observed.objects.get(image.name)
        known = observed.status.replicas if observed is not None else ()
        self._checks.want(image, [entry for entry in known if is_proven(entry)])

    def _object_changed(self, name: str, old: ImageAvailability | None, new: ImageAvailability | None) -> None:
        """Where somebody deleted the object of an image in use, what it said has to be learned again."""
        self._objects.seen(name, new)
        if old is not None and new is None and self._inventory.uses(name):
            self._checks.drop(name)
            self._checks.want(self._inventory.image(name) or image_in(name, old.spec))
            self._objects.touch(name)

    def _answered(self, image: Image, answers: Sequence[ReplicaFinding]) -> None:
        self._objects.answered(image.name, answers)

    async def _sweeping(self) -> Never:
        while True:
            self.sweep()
            await asyncio.sleep(SWEEP_S)

    def sweep(self) -> None:
        """Look at the objects of which something is to go, or which no event will bring up."""
        now = self._wall()
        for name, obj in self._observed.objects.items():
            used = bool(self._inventory.uses(name))
            if is_due(obj.status, now=now):
                self._objects.review(name)
            elif used is (obj.status.unused_since is not None):
                self._objects.touch(name)
        for name in self._inventory.names():
            if name not in self._observed.objects:  # there was no room for it
                self._objects.touch(name)

    async def _counting(self) -> Never:
        try:
            while True:
                self.count()
                await asyncio.sleep(COUNT_S)
        finally:
            self._metrics.images_unavailable.clear()  # the next leader counts

    def count(self) -> None:
        """Set the gauge: images in use that a replica has proven not to have whole."""
        revision = self._observed.revision
        if self._counted == revision:
            return
        lacking: Counter[tuple[str, str]] = Counter()
        for name, obj in self._observed.objects.items():
            if self._inventory.uses(name):
                lacking.update(
                    (obj.spec.registry, entry.name)
                    for entry in obj.status.replicas
                    if not entry.complete and is_proven(entry)
                )
        for host, registry in self._registries.items():
            for replica in registry.every:
                self._metrics.images_unavailable.labels(host, replica.name).set(lacking[host, replica.name])
        self._counted = revision
