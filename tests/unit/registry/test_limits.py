"""The line before one replica, on a clock that jumps."""

import asyncio

import pytest

from tidegate.config.registries import LimitsConfig
from tidegate.registry.errors import Throttled
from tidegate.registry.limits import Limiter

pytestmark = pytest.mark.looptime


def limiter(*, rate: float = 10.0, burst: int = 2, connections: int = 100) -> Limiter:
    limits = LimitsConfig(requestsPerSecond=rate, burst=burst, connections=connections)
    return Limiter(limits, replica="west", clock=asyncio.get_running_loop().time)


def now() -> float:
    return asyncio.get_running_loop().time()


async def turn(line: Limiter, *, within_s: float = 1000.0, counted: bool = True) -> float:
    async with line.turn(deadline=now() + within_s, counted=counted):
        return now()


async def test_a_burst_passes_and_the_rest_comes_at_the_rate() -> None:
    line = limiter(rate=10.0, burst=3)
    times = await asyncio.gather(*(turn(line) for _ in range(6)))
    assert times == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3], abs=0.002)


async def test_an_idle_line_refills_up_to_the_burst() -> None:
    line = limiter(rate=10.0, burst=2)
    await asyncio.gather(*(turn(line) for _ in range(4)))
    await asyncio.sleep(100)
    times = await asyncio.gather(*(turn(line) for _ in range(3)))
    assert times[1] - times[0] == pytest.approx(0, abs=0.002)
    assert times[2] - times[0] == pytest.approx(0.1, abs=0.002)


async def test_who_cannot_have_a_turn_in_time_is_told_at_once() -> None:
    line = limiter(rate=1.0, burst=1)
    await turn(line)
    with pytest.raises(Throttled) as caught:
        await turn(line, within_s=0.5)
    assert now() == pytest.approx(0, abs=0.002)
    assert caught.value.retry_after_s == pytest.approx(1.0, abs=0.002)
    assert await turn(line, within_s=2) == pytest.approx(1.0, abs=0.002)


async def test_a_free_line_refuses_nobody_however_late() -> None:
    assert await turn(limiter(), within_s=-1) == 0  # whoever set the deadline ends the call


async def test_a_turn_that_is_not_waited_for_goes_to_the_next() -> None:
    line = limiter(rate=1.0, burst=1)
    await turn(line)
    impatient = asyncio.create_task(turn(line))
    await asyncio.sleep(0.5)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await turn(line) == pytest.approx(1.0, abs=0.01)


async def test_requests_to_other_hosts_cost_no_turn() -> None:
    line = limiter(rate=1.0, burst=1)
    await asyncio.gather(*(turn(line, counted=False) for _ in range(50)))
    assert now() == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("connections", [1, 3])
async def test_connections_are_bounded(connections: int) -> None:
    line = limiter(rate=1000.0, burst=100, connections=connections)
    held = peak = 0

    async def hold() -> None:
        nonlocal held, peak
        async with line.turn(deadline=now() + 100):
            held += 1
            peak = max(peak, held)
            await asyncio.sleep(1)
            held -= 1

    await asyncio.gather(*(hold() for _ in range(10)))
    assert peak == connections


@pytest.mark.parametrize("seconds", [0.2, 1.0])
async def test_a_short_pause_is_waited_out(seconds: float) -> None:
    line = limiter()
    line.pause(seconds)
    assert line.pause_left_s() == pytest.approx(seconds)
    assert await turn(line) == pytest.approx(seconds, abs=0.002)
    assert line.pause_left_s() == 0


async def test_a_long_pause_is_answered_at_once() -> None:
    line = limiter()
    line.pause(7)
    with pytest.raises(Throttled) as caught:
        await turn(line)
    assert now() == pytest.approx(0, abs=0.002)
    assert caught.value.retry_after_s == pytest.approx(7.0, abs=0.002)


async def test_a_pause_longer_than_what_is_left_is_answered_at_once() -> None:
    line = limiter()
    line.pause(0.8)
    with pytest.raises(Throttled):
        await turn(line, within_s=0.5)


async def test_a_pause_is_capped_at_a_minute_and_never_shortened() -> None:
    line = limiter()
    line.pause(10**9)
    line.pause(1)
    assert line.pause_left_s() == pytest.approx(60.0)


async def test_a_pause_that_begins_while_others_wait_stops_them_too() -> None:
    line = limiter(rate=1.0, burst=1)
    await turn(line)
    waiting = asyncio.create_task(turn(line))
    await asyncio.sleep(0.5)
    line.pause(30)
    with pytest.raises(Throttled):
        await waiting


async def test_after_a_pause_there_is_no_burst() -> None:
    line = limiter(rate=2.0, burst=50)
    line.pause(0)
    times = await asyncio.gather(*(turn(line) for _ in range(3)))
    assert times == pytest.approx([0, 0.5, 1.0], abs=0.01)
