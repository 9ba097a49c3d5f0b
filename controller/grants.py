"""Who may pull what, and when: wants, what agents report, and the budgets, turned into grants. Pure.

Guarantees, beside those of `controller.budget`:
- An image is granted to a node only while it is wanted there, known to be absent there, its cost is known, the node's
  agent has reported itself on this very Node, and fewer than `per_node` pulls are granted there.
- A pull is charged what its image takes without what the node has of it from others, and never less than one request.
- Served in the order of `controller.waiting`. Whoever is first for a registry is waited for, never overtaken by a
  cheaper pull; whoever has waited for `OVERDUE_S` goes ahead of all of the same priority: nobody starves.
- Behind a mirror (`controller.mirrored`), an image is begun on two nodes first and then on as many as have it.
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count

from controller.budget import Budget, Ending
from controller.failures import pause_s, result_of
from controller.granted import LATE_S, START_S, THROTTLED, Cost, Ended, Granted
from controller.mirrored import Mirrored
from controller.plan import Want
from controller.records import OVERDUE_S, Node, Record
from controller.waiting import Waiting
from tidegate.kube.own import NodeImageStatus, Phase, Reason

GONE_S = 30.0
"""A deleted Node's agent, if it lives at all, has heard of it by then and let go."""

_REMEMBERED = 10_000
"""Grants that have ended and are known again when an old copy of a NodePull shows them."""


