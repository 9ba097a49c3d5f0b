"""Whether a node may pull an image now: a live grant in its NodePull. Pure.

A grant lives from when it is written until the agent has answered it, at most for the time in which a pull may begin
and the seconds that it may take.
"""

import math
from datetime import datetime, timedelta

from tidegate.kube.own import Grant, NodePull, Phase

_LONGEST_S = 86_400.0
_ANSWERS = frozenset({Phase.PRESENT, Phase.FAILED, Phase.SKIPPED})


def has_live_grant(nodepull: NodePull | None, image: str, *, node_uid: str, now: datetime) -> bool:
    """`image` exactly as it is in the NodePull; `node_uid` of the Node that asks."""
    if nodepull is None or not node_uid or nodepull.spec.node_uid != node_uid:
        return False
    grant = next((entry.grant for entry in nodepull.spec.images if entry.image == image), None)
    return grant is not None and _lasts(grant, now) and not _is_answered(nodepull, image, grant)


def _lasts(grant: Grant, now: datetime) -> bool:
    if not math.isfinite(grant.seconds) or grant.seconds <= 0:
        return False
    try:
        begins_until = datetime.fromisoformat(grant.expires_at)
        return now < begins_until + timedelta(seconds=min(grant.seconds, _LONGEST_S))
    except (ValueError, TypeError, OverflowError):  # not RFC 3339, or without an offset
        return False


def _is_answered(nodepull: NodePull, image: str, grant: Grant) -> bool:
    if nodepull.status.node_uid != nodepull.spec.node_uid:
        return False
    return any(
        entry.image == image and entry.grant == grant.id and entry.phase in _ANSWERS for entry in nodepull.status.images
    )
