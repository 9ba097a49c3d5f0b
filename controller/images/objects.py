"""Writes `ImageAvailability`: one object for each image in use, little and late.

Nothing is written when nothing changed. That an image is not used any more is written some minutes later, as the next
Job or rollout may use it again. All that is kept is in the objects: another controller goes on with what is there.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Never

import structlog

from controller.images.inventory import Inventory
from controller.images.latest import Latest
from controller.images.status import Known, is_over, is_proven, status_after
from controller.workqueue import WorkQueue
from tidegate.findings import ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound
from tidegate.kube.own import ImageAvailability, ReplicaAvailability
from tidegate.kube.patch import difference
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import Metadata
from tidegate.kube.times import moment_of
from tidegate.metrics import Metrics
from tidegate.replicas import RegistryReplicas

log = structlog.get_logger()

MOST_OBJECTS = 20_000
LINGER_S = 300.0
"""So long after its last use that is written down."""
_WRITERS = 4


class Objects:
    """See the module. `observed`: the local copy of the objects."""

    def __init__(
        self,
        client: KubeClient,
        *,
        observed: Mapping[str, ImageAvailability],
        inventory: Inventory,
        registries: Mapping[str, RegistryReplicas],
        metrics: Metrics,
        wall: Callable[[], datetime],
        chance: random.Random,
        most: int = MOST_OBJECTS,
    ) -> None:
        self._client = client
        self._latest = Latest(observed)
        self._inventory = inventory
        self._registries = registries
        self._metrics = metrics
        self._wall = wall
        self._most = most
        self._answers: dict[str, dict[str, ReplicaFinding]] = {}
        """Not written yet, by image and replica."""
        self._told_full = False
        self._queue = WorkQueue("availability", self._write, workers=_WRITERS, chance=chance)

    async def run(self) -> Never:
        """Write until cancelled."""
        await self._queue.run()

    def touch(self, name: str) -> None:
        """Something about an image may have changed: at once where it is used, else after a while."""
        if self._inventory.uses(name):
            self._queue.add(name)
        else:
            self._queue.add_later(name, LINGER_S)

    def seen(self, name: str, new: ImageAvailability | None) -> None:
        """The local copy has changed."""
        self._latest.seen(name, new)

    def review(self, name: str) -> None:
        """Look now, used or not."""
        self._queue.add(name)

    def answered(self, name: str, answers: Iterable[ReplicaFinding]) -> None:
        """Take in what replicas said."""
        self._answers.setdefault(name, {}).update((answer.replica, answer) for answer in answers)
        self._queue.add(name)

    async def _write(self, name: str) -> None:
        """Make the object what it should be. Raises KubeError."""
        answers = dict(self._answers.get(name, {}))
        observed = self._latest.get(name) or await self._create(name)
        if observed is not None:
            try:
                await self._update(observed, answers)
            except Conflict:
                self._latest.doubt(name)
                raise
        self._written(name, answers)

    async def _create(self, name: str) -> ImageAvailability | None:
        """None for an image that is not used, or for which there is no room."""
        image = self._inventory.image(name)
        if image is None or self._is_full():
            return None
        fresh = ImageAvailability(metadata=Metadata(name=name), spec=image.spec)
        made: ImageAvailability | None = None
        try:
            made = await self._client.create(IMAGEAVAILABILITIES, fresh)
        except AlreadyExists:  # it is on its way to us
            with suppress(NotFound):
                made = await self._client.get(IMAGEAVAILABILITIES, name)
        if made is not None:
            self._latest.wrote(made)
        return made

    async def _update(self, observed: ImageAvailability, answers: Mapping[str, ReplicaFinding]) -> None:
        name, now, version = observed.metadata.name, self._wall(), observed.metadata.resource_version
        known = self._known(observed, answers, now)
        status = status_after(observed.status, known, now=now)
        try:
            if is_over(status, now=now):
                await self._client.delete(IMAGEAVAILABILITIES, name, resource_version=version)
            elif status is not observed.status:
                self._latest.wrote(
                    await self._client.merge_patch(
                        IMAGEAVAILABILITIES, name, {"status": difference(observed.status, status)},
                        subresource="status", resource_version=version,
                    )
                )  # fmt: skip
                self._tell(observed, {entry.name: entry for entry in status.replicas}, used=bool(known.uses))
        except NotFound:  # the copy will show it
            self._latest.doubt(name)

    def _known(self, observed: ImageAvailability, answers: Mapping[str, ReplicaFinding], now: datetime) -> Known:
        registry = self._registries.get(observed.spec.registry)
        return Known(
            answers=answers,
            uses=self._inventory.uses(observed.metadata.name),
            home=registry.home.name if registry else "",
            replicas=[replica.name for replica in registry.every] if registry else (),
            first_seen=moment_of(observed.metadata.creation_timestamp) or now,
        )

    def _tell(self, before: ImageAvailability, entries: Mapping[str, ReplicaAvailability], *, used: bool) -> None:
        """Of what was written: how long an image took to arrive, and that one is gone."""
        spec = before.spec
        for was in before.status.replicas:
            entry = entries.get(was.name)
            if entry is None or entry.complete is was.complete:
                continue
            if was.complete and used:
                log.warning(
                    "image.lost", registry=spec.registry, replica=was.name, image=spec.image, finding=entry.finding
                )
            elif entry.complete and self._lagged(spec.registry, was) and entry.lag_seconds is not None:
                self._metrics.replica_lag.labels(spec.registry, was.name).observe(entry.lag_seconds)

    def _lagged(self, host: str, was: ReplicaAvailability) -> bool:
        """Whether what arrived had been missed, for the first time; at home there is nothing to lag behind."""
        registry = self._registries.get(host)
        at_home = registry is not None and registry.home.name == was.name
        return was.lag_seconds is None and is_proven(was) and not at_home

    def _written(self, name: str, answers: Mapping[str, ReplicaFinding]) -> None:
        waiting = self._answers.get(name, {})
        for replica, answer in answers.items():
            if waiting.get(replica) is answer:
                del waiting[replica]
        if not waiting:
            self._answers.pop(name, None)

    def _is_full(self) -> bool:
        full = len(self._latest) >= self._most
        if full and not self._told_full:
            log.warning("images.too_many", most=self._most)
        self._told_full = full
        return full
