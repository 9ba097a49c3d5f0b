"""What earlier controllers granted, as the objects tell it: a restart neither loses a grant nor repeats one. Pure.

Times of day are read here once and become monotonic seconds; a clock that stepped may make a grant live longer in our
books, by an hour at most, never shorter than its own seconds allow.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.granted import LATE_S, MOST_S, START_S, Granted
from controller.plan import host_of
from tidegate.kube.own import Grant, NodeImageStatus, NodePull, Phase

RECENT_S = 60.0
"""Requests granted longer ago than this have long flowed back into any bucket."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Grants that may still be used, and the registries that were asked so lately that their bucket may be empty."""

    live: tuple[Granted, ...]
    drained: frozenset[str]


def outstanding(nodepulls: Iterable[NodePull], *, hosts: Collection[str], wall: datetime, now: float) -> Outstanding:
    """`wall` and `now` are the same moment, by the clock on the wall and by the monotonic one."""
    live: list[Granted] = []
    drained: set[str] = set()
    for nodepull in nodepulls:
        counts = nodepull.status.node_uid == nodepull.spec.node_uid
        answers = {entry.image: entry for entry in nodepull.status.images} if counts else {}
        for image in nodepull.spec.images:
            host = host_of(image.image)
            if image.grant is None or host not in hosts:
                continue
            left = _left_s(image.grant, wall)
            if left > START_S - RECENT_S:
                drained.add(host)
            until = left + image.grant.seconds + LATE_S
            if until > 0 and not _is_answered(image.grant, answers.get(image.image)):
                drained.add(host)
                live.append(_granted(nodepull, image.image, host, image.grant, now=now, until=until))
    return Outstanding(tuple(live), frozenset(drained))


def _left_s(grant: Grant, wall: datetime) -> float:
    """Seconds until the grant can no longer be begun; a far time, or one that cannot be read, counts as the longest."""
    try:
        left = (datetime.fromisoformat(grant.expires_at) - wall).total_seconds()
    except (ValueError, TypeError):
        return START_S
    return min(left, START_S)


def _is_answered(grant: Grant, status: NodeImageStatus | None) -> bool:
    if status is None:
        return False
    return status.phase is Phase.PRESENT or (status.grant == grant.id and status.phase is not Phase.PULLING)


def _granted(nodepull: NodePull, image: str, host: str, grant: Grant, *, now: float, until: float) -> Granted:
    return Granted(
        id=grant.id,
        node=nodepull.metadata.name,
        image=image,
        host=host,
        seconds=grant.seconds,
        at=now,
        deadline=now + min(until, START_S + MOST_S + LATE_S),
        expires_at=grant.expires_at,
    )