class Grants:
    """See the module. `budgets`: by registry host; `new_id` makes an id that was never used.

    `mirrored`: registries behind a peer-to-peer mirror.
    """

    def __init__(
        self,
        budgets: Mapping[str, Budget],
        *,
        per_node: int,
        new_id: Callable[[], str],
        chance: random.Random,
        mirrored: Collection[str] = (),
    ) -> None:
        self._budgets = budgets
        self._mirrored: dict[str, Mirrored[Record]] = {host: Mirrored() for host in mirrored if host in budgets}
        self._per_node = per_node
        self._new_id = new_id
        self._chance = chance
        self._waiting: dict[str, Waiting[Record]] = {host: Waiting() for host in budgets}
        self._nodes: dict[str, Node] = {}
        self._costs: dict[str, Cost] = {}
        self._records_of: dict[str, dict[Record, None]] = {}  # in the order of their coming
        self._live: dict[str, Granted] = {}
        self._timers: list[tuple[float, int, Record | Granted]] = []
        self._serial = count()
        self._ended: list[Ended] = []
        self._over: dict[str, None] = {}
        self._unpriced: set[str] = set()
        self._moved: dict[Node, None] = {}
        """Nodes that lack more or fewer images than when their records were given their places."""

    # What is told

    def set_wants(self, name: str, wants: Sequence[Want], now: float) -> None:
        """What a node should have now, whole."""
        node = self._nodes.setdefault(name, Node(name))
        wanted = {want.image: want for want in wants}
        for image in [image for image in node.records if image not in wanted]:
            self._drop(node.records.pop(image), now)
        for image, want in wanted.items():
            record = node.records.get(image)
            if record is None:
                record = node.records[image] = Record(node, image, want.host, want.order, now)
                self._enter(record)
                self._waits_from(record, now)
            record.order = want.order
        node.held = None
        self._moved[node] = None

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
        node = self._nodes.setdefault(name, Node(name))
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
            record.looked = status is not None
            self._set_present(record, now, present=status is not None and status.phase is Phase.PRESENT)
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
            if record.present:
                record.node.held = None
            self._refresh(record, now)

    def adopt(self, granted: Granted) -> None:
        """A grant in flight that is not ours: from before this process began, or another controller's.

        What is written counts: one of ours for the same pull is taken back.
        """
        if granted.host not in self._budgets or self.knows(granted.id):
            return
        budget, now = self._budgets[granted.host], granted.at
        node = self._nodes.setdefault(granted.node, Node(granted.node))
        ours, cost = node.live.get(granted.image), self._costs.get(granted.image)
        if ours is not None:
            budget.ended(ours.id, Ending.OTHER, now)
            self._end(ours, "other", now)
        elif cost is not None:
            budget.charge(cost.requests, now)
        budget.adopt(granted.id)
        self._begin(granted, node, now)

    def knows(self, grant: str) -> bool:
        """Whether the grant of this id is in flight, or was lately."""
        return grant in self._live or grant in self._over

    # What follows

    def settle(self, now: float) -> list[Granted]:
        """End what has expired and grant what may be granted; the new grants, to be delivered."""
        while self._timers and self._timers[0][0] <= now:
            _, _, due = heapq.heappop(self._timers)
            if isinstance(due, Record):
                if not due.present:
                    self._move(due, now)
            elif due.id in self._live and due.deadline <= now:
                self._expire(due, now)
        for node in self._moved:
            node.lacking = sum(not record.present for record in node.records.values())
            for record in node.records.values():
                self._move(record, now)
        self._moved.clear()
        return [granted for host in self._waiting for granted in self._serve(host, now)]

    def next_at(self, now: float) -> float:
        """When `settle` has something to do again if nothing happens before; infinity: never."""
        moments = [now + self._wait(host, now) for host in self._waiting]
        while self._timers and self._is_stale(*self._timers[0]):
            heapq.heappop(self._timers)
        if self._timers:
            moments.append(self._timers[0][0])
        return min(moments, default=math.inf)

    def waits(self, host: str) -> bool:
        """Whether a pull from this registry could begin but for the budget."""
        return len(self._waiting[host]) > 0

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

    def _enter(self, record: Record) -> None:
        self._records_of.setdefault(record.image, {})[record] = None
        if record.image not in self._costs:
            self._unpriced.add(record.image)

    def _drop(self, record: Record, now: float) -> None:
        self._set_present(record, now, present=False)
        record.wanted = False
        self._refresh(record, now)
        holders = self._records_of[record.image]
        del holders[record]
        if not holders:
            del self._records_of[record.image]
            self._costs.pop(record.image, None)
            self._unpriced.discard(record.image)

    def _set_present(self, record: Record, now: float, *, present: bool) -> None:
        if present == record.present:
            return
        record.present, record.failures = present, 0
        record.node.held = None
        self._moved[record.node] = None
        if not present:  # it was collected
            self._waits_from(record, now)
        if (mirrored := self._mirrored.get(record.host)) is not None:
            mirrored.count(record.image, present=1 if present else -1)

    def _waits_from(self, record: Record, now: float) -> None:
        record.since, record.overdue_at = now, now + OVERDUE_S
        self._wake(record.overdue_at, record)

    def _move(self, record: Record, now: float) -> bool:
        """To where it should stand; whether it stands in its queue now."""
        place = record.its_place(now)
        if place != record.place:
            self._waiting[record.host].discard(record.place, record)
            record.place = place
        return self._refresh(record, now)

    def _refresh(self, record: Record, now: float) -> bool:
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
        return may

    def _serve(self, host: str, now: float) -> Iterator[Granted]:
        """Grant what one registry's budget allows, in the order of its queue."""
        waiting, budget, mirrored = self._waiting[host], self._budgets[host], self._mirrored.get(host)
        if mirrored is not None:
            mirrored.step_forward(lambda record: self._move(record, now))
        while (record := waiting.head()) is not None:
            if mirrored is not None and not mirrored.may_begin(record.image):
                waiting.discard(record.place, record)
                mirrored.stand_back(record.image, record)
            elif budget.wait(self._requests(record), now) > 0:
                return
            else:
                yield self._grant(record, self._costs[record.image], now)

    def _requests(self, record: Record) -> int:
        """What the pull costs on this node: without what it has from other images, or gets from its peers."""
        cost = self._costs[record.image]
        here = len(cost.blobs & record.node.blobs(self._costs)) if cost.blobs else 0
        alone = max(1, cost.requests - here)
        mirrored = self._mirrored.get(record.host)
        return alone if mirrored is None else mirrored.requests(record.image, alone)

    def _grant(self, record: Record, cost: Cost, now: float) -> Granted:
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
        if not self._budgets[record.host].grant(granted.id, self._requests(record), now, kind=record.image):
            message = f"{record.host}: the budget said yes and then no"
            raise RuntimeError(message)
        self._begin(granted, node, now)
        return granted

    def _begin(self, granted: Granted, node: Node, now: float) -> None:
        self._live[granted.id] = node.live[granted.image] = granted
        self._wake(granted.deadline, granted)
        if (mirrored := self._mirrored.get(granted.host)) is not None:
            mirrored.count(granted.image, live=1)
        for record in node.records.values():
            self._refresh(record, now)

    def _answered(self, granted: Granted, status: NodeImageStatus, record: Record | None, now: float) -> None:
        quoted = status.grant == granted.id
        match status.phase:
            case Phase.PULLING if quoted and not granted.begun:
                granted.begun = True
                granted.deadline = min(granted.deadline, now + granted.seconds + LATE_S)
                self._wake(granted.deadline, granted)
            case Phase.PRESENT | Phase.FAILED | Phase.SKIPPED if quoted and _met_throttle(status):
                self._budgets[granted.host].throttled(now, pull=granted.id, retry_after_s=status.retry_after_seconds)
                self._back_off(record, Reason.THROTTLED, now)
                if (mirrored := self._mirrored.get(granted.host)) is not None:
                    mirrored.doubt(granted.image)
                self._end(granted, THROTTLED, now, retry_after_s=status.retry_after_seconds)
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

    def _end(self, granted: Granted, result: str, now: float, *, retry_after_s: float | None = None) -> None:
        del self._live[granted.id]
        if (mirrored := self._mirrored.get(granted.host)) is not None:
            mirrored.count(granted.image, live=-1)
        self._over[granted.id] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]
        self._ended.append(Ended(granted, result, now - granted.at, retry_after_s))
        node = self._nodes.get(granted.node)
        if node is not None and node.live.get(granted.image) is granted:
            del node.live[granted.image]
            for record in node.records.values():
                self._refresh(record, now)

    def _back_off(self, record: Record | None, reason: Reason, now: float) -> None:
        if record is None:
            return
        pause = pause_s(reason, record.failures) * self._chance.uniform(0.5, 1.0)
        record.failures += 1
        record.not_before = now + pause
        self._wake(record.not_before, record)
        record.overdue_at = record.not_before + OVERDUE_S  # it had its turn
        self._wake(record.overdue_at, record)
        self._waiting[record.host].discard(record.place, record)  # behind those that stand there
        self._move(record, now)

    def _wait(self, host: str, now: float) -> float:
        record = self._waiting[host].head()
        return math.inf if record is None else self._budgets[host].wait(self._requests(record), now)

    def _is_stale(self, at: float, _: int, what: Record | Granted) -> bool:
        if isinstance(what, Granted):
            return what.id not in self._live or what.deadline != at
        return not what.wanted or at not in {what.not_before, what.overdue_at}

    def _wake(self, at: float, what: Record | Granted) -> None:
        heapq.heappush(self._timers, (at, next(self._serial), what))


def _met_throttle(status: NodeImageStatus) -> bool:
    """Also a pull that got through in the end says something about the registry."""
    return status.throttled or status.reason is Reason.THROTTLED
