"""How fast the budget warms a fleet against limits that it knows, has to find, or that change: simulated, no clock.

    make bench-budget

The controller's own `Grants` and `Budget` decide; nodes and the registry are modelled after what was measured with
containerd 2.4.2: a pull is a HEAD, a manifest, a config, then layers, three at once; a 429 is tried again five times
at once and then fails the pull, which loses what it had and whose Retry-After nobody sees. The registry is a token
bucket, as nginx's `limit_req … nodelay` is, and one wire that all downloads share. A report takes 50 ms to arrive.
The floor is what the registry itself lets through at best.
"""

import argparse
import heapq
import itertools
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.budget import Budget, Limits
from controller.granted import Cost, Granted
from controller.grants import Grants
from controller.plan import Want
from tidegate.kube.own import NodeImageStatus, Phase, Reason

HOST = "registry.test"
IMAGE = f"{HOST}/model:1"
LAYERS = 12
LAYER_BYTES = 7_750_000
REQUESTS = 3 + LAYERS
AT_ONCE = 3
TRIES = 6
LATENCY_S = 0.003
HEARD_S = 0.05
MOST_S = 3600.0
EVER = math.inf


@dataclass
class Registry:
    """`rate(now)` requests a second, `burst` at once; `bandwidth` bytes a second for all, `wire` for each node."""

    rate: Callable[[float], float]
    burst: float
    bandwidth: float = EVER
    wire: float = 120e6
    level: float = field(init=False)
    at: float = 0.0
    served: int = 0
    refused: int = 0
    downloads: int = 0

    def __post_init__(self) -> None:
        self.level = self.burst

    def lets_in(self, now: float) -> bool:
        self.level = min(self.burst, self.level + (now - self.at) * self.rate(self.at))
        self.at = now
        if self.level < 1:
            self.refused += 1
            return False
        self.level -= 1
        self.served += 1
        return True

    def speed(self, of_node: int) -> float:
        """Bytes a second of one download, when the node has `of_node` of them."""
        return min(self.bandwidth / max(1, self.downloads), self.wire / of_node)


class Simulation:
    """Run it once."""

    def __init__(self, registry: Registry, limits: Limits, *, nodes: int, seed: int = 0) -> None:
        self.registry = registry
        serial = itertools.count()
        self.budget = Budget(limits, now=0.0)
        chance = random.Random(seed)  # noqa: S311  repeatable
        self.grants = Grants({HOST: self.budget}, per_node=1, new_id=lambda: f"g{next(serial)}", chance=chance)
        self.names = [f"node-{number}" for number in range(nodes)]
        self.warm: dict[str, float] = {}
        self.peak = 0
        self._now = 0.0
        self._serial = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def run(self) -> float:
        """Seconds until all are warm; infinity if they are not within an hour."""
        want = Want(IMAGE, HOST, (0, "2026", "default/model", 0))
        for name in self.names:
            self.grants.set_wants(name, [want], 0.0)
            self.grants.set_agent(name, 0.0, reports=True)
            self._report(name, NodeImageStatus(image=IMAGE))
        self.grants.set_cost(IMAGE, Cost(REQUESTS, LAYERS * LAYER_BYTES), 0.0)
        while len(self.warm) < len(self.names) and self._now < MOST_S:
            for granted in self.grants.settle(self._now):
                self._start(_Pull(self, granted))
            self.peak = max(self.peak, self.budget.in_flight)
            self._step()
        return max(self.warm.values()) if len(self.warm) == len(self.names) else math.inf

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._now + seconds, next(self._serial), what))

    def heard(self, granted: Granted, status: NodeImageStatus) -> None:
        if status.phase is Phase.PRESENT:
            self.warm[granted.node] = self._now
        self.later(HEARD_S, lambda: self._report(granted.node, status))

    @property
    def now(self) -> float:
        return self._now

    def _report(self, name: str, status: NodeImageStatus) -> None:
        self.grants.observe(name, IMAGE, status, self._now)

    def _start(self, pull: "_Pull") -> None:
        self.later(HEARD_S, pull.begin)

    def _step(self) -> None:
        at = self.grants.next_at(self._now)
        if self._due and self._due[0][0] <= at:
            self._now, _, what = heapq.heappop(self._due)
            what()
        else:
            self._now = at


