"""What `ImageAvailability` objects say: where an image is whole, and where it ran.

What one process found out spares all others the asking. A fact is put into the checker's memory when it comes, so that
the hot path looks nowhere else, and taken back when the object says otherwise or goes. It is believed for as long as
what this process finds out itself, counted from when it was received; then it is doubted, as nobody may be there who
still looks. That a replica could not be asked takes nothing back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Never

from tidegate.availability import name_of, spec_of, where_they_run
from tidegate.completeness import MemorySettings
from tidegate.completeness.memory import ImageKey, PresenceKey
from tidegate.findings import FAILURES, Finding, ImageFinding
from tidegate.kube.own import ImageAvailability, ReplicaAvailability
from tidegate.kube.reflector import Reflector
from tidegate.kube.times import moment_of
from tidegate.policy import NOTHING_RUNS, Runs
from tidegate.reference import ImageReference
from webhook.rules import Learner

_LOOK_S = 60.0


class NoFacts:
    """Outside a cluster: nobody says anything."""

    def teach(self, checker: Learner, *, registries: frozenset[str] | None = None) -> None:
        """Nothing."""

    def runs(self, images: Mapping[str, ImageReference], *, namespace: str) -> Runs:
        """Nothing."""
        del images, namespace
        return NOTHING_RUNS

    def since(self, finding: ImageFinding, reference: ImageReference) -> datetime | None:
        """Nobody says."""
        del finding, reference
        return None


class Facts:
    """`clock` gives seconds, as the checker's memory counts them."""

    def __init__(
        self,
        observed: Reflector[ImageAvailability],
        *,
        clock: Callable[[], float],
        believed_s: float = MemorySettings().complete_s,
    ) -> None:
        self._observed = observed
        self._clock = clock
        self._believed_s = believed_s
        self._checker: Learner | None = None
        self._received: OrderedDict[PresenceKey, float] = OrderedDict()
        """When each fact that is believed came, oldest first; as many as the API server's objects say."""
        observed.subscribe(self._take)

    def runs(self, images: Mapping[str, ImageReference], *, namespace: str) -> Runs:
        """Which of these strings ran in that namespace, and which in any."""
        return where_they_run(images, namespace=namespace, objects=self._observed.objects)

    def since(self, finding: ImageFinding, reference: ImageReference) -> datetime | None:
        """When the replica that decided was first found so; None where its object says otherwise, or is not there."""
        obj = self._observed.objects.get(name_of(spec_of(reference, finding.image)))
        entry = _entries(obj).get(finding.replica)
        return moment_of(entry.since) if entry is not None and entry.finding == finding.finding else None

    def teach(self, checker: Learner, *, registries: frozenset[str] | None = None) -> None:
        """Tell this checker from now on, and first all that is believed about these registries (None: all)."""
        self._checker = checker
        self._doubt_old()
        for key in self._received:
            if registries is None or key[0] in registries:
                checker.believe(key)
        for obj in self._observed.objects.values():
            if registries is None or obj.spec.registry in registries:
                checker.believe_outcome(_image_key(obj), _said(obj))

    async def doubting(self) -> Never:
        """Doubt what is old, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self._doubt_old()

    def _doubt_old(self) -> None:
        until = self._clock() - self._believed_s
        while self._received and next(iter(self._received.values())) <= until:
            self._doubt(next(iter(self._received)))

    def _take(self, _name: str, old: ImageAvailability | None, new: ImageAvailability | None) -> None:
        """Only what changed in an object is news: that it was written for something else makes nothing truer."""
        before, now = _entries(old), _entries(new)
        if before == now:
            return
        for name, entry in before.items():
            after = now.get(name)
            if old is not None and (after is None or _is_proof(after)) and entry != after:
                self._doubt(_key(old, name))
        if new is None:
            return
        for name, entry in now.items():
            if entry.complete and entry != before.get(name):
                self._believe(_key(new, name))
        if self._checker is not None:
            self._checker.believe_outcome(_image_key(new), _said(new))

    def _believe(self, key: PresenceKey | None) -> None:
        if key is None:
            return
        self._received[key] = self._clock()
        self._received.move_to_end(key)
        if self._checker is not None:
            self._checker.believe(key)

    def _doubt(self, key: PresenceKey | None) -> None:
        if key is None:
            return
        self._received.pop(key, None)
        if self._checker is not None:
            self._checker.doubt(key)


def _entries(obj: ImageAvailability | None) -> Mapping[str, ReplicaAvailability]:
    return {} if obj is None else {entry.name: entry for entry in obj.status.replicas}


def _key(obj: ImageAvailability, replica: str) -> PresenceKey | None:
    """None for a tag: what it stood for when somebody looked is no fact."""
    spec = obj.spec
    return (spec.registry, replica, spec.repository, spec.digest) if spec.digest else None


def _image_key(obj: ImageAvailability) -> ImageKey:
    spec = obj.spec
    return (spec.registry, spec.repository, spec.digest or spec.tag)


def _said(obj: ImageAvailability) -> Mapping[str, Finding]:
    """A word of another version counts as a failure: it proves nothing."""
    return {entry.name: _finding(entry) for entry in obj.status.replicas}


def _finding(entry: ReplicaAvailability) -> Finding:
    if entry.complete:
        return Finding.OK
    known = entry.finding in set(Finding) and entry.finding != Finding.OK
    return Finding(entry.finding) if known else Finding.DEADLINE


def _is_proof(entry: ReplicaAvailability) -> bool:
    return not entry.complete and _finding(entry) not in FAILURES
