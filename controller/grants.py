"""Who may pull what, and when: wants, what agents report, and the budgets, turned into grants. Pure.

Guarantees, beside those of `controller.budget`:
- An image is granted to a node only while it is wanted there, known to be absent there, its cost is known, the node's
  agent has reported itself on this very Node, and fewer than `per_node` pulls are granted there.
- Served in the order of the wants, an image at a time (`controller.waiting`), and within an image first where a pull
  was begun already. Whoever is first for a registry is waited for, never overtaken by a cheaper pull: nobody starves.
- A grant is in flight until the agent answers it, until the node is gone for `GONE_S`, or until the last moment at
  which the agent could still be pulling: an agent that is cut off never makes the budget be exceeded.
- A failed pull waits before the next try, longer each time, with jitter and up to a cap, and holds no grant meanwhile;
  a throttled one waits with its whole registry.
- No grant is lost: what was granted before a restart, or by another controller, is adopted as in flight.

No I/O and no clock: `now` is monotonic seconds, and passed in.
"""

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from controller.budget import Budget, Ending
from controller.failures import pause_s, result_of
from controller.plan import Want
from controller.waiting import Place, Waiting
from tidegate.kube.shapes import NodeImageStatus, Phase, Reason

START_S = 60.0
"""The agent may begin this long after the grant: a slow watch, a clock that is a little off, or a restart fit in."""
GONE_S = 30.0
"""A deleted Node's agent, if it lives at all, has heard of it by then and let go."""
LEAST_S = 60.0
SLOWEST = 1_000_000.0
"""Bytes per second of a pull that is still worth waiting for."""
MOST_S = 3600.0
TRIES_AHEAD = 3
"""So often a node whose pull failed goes ahead of those that have not begun: what it has got already it keeps."""
LATE_S = 5.0
"""How late a status may arrive after what it tells."""

_REMEMBERED = 10_000
"""Grants that have ended and are known again when an old copy of a NodePull shows them."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one pull takes: requests to the registry, and compressed bytes (0: unknown)."""

    requests: int
    bytes: int

    @property
    def seconds(self) -> float:
        """How long a pull may take: generous, since an agent sees a stall long before."""
        return min(MOST_S, LEAST_S + self.bytes / SLOWEST)


@dataclass(slots=True, eq=False)
class Granted:
    """A grant that is in flight. `deadline`: when nobody can be pulling under it any more."""

    id: str
    node: str
    image: str
    host: str
    seconds: float
    at: float
    deadline: float
    waited_s: float = 0.0
    begun: bool = False
    expires_at: str = ""
    """`START_S` after the grant, as it is written: RFC 3339, filled in by whoever knows the time of day."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`result`: `clean`, `found` (there without a pull), the agent's reason (`throttled`, …), `expired`, or `gone`."""

    granted: Granted
    result: str
    seconds: float


@dataclass(slots=True, eq=False)
class _Record:
    """One image on one node."""

    node: "_Node"
    image: str
    host: str
    place: Place
    since: float
    looked: bool = False
    """Whether the agent has said anything of it."""
    present: bool = False
    not_before: float = -math.inf
    failures: int = 0
    wanted: bool = True


@dataclass(slots=True, eq=False)
class _Node:
    name: str
    agent: bool = False
    records: dict[str, _Record] = field(default_factory=dict)
    live: dict[str, Granted] = field(default_factory=dict)
    """By image."""


