"""Two never lead at one moment, whatever lines, clocks and deaths do. Time is virtual."""

import asyncio
import random

import looptime
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tidegate.kube.lease import Timing
from tidegate.testing.candidates import Log, Memory, Running, Slow, start

T = Timing()
NEARLY = 0.95 * T.request_s
"""Seconds of an answer that comes just in time."""
LINES = ("quick", "uneven", "slow there", "slow back")


def line(store: Memory, kind: str, chance: random.Random, *, worst_s: float, loses: float) -> Slow:
    """One process' way to the server: what a request takes there, and its answer back."""

    def delay() -> tuple[float, float]:
        match kind:
            case "quick":
                return 0.001, 0.001
            case "slow there":
                return chance.uniform(0, NEARLY), 0.0
            case "slow back":
                return 0.0, chance.uniform(0.9, 1.0) * NEARLY
            case _:
                return chance.expovariate(5 / worst_s), chance.expovariate(5 / worst_s)

    return Slow(store, delay=delay, lost=lambda: chance.random() < loses)


async def story(seed: int, *, count: int, worst_s: float, kinds: tuple[str, ...], loses: float) -> Log:
    """Delays, lost answers, broken connections, deaths, stops, and clocks that are off."""
    chance = random.Random(seed)  # noqa: S311  repeatable
    log, store = Log(), Memory()

    def one_more(name: str, number: int) -> None:
        way = line(store, chance.choice(kinds), chance, worst_s=worst_s, loses=loses)
        running.append(start(way, name, log, seed=seed + number, skew_s=chance.uniform(-3600, 3600), ends_s=0.3))

    running: list[Running] = []
    for number in range(count):
        one_more(f"c{number}", number)
    for number in range(6):
        await asyncio.sleep(chance.uniform(0, 60))
        leading = [one for one in running if one.task.get_name() in log.leaders()]
        one = chance.choice(leading or running)
        if chance.random() < 0.5:
            one.line.cut = True
            await asyncio.sleep(chance.uniform(0, 40))
            one.line.cut = False
            continue
        running.remove(one)
        await (one.stop() if chance.random() < 0.5 else one.die())
        one_more(f"n{number}", 10 + number)
    for one in running:
        await one.stop()
    await asyncio.sleep(1000)  # what the server was still asked to do
    return log


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a seed has no smaller one
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 4),
    worst_s=st.sampled_from([0.5, 3.0, 12.0, 30.0]),
    kinds=st.sampled_from([LINES, ("uneven",), ("quick", "slow back"), ("quick", "slow there")]),
    loses=st.sampled_from([0.0, 0.1]),
)
def test_two_never_lead_at_one_moment(
    seed: int, count: int, worst_s: float, kinds: tuple[str, ...], loses: float
) -> None:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        log = runner.run(story(seed, count=count, worst_s=worst_s, kinds=kinds, loses=loses))
    assert log.alone(), log.spans
    assert log.gave_up == []
    assert worst_s > 3.0 or log.spans, "somebody led"


@pytest.mark.looptime
@pytest.mark.parametrize("there", [True, False], ids=["slow there", "slow back"])
async def test_a_leader_counts_from_when_it_asked(there: bool) -> None:  # noqa: FBT001  a table
    """Its line breaks behind an answer that took as long as it may; the other one sees every change at once."""
    log, store = Log(), Memory()
    delay = (NEARLY, 0.0) if there else (0.0, NEARLY)
    way = Slow(store, delay=lambda: delay)
    one = start(way, "one", log)
    await log.until("one")
    two = start(Slow(store), "two", log, seed=1)
    await asyncio.sleep(60)
    version = store.version
    while store.version == version:  # noqa: ASYNC110  virtual time
        await asyncio.sleep(0.01)
    await asyncio.sleep(0 if there else NEARLY)
    way.cut = True
    renewed = asyncio.get_running_loop().time() - NEARLY
    await log.until("two")
    (who, _, end), (_, begin, _) = log.spans
    assert (who, log.alone()) == ("one", True)
    assert renewed + T.renew_s - T.retry_s <= end <= renewed + T.renew_s + T.retry_s
    assert begin - end >= T.lease_s - T.renew_s - T.retry_s, "by more than luck"
    await two.stop()
    await one.stop()
