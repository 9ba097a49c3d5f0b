"""`ImageAvailability`: what the replicas answered about images that held Pods wait for.

Written only when something changed. An object that nobody waits for any more is deleted a day after its last change.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Never

import msgspec
import structlog

from controller.holding.gates import moment
from controller.workqueue import WorkQueue
from tidegate.availability import name_of, spec_of
from tidegate.findings import Finding, ImageFinding, ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from tidegate.kube.patch import difference
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import (
    ImageAvailability,
    ImageAvailabilitySpec,
    ImageAvailabilityStatus,
    Metadata,
    MissingParts,
    ReplicaAvailability,
)
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference

log = structlog.get_logger()

UNUSED = timedelta(days=1)
_SWEEP_S = 600.0
_WRITERS = 4


@dataclass(frozen=True, slots=True)
class _Fact:
    spec: ImageAvailabilitySpec
    replicas: tuple[ReplicaFinding, ...]


def status_of(
    before: ImageAvailabilityStatus, answers: tuple[ReplicaFinding, ...], *, first_seen: datetime, now: datetime
) -> ImageAvailabilityStatus:
    """The status after these answers: equal to `before` where nothing changed. Those who were not asked stay."""
    entries = {entry.name: entry for entry in before.replicas}
    for answer in answers:
        entries[answer.replica] = _entry(entries.get(answer.replica), answer, first_seen=first_seen, now=now)
    replicas = [entries[name] for name in sorted(entries)]
    if replicas == before.replicas:
        return before
    return msgspec.structs.replace(before, replicas=replicas, observed_at=timestamp(now))


def _entry(
    before: ReplicaAvailability | None, answer: ReplicaFinding, *, first_seen: datetime, now: datetime
) -> ReplicaAvailability:
    complete = answer.finding is Finding.OK
    missing = answer.missing
    parts = MissingParts(manifests=missing.manifests, blobs=missing.blobs, bytes=missing.bytes)
    same = before is not None and before.finding == answer.finding.value
    since = before.since if before is not None and same else timestamp(now)
    complete_since, lag_s = None, None
    if complete:
        complete_since, lag_s = timestamp(now), max(0.0, round((now - first_seen).total_seconds(), 3))
        if before is not None and before.complete:
            complete_since, lag_s = before.complete_since, before.lag_seconds
    return ReplicaAvailability(
        name=answer.replica,
        complete=complete,
        missing=parts,
        finding=answer.finding.value,
        since=since,
        complete_since=complete_since,
        lag_seconds=lag_s,
    )


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Availability:
    """Writes the objects. `awaited`: whether a held Pod needs an image, by its string."""

    def __init__(
        self,
        client: KubeClient,
        *,
        observed: Reflector[ImageAvailability],
        metrics: Metrics,
        wall: Callable[[], datetime],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._observed = observed
        self._metrics = metrics
        self._wall = wall
        self._facts: dict[str, _Fact] = {}
        """Not written yet, by name."""
        self._queue = WorkQueue("availability", self._write, workers=_WRITERS, chance=chance)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {"write ImageAvailability": self._writing, "sweep ImageAvailability": self._sweeping}

    def found(self, finding: ImageFinding, reference: ImageReference) -> None:
        """Take in what the replicas answered."""
        if not finding.replicas:
            return
        spec = spec_of(reference, finding.image)
        name = name_of(spec)
        self._facts[name] = _Fact(spec, finding.replicas)
        self._queue.add(name)

    async def _writing(self) -> Never:
        await self._observed.synced.wait()
        await self._queue.run()

    async def _write(self, name: str) -> None:
        fact = self._facts.get(name)
        if fact is None:
            return
        observed = self._observed.objects.get(name)
        if observed is None:
            observed = await self._create(name, fact.spec)
        now = self._wall()
        first_seen = moment(observed.metadata.creation_timestamp) or now
        status = status_of(observed.status, fact.replicas, first_seen=first_seen, now=now)
        if status != observed.status:
            with suppress(NotFound):  # swept meanwhile; the next answer makes it anew
                await self._client.merge_patch(
                    IMAGEAVAILABILITIES, name, {"status": difference(observed.status, status)},
                    subresource="status", resource_version=observed.metadata.resource_version,
                )  # fmt: skip
                self._count(observed, status)
        if self._facts.get(name) is fact:
            del self._facts[name]

    async def _create(self, name: str, spec: ImageAvailabilitySpec) -> ImageAvailability:
        try:
            return await self._client.create(
                IMAGEAVAILABILITIES, ImageAvailability(metadata=Metadata(name=name), spec=spec)
            )
        except AlreadyExists:  # it is on its way to us
            return await self._client.get(IMAGEAVAILABILITIES, name)

    def _count(self, before: ImageAvailability, status: ImageAvailabilityStatus) -> None:
        lagged = {entry.name for entry in before.status.replicas if not entry.complete}
        for entry in status.replicas:
            if entry.complete and entry.name in lagged and entry.lag_seconds is not None:
                self._metrics.replica_lag.labels(before.spec.registry, entry.name).observe(entry.lag_seconds)

    async def _sweeping(self) -> Never:
        await self._observed.synced.wait()
        while True:
            await self.sweep()
            await asyncio.sleep(_SWEEP_S)

    async def sweep(self) -> None:
        """Delete what nobody waits for, a day after its last change."""
        now = self._wall()
        for name, obj in tuple(self._observed.objects.items()):
            last = moment(obj.status.observed_at) or moment(obj.metadata.creation_timestamp) or now
            if now - last < UNUSED or name in self._facts:
                continue
            version = obj.metadata.resource_version
            try:
                with suppress(NotFound, Conflict):
                    await self._client.delete(IMAGEAVAILABILITIES, name, resource_version=version)
            except KubeError as exc:
                log.warning("availability.sweep_failed", error=str(exc))
                return
