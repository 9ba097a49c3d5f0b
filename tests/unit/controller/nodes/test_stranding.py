"""No node keeps its taint past its deadline and the time without a leader, whatever happens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

TAINT = {"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}
DEADLINE_S = 60
END_S = 900
SLACK_S = 2
"""Of a look, and of the write."""

outages = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 120)), max_size=4)
"""Times without a leader: from when, for how long."""
nodes = st.lists(
    st.tuples(st.integers(0, 300), st.one_of(st.none(), st.integers(0, 200)), st.booleans()), min_size=1, max_size=5
)
"""When each is made, how many seconds later its images are there (never: None), and whether anybody tells."""
skews = st.integers(-300, 300)
"""By how much the controller's wall clock is ahead."""


@given(outages=outages, nodes=nodes, skew=skews)
@settings(max_examples=100, deadline=None)
def test_no_node_is_stranded(fleet_of: Callable[[], Any], outages: list[Any], nodes: list[Any], skew: int) -> None:
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(History(fleet_of(), _merged(outages), skew).run(nodes))
    finally:
        loop.close()


@dataclass
class History:
    """What happens, and what came of it."""

    fleet: Any
    outages: list[tuple[int, int]]
    skew: int
    made: dict[str, float] = field(default_factory=dict)
    let_go: dict[str, float] = field(default_factory=dict)

    async def run(self, nodes: list[Any]) -> None:
        self.fleet.wrong_by_s = self.skew
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lead())
            for number, (at, warm_after, told) in enumerate(nodes):
                tasks.create_task(self._live(f"n{number}", at, warm_after, told=told))
        for name, at in self.made.items():
            assert self.let_go[name] <= self._by(at) + SLACK_S, (name, at)

    def _by(self, made: float) -> float:
        """When a node of that time has to be let go at the latest."""
        by = made + DEADLINE_S
        for begin, end in self.outages:
            if begin > by:
                continue
            # with a clock that is behind, each leader counts from its first sight
            by = max(by, end + DEADLINE_S if self.skew < 0 and end > made else end)
        return by

    async def _live(self, name: str, at: int, warm_after: int | None, *, told: bool) -> None:
        await asyncio.sleep(at)
        self.made[name] = asyncio.get_running_loop().time()
        self.fleet.add(name, TAINT)
        if warm_after is not None:
            await asyncio.sleep(warm_after)
            self.fleet.stand(name, present=1, told=told)

    async def _lead(self) -> None:
        for begin, end in self.outages:
            await self._lead_until(begin)
            await asyncio.sleep(end - asyncio.get_running_loop().time())
        await self._lead_until(END_S)

    async def _lead_until(self, end: int) -> None:
        async with self.fleet.led(deadline_s=DEADLINE_S):
            self.fleet.nodes.subscribe(self._watch)
            await asyncio.sleep(end - asyncio.get_running_loop().time())

    def _watch(self, name: str, _: Any, new: Any) -> None:
        if not new.spec.taints:
            self.let_go.setdefault(name, asyncio.get_running_loop().time())


def _merged(outages: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """As begins and ends, in order, each after the one before."""
    merged: list[tuple[int, int]] = []
    for begin, length in sorted(outages):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], begin + length))
        else:
            merged.append((begin, begin + length))
    return merged
