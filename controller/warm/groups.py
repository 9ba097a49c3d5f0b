"""Groups of Pods that wait for the same images on the same nodes, kept current change by change. No I/O.

A change of the cluster costs what it costs a plan; what it may have moved is told by `take_moved`, once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.placement import NodeFacts
from controller.plan import Ask, Plan
from controller.warm.pods import Waiting
from controller.warm.standing import LATE_S, Outcome, Standing, is_hopeless, is_unheard, present, stand
from tidegate.kube.own import NodePull, PrePull

UNASKED_S = 5.0
"""A new template's PrePull is written a moment after its first Pods: what none asks for is waited for so long."""


@dataclass(slots=True)
class Group:
    """Pods that wait for the same. `since`: when that was first seen, on the clock."""

    waiting: Waiting
    since: float
    owners: frozenset[str]
    pods: set[str] = field(default_factory=set)
    standing: Standing | None = None
    """As last reckoned; None where that has to be done first."""
    whole_since: datetime | None = None
    """When its images were whole on the replica, if a Pod of it had to wait for that before."""
    wanted: tuple[str, ...] | None = None
    """Those of its images that somebody asks for, or may yet; None before that was looked at."""
    hopeless: set[str] = field(default_factory=set)
    """Nodes that will not have them."""
    unheard: set[str] = field(default_factory=set)
    """Nodes of which nothing is heard about them."""


