"""What an `ImageAvailability` says after what was learned. Pure.

- What a replica proves, to have or to lack, stands until it proves the contrary: one that cannot be asked changes
  nothing of it. Only where nothing was ever proven does the failure itself stand there.
- The lag of a replica is that of its first arrival there: from when the image was first looked for, or was complete
  at home if that was later, until it was seen complete. It is 0 at home, and where all was there at the first look.
- A namespace's entry begins when a node has run the image for it, and goes a day after its last use.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from controller.images.inventory import Count
from tidegate.findings import FAILURES, Finding, ReplicaFinding
from tidegate.kube.own import ImageAvailabilityStatus, MissingParts, NamespaceUse, ReplicaAvailability
from tidegate.kube.times import moment_of, timestamp

UNUSED = timedelta(days=1)
MOST_NAMESPACES = 4096
"""Of one image, as its CRD allows; those that use it go before those that did."""

_LONGEST = 1024
_UNPROVEN = frozenset({"", *(finding.value for finding in FAILURES)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an image now, beside what its object says."""

    answers: Mapping[str, ReplicaFinding]
    """By replica: those that were asked since the object was written."""
    uses: Mapping[str, Count]
    """By namespace."""
    home: str
    """The name of the home replica; empty for an image of a registry that is not listed."""
    replicas: Collection[str]
    """Names of all replicas that there are."""
    first_seen: datetime


def status_after(before: ImageAvailabilityStatus, known: Known, *, now: datetime) -> ImageAvailabilityStatus:
    """Is `before`, the very same, where nothing changed."""
    used = any(count.uses > 0 for count in known.uses.values())
    replicas = _replicas(before.replicas, known, now)
    status = msgspec.structs.replace(
        before,
        replicas=replicas,
        complete_on=_names(entry.name for entry in replicas if entry.complete),
        missing_on=_names(entry.name for entry in replicas if is_proven(entry) and not entry.complete),
        namespaces=_namespaces(before.namespaces, known.uses, now),
        unused_since=None if used else before.unused_since or timestamp(now),
    )
    return before if status == before else msgspec.structs.replace(status, observed_at=timestamp(now))


def is_over(status: ImageAvailabilityStatus, *, now: datetime) -> bool:
    """Whether the image has been used nowhere for a day."""
    return _past(status.unused_since, now)


def is_due(status: ImageAvailabilityStatus, *, now: datetime) -> bool:
    """Whether something in it is to go because a day has passed."""
    return is_over(status, now=now) or any(_past(entry.unused_since, now) for entry in status.namespaces)


def is_proven(entry: ReplicaAvailability) -> bool:
    """Whether the replica has said anything about the image."""
    return entry.finding not in _UNPROVEN


def _replicas(before: Sequence[ReplicaAvailability], known: Known, now: datetime) -> list[ReplicaAvailability]:
    entries = {entry.name: entry for entry in before if entry.name in known.replicas}
    for name in sorted(known.answers, key=lambda name: name != known.home):  # home first: lags are counted from it
        if name in known.replicas:
            entries[name] = _entry(entries.get(name), known.answers[name], entries.get(known.home), known, now)
    return [entries[name] for name in sorted(entries)]


def _names(names: Iterable[str]) -> str:
    return ",".join(names)[:_LONGEST]


def _entry(
    before: ReplicaAvailability | None,
    answer: ReplicaFinding,
    home: ReplicaAvailability | None,
    known: Known,
    now: datetime,
) -> ReplicaAvailability:
    if answer.finding in FAILURES and before is not None and is_proven(before):
        return before
    same = before is not None and before.finding == answer.finding.value
    since = before.since if before is not None and same else timestamp(now)
    lag_s = before.lag_seconds if before is not None else None
    missing = MissingParts()
    if answer.finding is Finding.OK:
        if lag_s is None:
            lag_s = _lag_s(before, home if answer.replica != known.home else None, known, now)
    elif answer.finding not in FAILURES:
        lacks = answer.missing
        missing = MissingParts(
            manifests=lacks.manifests, blobs=lacks.blobs, bytes=lacks.bytes, first=list(answer.lacking)
        )
    return ReplicaAvailability(
        name=answer.replica,
        complete=answer.finding is Finding.OK,
        missing=missing,
        finding=answer.finding.value,
        since=since,
        complete_since=(since if answer.finding is Finding.OK else None),
        lag_seconds=lag_s,
    )


def _lag_s(before: ReplicaAvailability | None, home: ReplicaAvailability | None, known: Known, now: datetime) -> float:
    if before is None or not is_proven(before) or (home is None and before.name == known.home):
        return 0.0
    began = max(known.first_seen, moment_of(home.complete_since if home else None) or known.first_seen)
    return max(0.0, round((now - began).total_seconds(), 3))


def _namespaces(before: Sequence[NamespaceUse], uses: Mapping[str, Count], now: datetime) -> list[NamespaceUse]:
    entries = {entry.name: _entry_of(entry, uses, now) for entry in before}
    for name, count in uses.items():
        if name and name not in entries and count.running > 0:
            entries[name] = NamespaceUse(name=name, since=timestamp(now))
    kept = [entry for entry in entries.values() if not _past(entry.unused_since, now)]
    if len(kept) > MOST_NAMESPACES:
        kept.sort(key=lambda entry: (entry.unused_since is not None, entry.since or "", entry.name))
        del kept[MOST_NAMESPACES:]
    return sorted(kept, key=lambda entry: entry.name)


def _entry_of(entry: NamespaceUse, uses: Mapping[str, Count], now: datetime) -> NamespaceUse:
    used = entry.name in uses
    if used is (entry.unused_since is None):
        return entry
    return msgspec.structs.replace(entry, unused_since=None if used else timestamp(now))


def _past(unused_since: str | None, now: datetime) -> bool:
    since = moment_of(unused_since)
    return since is not None and now - since >= UNUSED
