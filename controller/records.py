"""What is known of one image on one node, and of the node: the facts that grants are decided by. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.granted import Cost, Granted
from controller.plan import Order
from controller.waiting import AHEAD, BEHIND, IN_TURN, OVERDUE, Place, place

OVERDUE_S = 300.0
"""Whoever has waited so long goes ahead of all of the same priority."""
TRIES_AHEAD = 3
"""So often a node whose pull failed goes ahead of those that have not begun: what it has got already it keeps."""


@dataclass(slots=True, eq=False)
class Node:
    """`live`: grants in flight, by image."""

    name: str
    agent: bool = False
    records: dict[str, "Record"] = field(default_factory=dict)
    live: dict[str, Granted] = field(default_factory=dict)
    lacking: int = 0
    """Images that are wanted here and not here, as when places were last given."""
    held: frozenset[str] | None = None
    """The blobs of what it has, as far as they are known; None: to be gathered anew."""

    def blobs(self, costs: Mapping[str, Cost]) -> frozenset[str]:
        """What its runtime does not fetch again for another image."""
        if self.held is None:
            here = (costs.get(record.image) for record in self.records.values() if record.present)
            self.held = frozenset().union(*(cost.blobs for cost in here if cost is not None))
        return self.held


@dataclass(slots=True, eq=False)
class Record:
    """One image on one node. `place` is where it stands in its queue, if it does; `its_place` where it should."""

    node: Node
    image: str
    host: str
    order: Order
    since: float
    place: Place = (0, IN_TURN, 0, (0, "", "", 0))
    looked: bool = False
    """Whether the agent has said anything of it."""
    present: bool = False
    not_before: float = -math.inf
    overdue_at: float = math.inf
    failures: int = 0
    wanted: bool = True

    def its_place(self, now: float) -> Place:
        if now >= self.overdue_at:
            return place(self.order, turn=OVERDUE)
        if self.failures > TRIES_AHEAD:
            return place(self.order, turn=BEHIND)
        if self.failures:
            return place(self.order, turn=AHEAD)
        return place(self.order, turn=IN_TURN, lacking=self.node.lacking)
