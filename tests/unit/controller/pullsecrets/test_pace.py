"""Everybody has a bucket of their own, and a bounded number of them is remembered."""

from hypothesis import given
from hypothesis import strategies as st

from controller.pullsecrets.pace import _NAMES, Pace


@given(st.lists(st.floats(min_value=0, max_value=2), max_size=60))
def test_never_more_in_any_time_than_the_burst_and_what_flowed_in(pauses: list[float]) -> None:
    pace, now, let = Pace(burst=3, per_s=2), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if pace.lets("node-1", now):
            let.append(now)
    for first in range(len(let)):
        for last in range(first, len(let)):
            assert last - first + 1 <= 3 + 2 * (let[last] - let[first]) + 1e-6


def test_one_does_not_slow_another() -> None:
    pace = Pace(burst=1, per_s=1)
    assert pace.lets("node-1", 0)
    assert not pace.lets("node-1", 0)
    assert pace.lets("node-2", 0)
    assert pace.lets("node-1", 1)


def test_who_asks_under_ever_new_names_fills_no_memory() -> None:
    pace = Pace(burst=1, per_s=1)
    for number in range(_NAMES * 2):
        pace.lets(str(number), 0)
    assert len(pace._left) == _NAMES