class Grants:
    """See the module. `budgets`: by registry host; `new_id` makes an id that was never used."""

    def __init__(
        self, budgets: Mapping[str, Budget], *, per_node: int, new_id: Callable[[], str], chance: random.Random
    ) -> None:
        self._budgets = budgets
        self._per_node = per_node
        self._new_id = new_id
        self._chance = chance
        self._waiting: dict[str, Waiting[_Record]] = {host: Waiting() for host in budgets}
        self._nodes: dict[str, _Node] = {}
        self._costs: dict[str, Cost] = {}
        self._records_of: dict[str, dict[_Record, None]] = {}  # in the order of their coming
        self._live: dict[str, Granted] = {}
        self._timers: list[tuple[float, int, _Record | Granted]] = []
        self._serial = count()
        self._ended: list[Ended] = []
        self._over: dict[str, None] = {}
        self._unpriced: set[str] = set()

    # What is told

    def set_wants(self, name: str, wants: Sequence[Want], now: float) -> None:
        """What a node should have now, whole."""
        node = self._nodes.setdefault(name, _Node(name))
        wanted = {want.image: want for want in wants}
        for image in [image for image in node.records if image not in wanted]:
            self._drop(node.records.pop(image), now)
        for image, want in wanted.items():
            record = node.records.get(image)
            if record is None:
                record = node.records[image] = _Record(node, image, want.host, (want.order, True), now)
                self._enter(record)
            elif record.place[0] != want.order:
                self._waiting[record.host].discard(record.place, record)
                record.place = (want.order, record.place[1])
            self._refresh(record, now)

    def forget_node(self, name: str, now: float) -> None:
        """The Node is gone, or was made anew under its name: its grants are worth nothing from now on."""
        node = self._nodes.pop(name, None)
        if node is None:
            return
        node.agent = False
        for record in node.records.values():
            self._drop(record, now)
        for granted in node.live.values():
            granted.deadline = min(granted.deadline, now + GONE_S)
            self._wake(granted.deadline, granted)

    def set_agent(self, name: str, now: float, *, reports: bool) -> None:
        """Whether the node's agent has reported itself on this very Node."""
        node = self._nodes.setdefault(name, _Node(name))
        if node.agent == reports:
            return
        node.agent = reports
        for record in node.records.values():
            self._refresh(record, now)

    def observe(self, name: str, image: str, status: NodeImageStatus | None, now: float) -> None:
        """What the agent says of one image; None when it has not said anything."""
        node = self._nodes.get(name)
        if node is None:
            return
        record = node.records.get(image)
        if record is not None:
            present = status is not None and status.phase is Phase.PRESENT
            if present:
                record.failures = 0
            elif record.present:  # it was collected
                record.since, record.place = now, (record.place[0], True)
            record.present = present
            record.looked = status is not None
        granted = node.live.get(image)
        if granted is not None and status is not None:
            self._answered(granted, status, record, now)
        if record is not None:
            self._refresh(record, now)

    def set_cost(self, image: str, cost: Cost, now: float) -> None:
        """What a pull of the image takes; forgotten when nobody wants it any more."""
        holders = self._records_of.get(image)
        if holders is None:
            return
        self._costs[image] = cost
        for record in holders:
            self._refresh(record, now)

    def adopt(self, granted: Granted) -> None:
        """A grant in flight that is not ours: from before this process began, or another controller's.

        What is written counts: one of ours for the same pull is taken back.
        """
        if granted.host not in self._budgets or self.knows(granted.id):
            return
        budget, now = self._budgets[granted.host], granted.at
        node = self._nodes.setdefault(granted.node, _Node(granted.node))
        ours, cost = node.live.get(granted.image), self._costs.get(granted.image)
        if ours is not None:
            budget.ended(ours.id, Ending.OTHER, now)
            self._end(ours, "other", now)
        elif cost is not None:
            budget.charge(cost.requests, now)
        budget.adopt(granted.id)
        self._live[granted.id] = node.live[granted.image] = granted
        self._wake(granted.deadline, granted)
        for record in node.records.values():
            self._refresh(record, now)

    def knows(self, grant: str) -> bool:
        """Whether the grant of this id is in flight, or was lately."""
        return grant in self._live or grant in self._over

    # What follows

    def settle(self, now: float) -> list[Granted]:
        """End what has expired and grant what may be granted; the new grants, to be delivered."""
        while self._timers and self._timers[0][0] <= now:
            _, _, due = heapq.heappop(self._timers)
            if isinstance(due, _Record):
                self._refresh(due, now)
            elif due.id in self._live and due.deadline <= now:
                self._expire(due, now)
        new: list[Granted] = []
        for host, waiting in self._waiting.items():
            while (record := waiting.head()) is not None:
                cost = self._costs[record.image]
                if self._budgets[host].wait(cost.requests, now) > 0:
                    break
                new.append(self._grant(record, cost, now))
        return new

    def next_at(self, now: float) -> float:
        """When `settle` has something to do again if nothing happens before; infinity: never."""
        moments = [now + self._wait(host, now) for host in self._waiting]
        while self._timers and self._is_stale(*self._timers[0]):
            heapq.heappop(self._timers)
        if self._timers:
            moments.append(self._timers[0][0])
        return min(moments, default=math.inf)

    def take_ended(self) -> list[Ended]:
        """Grants that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def take_unpriced(self) -> set[str]:
        """Images that came to be wanted since the last call and whose cost is not known."""
        unpriced, self._unpriced = self._unpriced, set()
        return unpriced

    def images(self, name: str) -> list[str]:
        """What of a node's images matters here: the wanted, and those being pulled."""
        node = self._nodes.get(name)
        return list({**node.records, **node.live}) if node is not None else []

    def live(self, name: str) -> Mapping[str, Granted]:
        """A node's grants in flight, by image."""
        node = self._nodes.get(name)
        return node.live if node is not None else {}

    def cost(self, image: str) -> Cost | None:
        """What a pull of the image takes, if known."""
        return self._costs.get(image)

    def is_wanted(self, image: str) -> bool:
        """Whether any node should have it."""
        return image in self._records_of

    # How

    def _enter(self, record: _Record) -> None:
        self._records_of.setdefault(record.image, {})[record] = None
        if record.image not in self._costs:
            self._unpriced.add(record.image)

    def _drop(self, record: _Record, now: float) -> None:
        record.wanted = False
        self._refresh(record, now)
        holders = self._records_of[record.image]
        del holders[record]
        if not holders:
            del self._records_of[record.image]
            self._costs.pop(record.image, None)
            self._unpriced.discard(record.image)

    def _refresh(self, record: _Record, now: float) -> None:
        """Put a record into its queue, or take it out."""
        node, queue = record.node, self._waiting[record.host]
        may = (
            record.wanted
            and record.looked
            and not record.present
            and node.agent
            and record.image in self._costs
            and record.image not in node.live
            and len(node.live) < self._per_node
            and now >= record.not_before
        )
        (queue.add if may else queue.discard)(record.place, record)

    def _grant(self, record: _Record, cost: Cost, now: float) -> Granted:
        node = record.node
        granted = Granted(
            id=self._new_id(),
            node=node.name,
            image=record.image,
            host=record.host,
            seconds=cost.seconds,
            at=now,
            deadline=now + START_S + cost.seconds + LATE_S,
            waited_s=now - record.since,
        )
        if not self._budgets[record.host].grant(granted.id, cost.requests, now):
            message = f"{record.host}: the budget said yes and then no"
            raise RuntimeError(message)
        self._live[granted.id] = node.live[record.image] = granted
        self._wake(granted.deadline, granted)
        for other in node.records.values():
            self._refresh(other, now)
        return granted

    def _answered(self, granted: Granted, status: NodeImageStatus, record: _Record | None, now: float) -> None:
        quoted = status.grant == granted.id
        match status.phase:
            case Phase.PULLING if quoted and not granted.begun:
                granted.begun = True
                granted.deadline = min(granted.deadline, now + granted.seconds + LATE_S)
                self._wake(granted.deadline, granted)
            case Phase.PRESENT | Phase.FAILED | Phase.SKIPPED if quoted and _met_throttle(status):
                self._budgets[granted.host].throttled(now, pull=granted.id, retry_after_s=status.retry_after_seconds)
                self._back_off(record, Reason.THROTTLED, now)
                self._end(granted, "throttled", now)
            case Phase.PRESENT:
                clean = quoted and status.started_at is not None
                self._budgets[granted.host].ended(granted.id, Ending.CLEAN if clean else Ending.OTHER, now)
                self._end(granted, "clean" if clean else "found", now)
            case Phase.FAILED | Phase.SKIPPED | Phase.PENDING if quoted:  # Pending: pulled, and collected at once
                self._budgets[granted.host].ended(granted.id, Ending.OTHER, now)
                self._back_off(record, status.reason, now)
                self._end(granted, result_of(status.reason), now)

    def _expire(self, granted: Granted, now: float) -> None:
        self._budgets[granted.host].ended(granted.id, Ending.OTHER, now)
        node = self._nodes.get(granted.node)
        here = node is not None and node.live.get(granted.image) is granted
        if node is not None and here:
            self._back_off(node.records.get(granted.image), Reason.OTHER, now)
        self._end(granted, "expired" if here else "gone", now)

    def _end(self, granted: Granted, result: str, now: float) -> None:
        del self._live[granted.id]
        self._over[granted.id] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]
        self._ended.append(Ended(granted, result, now - granted.at))
        node = self._nodes.get(granted.node)
        if node is not None and node.live.get(granted.image) is granted:
            del node.live[granted.image]
            for record in node.records.values():
                self._refresh(record, now)

    def _back_off(self, record: _Record | None, reason: Reason, now: float) -> None:
        if record is None:
            return
        pause = pause_s(reason, record.failures) * self._chance.uniform(0.5, 1.0)
        record.failures += 1
        self._waiting[record.host].discard(record.place, record)
        record.place = (record.place[0], record.failures > TRIES_AHEAD)
        record.not_before = now + pause
        self._wake(record.not_before, record)

    def _wait(self, host: str, now: float) -> float:
        record = self._waiting[host].head()
        return math.inf if record is None else self._budgets[host].wait(self._costs[record.image].requests, now)

    def _is_stale(self, at: float, _: int, what: _Record | Granted) -> bool:
        if isinstance(what, Granted):
            return what.id not in self._live or what.deadline != at
        return not what.wanted or what.not_before != at

    def _wake(self, at: float, what: _Record | Granted) -> None:
        heapq.heappush(self._timers, (at, next(self._serial), what))


def _met_throttle(status: NodeImageStatus) -> bool:
    """Also a pull that got through in the end says something about the registry."""
    return status.throttled or status.reason is Reason.THROTTLED
