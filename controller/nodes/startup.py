"""Lets nodes begin to work: takes the startup taint off, sets the condition, counts who is warm.

- A node is let go when all images that are wanted on it are there, when none is wanted, or when its deadline has passed
  (`deadlines`); not before everything that could want an image has been looked at, and not while it is not ready.
- A taint is only ever taken off. Whoever makes the node sets it, so nothing that runs is ever put off.
- Taints are written whole, as the API has no patch of a single one, and only if nobody wrote the Node meanwhile; the
  condition alone. A node that came back under its name keeps what it has. What fails is tried again for as long as it
  takes, and shows as `stranded` past the deadline.
"""

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never, Protocol, TypeVar

import structlog

from controller.nodes import condition, taints
from controller.nodes.deadlines import Deadlines, age_s
from controller.nodes.standing import Because, Standing, State, may_begin, state_of
from controller.workqueue import Again, WorkQueue
from tidegate.kube.errors import NotFound
from tidegate.kube.own import NodePull
from tidegate.kube.resources import NODES, HasMetadata, Resource
from tidegate.kube.shapes import Node, ObjectReference
from tidegate.kube.times import timestamp
from tidegate.metrics import Metrics

log = structlog.get_logger()

LOOK_S = 1.0
"""A node that waits is looked at again no later than this; memory alone is asked."""
WRITERS = 16

T = TypeVar("T", bound=HasMetadata)
T_co = TypeVar("T_co", bound=HasMetadata, covariant=True)


class Observed(Protocol[T_co]):
    """A local copy."""

    @property
    def objects(self) -> Mapping[str, T_co]: ...

    def subscribe(self, on_change: Callable[[str, T_co | None, T_co | None], None]) -> Callable[[], None]: ...


class Patches(Protocol):
    """Who writes."""

    async def merge_patch(
        self, resource: Resource[T], name: str, patch: Mapping[str, Any], *, resource_version: str = ""
    ) -> T: ...

    async def strategic_patch(
        self, resource: Resource[T], name: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> T: ...


class Tells(Protocol):
    """Who writes Events."""

    def tell(
        self, about: ObjectReference, *, reason: str, action: str, note: str, warning: bool = False, of: str = ""
    ) -> None: ...

    async def run(self) -> Never: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupSettings:
    """What of the configuration file nodes that start need."""

    taint: bool = True
    """Take startup taints off."""
    condition: bool = False
    """Set the Node's condition."""
    deadline_s: float = 600.0


class Startup:
    """Call `start` once it is known what is wanted where, and run what `loops` names.

    `standing(name)` says how a node stands; None when it is not known.
    """

    def __init__(
        self,
        client: Patches,
        *,
        nodes: Observed[Node],
        nodepulls: Observed[NodePull],
        standing: Callable[[str], Standing | None],
        settings: StartupSettings,
        reports: Tells,
        metrics: Metrics,
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._nodepulls = nodepulls
        self._standing = standing
        self._settings = settings
        self._reports = reports
        self._gauge = metrics.nodes
        self._wall = wall
        self._clock = clock
        self._deadlines = Deadlines(settings.deadline_s)
        self._states: dict[str, State] = {}
        self._counts: Counter[State] = Counter()
        self._queue = WorkQueue("nodes", self._look, workers=WRITERS, chance=chance)

    def start(self) -> None:
        """Look at all nodes, and at every change from now on."""
        for name in self._nodes.objects:
            self._queue.add(name)
        self._nodes.subscribe(self._take_node)
        self._nodepulls.subscribe(self._take_nodepull)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {"let nodes begin": self._run, "events about nodes": self._reports.run}

    async def _run(self) -> Never:
        try:
            await self._queue.run()
        finally:
            self._gauge.clear()  # the next leader counts

    def _take_node(self, name: str, _: Node | None, new: Node | None) -> None:
        if new is None:
            self._deadlines.forget(name)
            self._count(name, None)
        else:
            self._queue.add(name)

    def _take_nodepull(self, name: str, _: NodePull | None, _new: NodePull | None) -> None:
        if name in self._nodes.objects:
            self._queue.add(name)

    async def _look(self, name: str) -> None:
        """Raises KubeError, and Again while the node waits."""
        node, standing = self._nodes.objects.get(name), self._standing(name)
        if node is None or standing is None or standing.uid != node.metadata.uid:
            return  # what is missing is on its way, and brings us here again
        left_s = self._deadlines.left_s(node.metadata, now=self._clock(), wall=self._wall())
        keys = taints.ours(node.spec.taints) if self._settings.taint else []
        self._count(name, state_of(standing, left_s=left_s, tainted=bool(keys)))
        because = may_begin(standing, left_s=left_s)
        if self._settings.condition:
            await self._say(node, standing, because)
        if because is not None:
            await self._untaint(node, standing, because, keys)
        elif keys or self._settings.condition:
            raise Again(max(0.0, min(LOOK_S, left_s)))

    async def _untaint(self, node: Node, standing: Standing, because: Because, keys: list[str]) -> None:
        if not keys:
            return
        name, uid = node.metadata.name, node.metadata.uid
        rest = [taint for taint in node.spec.taints if taint.key not in keys]
        patch = {"metadata": {"uid": uid}, "spec": {"taints": rest or None}}
        with suppress(NotFound):
            await self._client.merge_patch(NODES, name, patch, resource_version=node.metadata.resource_version)
            note = f"{self._words(node, standing, because)}; removed {', '.join(keys)}"
            log.info("node.let_go", node=name, because=because, note=note)
            about = ObjectReference(api_version=NODES.api_version, kind=NODES.kind, name=name, uid=uid)
            self._reports.tell(
                about, reason=because, action="Untaint", note=note, warning=because is Because.DEADLINE
            )  # fmt: skip

    async def _say(self, node: Node, standing: Standing, because: Because | None) -> None:
        words = self._words(node, standing, because)
        said = condition.said_of(node, because, words, now=timestamp(self._wall()))
        if said is not None:
            patch = {"metadata": {"uid": node.metadata.uid}, "status": {"conditions": [said]}}
            with suppress(NotFound):
                await self._client.strategic_patch(NODES, node.metadata.name, patch, subresource="status")

    def _words(self, node: Node, standing: Standing, because: Because | None) -> str:
        """For people."""
        if because is Because.NOTHING_WANTED:
            return "no image is wanted here"
        there = f"{standing.present} of {standing.wanted} wanted images are there"
        if because is None:
            return there
        age = age_s(node.metadata, self._wall())
        after = "" if age is None else f" {max(0.0, age):.0f} s after the node's creation"
        return f"{there}{after}"

    def _count(self, name: str, state: State | None) -> None:
        before = self._states.pop(name, None)
        if before is not None:
            self._counts[before] -= 1
        if state is not None:
            self._states[name] = state
            self._counts[state] += 1
        for one in State:
            self._gauge.labels(one.value).set(self._counts[one])
