"""Which images are wanted on which nodes, kept current change by change. Pure.

Guarantees:
- A node wants each image once, in the place of the most urgent of those who ask for it: higher priority first, then
  older, then the asker's own order.
- Only images of listed registries are ever wanted, spelled exactly as they were asked for; what is no image reference
  is left out.
- An image is not wanted where it has nothing for the node's platform, once that is known.
- A node's change costs in proportion to the asks, an ask's change in proportion to the nodes; a change that changes
  nothing for us costs nothing and marks nothing.
- `take_changed_*` tell each name that changed since the last taking, once; nodes in portions, if they are many.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from controller.placement import Demands, NodeFacts, fits, platform_fits
from tidegate.reference import ImageReference, InvalidReference

Order = tuple[int, str, str, int]
"""Ascending: minus priority, creation time (RFC 3339, so text sorts), the asker's key, place in its list."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Images that somebody wants on the nodes that meet the demands."""

    images: tuple[str, ...]
    demands: Demands
    priority: int = 0
    created: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """One image on one node: `host` is its registry, `order` the place in the queue."""

    image: str
    host: str
    order: Order


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ask is: nodes where its images are wanted, those that have them all, images that are never pulled."""

    nodes: int
    ready: int
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Names of the nodes where an ask's images are wanted, and of those that have them all."""

    nodes: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()


class _Asked:
    """An ask, and where it stands."""

    def __init__(self, key: str, ask: Ask, listed: Collection[str]) -> None:
        self.ask = ask
        hosts = {image: host_of(image) for image in ask.images}
        self.refused = tuple(image for image, host in hosts.items() if host not in listed)
        self.wants = tuple(
            Want(image, host, (-ask.priority, ask.created, key, place))
            for place, (image, host) in enumerate(hosts.items())
            if host in listed
        )
        self.images = frozenset(want.image for want in self.wants)
        self.nodes: set[str] = set()
        self.ready: set[str] = set()


def host_of(image: str) -> str:
    """The registry of an image; empty for what is no reference."""
    try:
        return ImageReference.parse(image).domain
    except InvalidReference:
        return ""