class _Pull:
    """One node's pull under one grant."""

    def __init__(self, world: Simulation, granted: Granted) -> None:
        self._world = world
        self._granted = granted
        self._left = LAYERS
        self._running = 0
        self._done = 0
        self._failed = False

    def begin(self) -> None:
        self._ask(2, lambda: self._ask(1, self._layers))

    def _ask(self, requests: int, then: Callable[[], None], tries: int = TRIES) -> None:
        """So many requests one after the other, then the rest."""
        if self._failed:
            return
        if self._world.registry.lets_in(self._world.now):
            if requests > 1:
                self._world.later(LATENCY_S, lambda: self._ask(requests - 1, then))
            else:
                self._world.later(LATENCY_S, then)
        elif tries > 1:
            self._world.later(LATENCY_S, lambda: self._ask(requests, then, tries - 1))
        else:
            self._failed = True
            self._end(Phase.FAILED, Reason.THROTTLED)

    def _layers(self) -> None:
        while self._left and self._running < AT_ONCE and not self._failed:
            self._left -= 1
            self._running += 1
            self._ask(1, lambda: self._download(LAYER_BYTES))

    def _download(self, left: float) -> None:
        """In slices, as the share of the wire changes."""
        registry = self._world.registry
        registry.downloads += 1
        speed = registry.speed(self._running)
        seconds = min(left / speed, 0.05)

        def done() -> None:
            registry.downloads -= 1
            rest = left - speed * seconds
            if self._failed:
                return
            if rest > 1:
                self._download(rest)
                return
            self._running -= 1
            self._done += 1
            if self._done == LAYERS:
                self._end(Phase.PRESENT, Reason.NONE)
            else:
                self._layers()

        self._world.later(seconds, done)

    def _end(self, phase: Phase, reason: Reason) -> None:
        status = NodeImageStatus(
            image=IMAGE, phase=phase, reason=reason, grant=self._granted.id, started_at="2026-01-01T00:00:00Z",
            throttled=reason is Reason.THROTTLED,
        )  # fmt: skip
        self._world.heard(self._granted, status)


@dataclass(frozen=True)
class Scene:
    """One line of the table: `ratio` and `refused` are the most that are allowed."""

    name: str
    registry: Callable[[], Registry]
    limits: Limits
    nodes: int
    floor_s: float
    ratio: float
    refused: int


def scenes(nodes: int) -> list[Scene]:
    requests = nodes * REQUESTS
    floor = (requests - 10) / 20
    wire = nodes * LAYERS * LAYER_BYTES / 100e6
    many = 40 * nodes
    rises, falls = _crossed([(60, 10), (EVER, 40)], many * REQUESTS), _crossed([(60, 40), (EVER, 10)], many * REQUESTS)
    unknown = Limits(in_flight=3, rate=5, burst=10, most_in_flight=32, most_rate=80)
    return [
        Scene("limit configured: 20/s", lambda: Registry(lambda _: 20, 10), Limits(8, 20, 10), nodes, floor, 1.15, 0),
        Scene("limit unknown: 20/s, begun at 5/s", lambda: Registry(lambda _: 20, 10), unknown, nodes, floor, 1.5, 10),
        Scene(
            "bandwidth: 100 MB/s, no limit of requests", lambda: Registry(lambda _: 1e9, 1e9, bandwidth=100e6),
            Limits(3, 20, 20, 32, 80), nodes, wire, 1.15, 0,
        ),
        Scene("limit unknown, many nodes", lambda: Registry(lambda _: 20, 10), unknown, many,
              (many * REQUESTS - 10) / 20, 1.5, many),
        Scene("limit rises after 60 s: 10/s, 40/s", lambda: Registry(lambda t: 10 if t < 60 else 40, 10),
              unknown, many, rises, 1.5, many),
        Scene("limit falls after 60 s: 40/s, 10/s", lambda: Registry(lambda t: 40 if t < 60 else 10, 10),
              unknown, many, falls, 1.5, many),
    ]  # fmt: skip


def _crossed(steps: list[tuple[float, float]], requests: float) -> float:
    """When so many requests are through, at `(until, rate)` one after the other."""
    left, since = requests - 10, 0.0
    for until, rate in steps:
        if left <= (until - since) * rate:
            return since + left / rate
        left, since = left - (until - since) * rate, until
    raise AssertionError


def main() -> None:
    """Print the table; it fails if a scene takes longer, or is throttled more often, than it may."""
    parser = argparse.ArgumentParser(description="The budget against simulated registries.")
    parser.add_argument("--nodes", type=int, default=12)
    nodes = parser.parse_args().nodes
    print(f"{nodes} nodes (many: {40 * nodes}), {REQUESTS} requests and {LAYERS * LAYER_BYTES / 1e6:.0f} MB a pull")
    print(f"{'scene':45} {'floor s':>8} {'warm s':>8} {'ratio':>6} {'429':>5} {'requests':>9} {'peak':>5} {'rate':>6}")
    missed: list[str] = []
    for scene in scenes(nodes):
        registry = scene.registry()
        world = Simulation(registry, scene.limits, nodes=scene.nodes)
        seconds = world.run()
        print(
            f"{scene.name:45} {scene.floor_s:8.1f} {seconds:8.1f} {seconds / scene.floor_s:6.2f} {registry.refused:5}"
            f" {registry.served:9} {world.peak:5} {world.budget.rate:6.1f}"
        )
        missed += [scene.name] * (seconds > scene.ratio * scene.floor_s or registry.refused > scene.refused)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
