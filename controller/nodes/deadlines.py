"""When a node is let go, whatever is missing. Pure.

Guarantees, for a deadline of D seconds:
- with right clocks, D seconds after the Node's creation, whoever leads meanwhile and however long nobody did;
- whatever the clocks say, no later than D seconds after this leader first saw the Node, as from then on only the
  monotonic clock counts: a wall clock that steps moves nothing;
- a Node that was made anew under its old name has a deadline of its own.
"""

from datetime import UTC, datetime

from tidegate.kube.shapes import Metadata


class Deadlines:
    """Bounded by the nodes: `forget` those that are gone."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._until: dict[str, tuple[str, float]] = {}
        """Node → its UID, and the monotonic time."""

    def left_s(self, node: Metadata, *, now: float, wall: datetime) -> float:
        """Seconds until the node's deadline; negative past it. `now` is monotonic, `wall` the time of day."""
        known = self._until.get(node.name)
        if known is None or known[0] != node.uid:
            known = self._until[node.name] = (node.uid, now + self._at_first_sight(node, wall))
        return known[1] - now

    def forget(self, name: str) -> None:
        """The node is gone."""
        self._until.pop(name, None)

    def _at_first_sight(self, node: Metadata, wall: datetime) -> float:
        age = age_s(node, wall)
        return self._deadline_s if age is None else min(self._deadline_s, self._deadline_s - age)


def age_s(node: Metadata, wall: datetime) -> float | None:
    """Seconds since the creation, by two clocks; None when that is not said."""
    try:
        created = datetime.fromisoformat(node.creation_timestamp or "")
    except ValueError:
        return None
    return (wall - (created if created.tzinfo else created.replace(tzinfo=UTC))).total_seconds()
