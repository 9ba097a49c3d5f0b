"""Whether the Pods of a group may start: how many nodes have their images, and how many they need. Pure.

Guarantees:
- Needed is one node for each Pod that waits, in a rollout for each that it has by now, and never more nodes than can
  have the images.
- Another node that has them, or another that never will, makes no group wait that did not.
- Where no node can have them nobody waits: a gated Pod makes no autoscaler act.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from controller.holding.words import counted
from controller.plan import Places
from tidegate.kube.own import NodeImageStatus, NodePull, Phase
from tidegate.kube.shapes import ReplicaSet, Workload
from tidegate.kube.times import moment_of

LATE_S = 60.0
"""A node of which nothing is heard counts for so long after a group began to wait."""
_HOPELESS_ATTEMPTS = 3


class Outcome(Enum):
    """What becomes of a group."""

    WAITS = auto()
    WARM = auto()
    IMPOSSIBLE = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands. `why`: for people, where it is impossible."""

    outcome: Outcome
    warm: frozenset[str] = frozenset()
    """Nodes that have all its images."""
    needed: int = 0
    nodes: int = 0
    """Where its Pods could run."""
    why: str = ""


def stand(places: Places, *, lost: Collection[str], held: int, at_once: int) -> Standing:
    """`lost`: nodes among them that will not have the images; `held`: Pods that wait; see `at_once`."""
    nodes = len(places.nodes)
    hopeful = len(places.nodes.difference(lost) | places.ready)
    needed = min(hopeful, max(held, at_once, 1))
    if not nodes:
        return Standing(Outcome.IMPOSSIBLE, why="no node of this cluster could run it")
    if not hopeful:
        return Standing(
            Outcome.IMPOSSIBLE, nodes=nodes, why=f"{counted(nodes, 'node')} could run it, and none gets its image"
        )
    outcome = Outcome.WARM if len(places.ready) >= needed else Outcome.WAITS
    return Standing(outcome, places.ready, needed, nodes)


def at_once(owner: ReplicaSet | Workload | None, above: Workload | None) -> int:
    """The Pods of its template that an owner wants by now, while they take the place of others; else 1.

    A rollout raises a ReplicaSet's replicas step by step: the nodes of those before may be full. `above`: the
    Deployment that a ReplicaSet is of. A scale-up, and what replaces an evicted Pod, wait for no more than their own.
    """
    if isinstance(owner, ReplicaSet):
        return owner.spec.replicas if above is not None and _replaces(above, of=above.status.get("replicas")) else 1
    if owner is not None and _replaces(owner, of=owner.spec.get("replicas", 1)):
        return _number(owner.status.get("updatedReplicas"))
    return 1


def _replaces(workload: Workload, *, of: object) -> bool:
    """Whether a Deployment or StatefulSet has Pods of an earlier template; a status that is older than the spec has."""
    status = workload.status
    if "updatedReplicas" not in status and "observedGeneration" not in status:
        return False
    old = _number(status.get("observedGeneration")) < workload.metadata.generation
    return old or _number(status.get("updatedReplicas")) < _number(of)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def present(nodepull: NodePull | None, uid: str) -> list[str]:
    """Images that are on this very node."""
    if nodepull is None or not _is_of(nodepull, uid):
        return []
    return [entry.image for entry in nodepull.status.images if entry.phase is Phase.PRESENT]


def is_unheard(nodepull: NodePull | None, uid: str, images: Collection[str]) -> bool:
    """Whether nothing says that a node will have these images: nobody told it to pull them, or its agent is silent."""
    if nodepull is None or not _is_of(nodepull, uid):
        return True
    spoken = {entry.image for entry in nodepull.status.images if entry.image in images}
    told = {image.image for image in nodepull.spec.images if image.image in images}
    return len(spoken & told) < len(images)


def is_hopeless(
    nodepull: NodePull | None, uid: str, images: Collection[str], *, whole_since: datetime | None = None
) -> bool:
    """Whether a node will not have one of these images as things are.

    Failures before `whole_since` say nothing, as the images were still on their way to the replica.
    """
    if nodepull is None or not _is_of(nodepull, uid):
        return False
    return any(entry.image in images and _will_not_come(entry, whole_since) for entry in nodepull.status.images)


def _is_of(nodepull: NodePull, uid: str) -> bool:
    """Whether this very node's agent has spoken."""
    return bool(nodepull.status.agent) and nodepull.spec.node_uid == uid == nodepull.status.node_uid


def _will_not_come(entry: NodeImageStatus, whole_since: datetime | None) -> bool:
    """It is skipped, or did not come however often it was tried; a throttle passes."""
    if entry.phase is Phase.SKIPPED:
        return True
    if entry.phase is not Phase.FAILED or entry.throttled or entry.attempts < _HOPELESS_ATTEMPTS:
        return False
    ended = moment_of(entry.finished_at)
    return whole_since is None or (ended is not None and ended > whole_since)