class Plan:
    """See the module. `listed`: registry hosts of the configuration; `platforms`: empty means any."""

    def __init__(self, *, listed: Collection[str], platforms: Collection[str] = ()) -> None:
        self._listed = frozenset(listed)
        self._platforms = tuple(platforms)
        self._nodes: dict[str, NodeFacts] = {}
        self._asks: dict[str, _Asked] = {}
        self._asks_on: defaultdict[str, set[str]] = defaultdict(set)
        self._runs_on: dict[str, frozenset[str]] = {}
        """Image → the platforms that it is for; for those that somebody asks for."""
        self._present: defaultdict[str, set[str]] = defaultdict(set)
        self._changed_nodes: set[str] = set()
        self._changed_asks: set[str] = set()

    def put_node(self, name: str, node: NodeFacts | None) -> None:
        """A node is as given now, or gone (None)."""
        old = self._nodes.get(name)
        if old == node:
            return
        self._changed_nodes.add(name)
        if node is None:
            del self._nodes[name]
        else:
            self._nodes[name] = node
        if node is None or (old is not None and old.uid != node.uid):
            self._present.pop(name, None)
        for key, asked in self._asks.items():
            self._place(key, asked, name, node)
        if node is None:
            self._asks_on.pop(name, None)

    def put_ask(self, key: str, ask: Ask | None) -> None:
        """Somebody's ask is as given now, or withdrawn (None)."""
        old = self._asks.get(key)
        if old is not None:
            if old.ask == ask:
                return
            for name in old.nodes:
                self._asks_on[name].discard(key)
            self._changed_nodes |= old.nodes
            del self._asks[key]
            self._changed_asks.add(key)
            if ask is None or ask.images != old.ask.images:
                self._forget_platforms(old.images)
        if ask is not None:
            asked = self._asks[key] = _Asked(key, ask, self._listed)
            self._changed_asks.add(key)
            for name, node in self._nodes.items():
                self._place(key, asked, name, node)

    def put_platforms(self, image: str, platforms: frozenset[str]) -> None:
        """An image that is asked for runs on these platforms."""
        keys = [key for key, asked in self._asks.items() if image in asked.images]
        before = self._runs_on.get(image)
        if not keys or before == platforms:
            return
        self._runs_on[image] = platforms
        for name, node in self._nodes.items():
            if (before is None or _runs(node, before)) != _runs(node, platforms):
                for key in keys:
                    self._place(key, self._asks[key], name, node)

    def put_present(self, name: str, images: Collection[str]) -> None:
        """A node has exactly these of the images that are wanted on it."""
        before, now = self._present[name], set(images)
        if before == now:
            return
        self._present[name] = now
        moved = before ^ now
        for key in self._asks_on.get(name, ()):
            asked = self._asks[key]
            if not moved.isdisjoint(asked.images):
                self._judge(key, asked, name)

    def node(self, name: str) -> NodeFacts | None:
        """What is known of a node."""
        return self._nodes.get(name)

    def nodes(self) -> Iterable[str]:
        """All nodes."""
        return self._nodes.keys()

    def wants(self, name: str) -> tuple[Want, ...]:
        """What a node should have, in order."""
        best: dict[str, Want] = {}
        for key in self._asks_on.get(name, ()):
            for want in self._asks[key].wants:
                if not self._is_for(want.image, self._nodes[name]):
                    continue
                if want.image not in best or want.order < best[want.image].order:
                    best[want.image] = want
        return tuple(sorted(best.values(), key=_order))

    def counts(self, name: str) -> tuple[int, int]:
        """Images that a node should have, and how many of them it has."""
        node = self._nodes[name]
        wanted = {image for key in self._asks_on.get(name, ()) for image in self._images_on(self._asks[key], node)}
        return len(wanted), len(wanted & self._present[name]) if wanted else 0

    def asks(self, key: str) -> bool:
        """Whether anybody asks under this key."""
        return key in self._asks

    def progress(self, key: str) -> Progress | None:
        """How far an ask is; None when nobody asks under this key."""
        asked = self._asks.get(key)
        return Progress(len(asked.nodes), len(asked.ready), asked.refused) if asked else None

    def places(self, key: str) -> Places:
        """The nodes of an ask; none when nobody asks under this key."""
        asked = self._asks.get(key)
        return Places(frozenset(asked.nodes), frozenset(asked.ready)) if asked else Places()

    def take_changed_nodes(self, most: int | None = None) -> set[str]:
        """Nodes whose wants may have changed, or that came or went, since the last call; the others next time."""
        if most is None or most >= len(self._changed_nodes):
            changed, self._changed_nodes = self._changed_nodes, set()
            return changed
        return {self._changed_nodes.pop() for _ in range(most)}

    @property
    def has_changed_nodes(self) -> bool:
        """Whether there are any to take."""
        return bool(self._changed_nodes)

    def take_changed_asks(self) -> set[str]:
        """Asks whose progress may have changed, or that came or went, since the last call."""
        changed, self._changed_asks = self._changed_asks, set()
        return changed

    def _place(self, key: str, asked: _Asked, name: str, node: NodeFacts | None) -> None:
        """Put an ask on a node or take it off; an ask of nothing is nowhere."""
        if node is not None and self._is_asked_on(asked, node):
            asked.nodes.add(name)
            self._asks_on[name].add(key)
            self._changed_nodes.add(name)
            self._changed_asks.add(key)
            self._judge(key, asked, name)
        elif name in asked.nodes:
            asked.nodes.discard(name)
            asked.ready.discard(name)
            self._asks_on[name].discard(key)
            self._changed_nodes.add(name)
            self._changed_asks.add(key)

    def _judge(self, key: str, asked: _Asked, name: str) -> None:
        """Count a node as ready for an ask, or not."""
        ready = self._images_on(asked, self._nodes[name]) <= self._present[name]
        if ready != (name in asked.ready):
            (asked.ready.add if ready else asked.ready.discard)(name)
            self._changed_asks.add(key)

    def _is_asked_on(self, asked: _Asked, node: NodeFacts) -> bool:
        demands = asked.ask.demands
        return bool(self._images_on(asked, node)) and fits(demands, node, platforms=self._platforms)

    def _images_on(self, asked: _Asked, node: NodeFacts) -> frozenset[str]:
        """What an ask wants on a node of that platform."""
        if self._runs_on.keys().isdisjoint(asked.images):
            return asked.images
        return frozenset(image for image in asked.images if self._is_for(image, node))

    def _is_for(self, image: str, node: NodeFacts) -> bool:
        platforms = self._runs_on.get(image)
        return platforms is None or _runs(node, platforms)

    def _forget_platforms(self, images: Collection[str]) -> None:
        """Of images that nobody asks for any more."""
        for image in images:
            if image in self._runs_on and not any(image in asked.images for asked in self._asks.values()):
                del self._runs_on[image]


def _runs(node: NodeFacts, platforms: frozenset[str]) -> bool:
    """None of the cluster's platforms: nowhere."""
    return bool(platforms) and platform_fits(node.platform, platforms)


def _order(want: Want) -> Order:
    return want.order