class Groups:
    """`nodepulls`: the local copy; `at_once`: see `controller.warm.standing`; `owners`: UIDs of whose change counts."""

    def __init__(
        self,
        *,
        listed: Collection[str],
        platforms: Collection[str],
        nodepulls: Mapping[str, NodePull],
        at_once: Callable[[Waiting], int],
        owners: Callable[[Waiting], Collection[str]],
        clock: Callable[[], float],
    ) -> None:
        self._plan = Plan(listed=listed, platforms=platforms)
        self._nodepulls = nodepulls
        self._at_once = at_once
        self._owners = owners
        self._clock = clock
        self._groups: dict[str, Group] = {}
        self._by_image: defaultdict[str, set[str]] = defaultdict(set)
        self._by_owner: defaultdict[str, set[str]] = defaultdict(set)
        self._asked: Counter[str] = Counter()
        """How many PrePulls ask for an image."""
        self._moved: set[str] = set()

    def get(self, key: str) -> Group | None:
        return self._groups.get(key)

    def take_moved(self) -> set[str]:
        """Groups that may stand otherwise than they did when this was last called."""
        moved, self._moved = self._moved | self._plan.take_changed_asks(), set()
        self._plan.take_changed_nodes()
        return moved & self._groups.keys()

    # What is told

    def put_pod(self, before: Waiting | None, now: Waiting | None, *, whole_since: datetime | None = None) -> None:
        """A Pod waits as given now, or no longer (None); one that waits for the replica first is in no group yet."""
        before, now = (one if one is not None and one.is_free else None for one in (before, now))
        if before is not None and (now is None or now.group != before.group):
            self._leave(before)
        if now is None:
            return
        group = self._groups.get(now.group)
        if group is None:
            group = self._groups[now.group] = Group(now, self._clock(), frozenset(self._owners(now)))
            for image in now.images:
                self._by_image[image].add(now.group)
            for uid in group.owners:
                self._by_owner[uid].add(now.group)
            self._ask(now.group, group)
        if whole_since is not None and group.whole_since is None:
            group.whole_since = whole_since
            self._survey(group, self._plan.nodes())
        if now.key not in group.pods:
            group.pods.add(now.key)
            group.standing = None  # it is one more that needs a node
            self._moved.add(now.group)

    def put_node(self, name: str, node: NodeFacts | None) -> None:
        """A node is as given now, or gone (None)."""
        if self._plan.node(name) == node:
            return
        self._plan.put_node(name, node)
        self._observe(name)
        for group in self._groups.values():
            self._survey(group, (name,))

    def put_nodepull(self, name: str) -> None:
        """What is to be pulled there, or what its agent says, has changed."""
        self._observe(name)
        nodepull = self._nodepulls.get(name)
        if nodepull is None or not self._groups:
            return
        images = {one.image for one in nodepull.spec.images} | {one.image for one in nodepull.status.images}
        touched = set[str]().union(*(self._by_image.get(image, ()) for image in images))
        for key in touched:
            self._survey(self._groups[key], (name,))
        self._moved |= touched

    def put_prepull(self, old: PrePull | None, new: PrePull | None) -> None:
        """Images are asked for, or no longer."""
        before, now = (set(one.spec.images) if one is not None else set[str]() for one in (old, new))
        self._asked.update(now - before)
        self._asked.subtract(before - now)
        for image in before ^ now:
            if self._asked[image] <= 0:
                del self._asked[image]
            self._moved |= self._by_image.get(image, set())

    def put_owner(self, uid: str) -> None:
        """An owner of Pods has changed."""
        self._moved |= self._by_owner.get(uid, set())

    # What follows

    def reckon(self, key: str) -> Iterator[float]:
        """Say anew where a group stands; tells in how many seconds time alone may change it."""
        group = self._groups[key]
        age = self._clock() - group.since
        self._ask(key, group)
        group.standing = self._standing(key, group, late=age >= LATE_S)
        if group.standing.outcome is Outcome.WAITS:
            yield from (at - age for at in (UNASKED_S, LATE_S) if at > age)

    def _standing(self, key: str, group: Group, *, late: bool) -> Standing:
        waiting = group.waiting
        if not waiting.images:
            return Standing(Outcome.IMPOSSIBLE, why="its images are of no registry that nodes pull from beforehand")
        if not group.wanted:
            return Standing(Outcome.IMPOSSIBLE, why="no PrePull asks for its images")
        places = self._plan.places(key)
        lost = group.hopeless | group.unheard if late else group.hopeless
        return stand(
            places, lost=lost & (places.nodes - places.ready), held=len(group.pods), at_once=self._at_once(waiting)
        )

    def _ask(self, key: str, group: Group) -> None:
        wanted = self._wanted(group)
        if wanted != group.wanted:
            group.wanted = wanted
            self._plan.put_ask(key, Ask(wanted, group.waiting.demands))
            self._survey(group, self._plan.nodes())

    def _survey(self, group: Group, names: Iterable[str]) -> None:
        """See what these nodes' agents say about the images of a group."""
        images = frozenset(group.wanted or ())
        for name in names:
            nodepull, uid = self._nodepulls.get(name), self._uid(name)
            hopeless = is_hopeless(nodepull, uid, images, whole_since=group.whole_since)
            (group.hopeless.add if hopeless else group.hopeless.discard)(name)
            (group.unheard.add if is_unheard(nodepull, uid, images) else group.unheard.discard)(name)

    def _observe(self, name: str) -> None:
        if uid := self._uid(name):
            self._plan.put_present(name, present(self._nodepulls.get(name), uid))

    def _wanted(self, group: Group) -> tuple[str, ...]:
        """Its images; after a while without those that nobody asks for (what an injector added, for one)."""
        images = group.waiting.images
        if self._clock() - group.since < UNASKED_S:
            return images
        return tuple(image for image in images if image in self._asked)

    def _uid(self, name: str) -> str:
        node = self._plan.node(name)
        return node.uid if node is not None else ""

    def _leave(self, waiting: Waiting) -> None:
        key = waiting.group
        group = self._groups.get(key)
        if group is None:
            return
        group.pods.discard(waiting.key)
        if group.pods:
            self._moved.add(key)
            return
        del self._groups[key]
        self._plan.put_ask(key, None)
        for image in waiting.images:
            _drop(self._by_image, image, key)
        for uid in group.owners:
            _drop(self._by_owner, uid, key)


def _drop(index: defaultdict[str, set[str]], name: str, key: str) -> None:
    index[name].discard(key)
    if not index[name]:
        del index[name]
