"""The arithmetic of a throttled registry, over a clock of the test's own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.testing.registry.limits import Pacer, RequestLimit


def admitted(limit: RequestLimit, *times: float) -> list[bool]:
    return [limit.admits(at) for at in times]


class TestRequestLimit:
    @pytest.mark.parametrize("burst", [0, 1, 10])
    def test_burst_and_one_pass_at_once(self, burst: int) -> None:
        limit = RequestLimit(rate=20, burst=burst)

        assert admitted(limit, *[5.0] * (burst + 5)) == [True] * (burst + 1) + [False] * 4

    @pytest.mark.parametrize(
        "at, passes",
        [
            pytest.param(0.049, False, id="a-moment-early"),
            pytest.param(0.050, True, id="in-time"),
        ],
    )
    def test_then_one_passes_each_interval(self, at: float, *, passes: bool) -> None:
        limit = RequestLimit(rate=20, burst=2)
        assert admitted(limit, 0, 0, 0, 0) == [True, True, True, False]

        assert limit.admits(at) is passes

    def test_a_refusal_costs_nothing(self) -> None:
        hammered, quiet = RequestLimit(rate=10, burst=0), RequestLimit(rate=10, burst=0)
        assert hammered.admits(0)
        assert quiet.admits(0)
        assert not any(hammered.admits(number / 1000) for number in range(100))

        assert hammered.admits(0.1) == quiet.admits(0.1) == True  # noqa: E712 - both, and true

    def test_a_long_silence_saves_no_more_than_the_burst(self) -> None:
        limit = RequestLimit(rate=20, burst=3)
        limit.admits(0)

        assert admitted(limit, *[3600.0] * 6) == [True] * 4 + [False] * 2

    @pytest.mark.parametrize(
        "rate, burst, seconds",
        [(20, 10, 9.0), (20, 0, 3.0), (1, 5, 12.0), (200, 100, 2.0), (0.5, 1, 20.0)],
    )
    def test_who_asks_each_millisecond_gets_burst_and_rate_times_time(
        self, rate: float, burst: int, seconds: float
    ) -> None:
        limit = RequestLimit(rate=rate, burst=burst)

        early = sum(limit.admits(0) for _ in range(burst + 10))
        passed = sum(limit.admits(moment / 1000) for moment in range(1, int(seconds * 1000) + 2))

        assert early + passed == 1 + burst + math.floor(rate * seconds)

    @given(
        rate=st.integers(1, 200),
        burst=st.integers(0, 50),
        gaps=st.lists(st.floats(0, 0.5), max_size=200),
    )
    def test_never_more_than_burst_and_rate_times_time(self, rate: int, burst: int, gaps: list[float]) -> None:
        limit = RequestLimit(rate=rate, burst=burst)
        now = passed = 0.0
        for gap in gaps:
            now += gap
            passed += limit.admits(now)

        assert passed <= 1 + burst + math.floor(rate * now + 1e-6)


class TestPacer:
    def test_bytes_take_their_time(self) -> None:
        assert Pacer(1000).delay(500, now=7) == pytest.approx(0.5)

    def test_everybody_waits_in_one_line(self) -> None:
        pacer = Pacer(1000)

        assert [pacer.delay(100, now=0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])

    def test_a_quiet_wire_saves_nothing(self) -> None:
        pacer = Pacer(1000)
        pacer.delay(100, now=0)

        assert pacer.delay(100, now=60) == pytest.approx(0.1)

    @given(sizes=st.lists(st.integers(1, 1 << 16), min_size=1, max_size=50))
    def test_the_last_byte_leaves_when_all_have_had_their_share(self, sizes: list[int]) -> None:
        pacer = Pacer(12_500_000)

        delays = [pacer.delay(size, now=0) for size in sizes]

        assert delays[-1] == pytest.approx(sum(sizes) / 12_500_000)
