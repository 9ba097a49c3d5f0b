"""How far a pull is, when it has stalled, and when it stands in another's way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.progress import Progress
from tidegate.cri import Download

A, B, K = "layer-sha256:a", "layer-sha256:b", "layer-sha256:k"


def seen(*looks: tuple[float, list[Download], list[Download]]) -> Progress:
    progress = Progress(0.0)
    for now, ours, others in looks:
        progress.see(ours, others, now)
    return progress


def test_bytes_are_those_that_came_and_those_that_are_coming() -> None:
    looks = [(1.0, [Download(A, 10, 100), Download(B, 0, 50)], []), (2.0, [Download(B, 20, 50)], []), (3.0, [], [])]
    assert [seen(*looks[:count]).received for count in (1, 2, 3)] == [10, 120, 150]


@given(st.lists(st.lists(st.tuples(st.sampled_from([A, B, K]), st.integers(0, 100)), max_size=3), max_size=8))
def test_bytes_never_shrink(looks: list[list[tuple[str, int]]]) -> None:
    progress, last = Progress(0.0), 0
    for now, look in enumerate(looks):
        progress.see([Download(ref, received, 100) for ref, received in look], [], float(now))
        assert progress.received >= last
        last = progress.received


@pytest.mark.parametrize(
    "looks, stalled_s",
    [
        pytest.param([(5.0, [], [])], 50.0, id="nothing-ever-began"),
        pytest.param([(5.0, [Download(A, 1, 9)], []), (10.0, [Download(A, 1, 9)], [])], 50.0, id="no-byte-since-5"),
        pytest.param([(5.0, [Download(A, 1, 9)], []), (10.0, [Download(A, 2, 9)], [])], 45.0, id="a-byte-at-10"),
        pytest.param([(5.0, [Download(A, 1, 9)], []), (10.0, [], [])], 0.0, id="all-is-here-and-is-unpacked"),
        pytest.param(
            [(5.0, [Download(A, 0, 9)], [Download(K, 1, 9)]), (50.0, [Download(A, 0, 9)], [Download(K, 2, 9)])],
            5.0, id="others-had-the-slots-until-50",
        ),
        pytest.param(
            [(5.0, [Download(A, 0, 9)], [Download(K, 1, 9)]), (50.0, [Download(A, 0, 9)], [Download(K, 1, 9)])],
            50.0, id="others-do-not-move-either",
        ),
    ],
)  # fmt: skip
def test_a_stall_is_told_by_bytes_not_by_time(
    looks: list[tuple[float, list[Download], list[Download]]], stalled_s: float
) -> None:
    assert seen(*looks).stalled_s(55.0) == stalled_s


@pytest.mark.parametrize(
    "looks, starving_s",
    [
        pytest.param([(5.0, [Download(A, 1, 9)], [])], 0.0, id="nobody-else"),
        pytest.param([(5.0, [Download(A, 1, 9)], [Download(K, 0, 9)])], 1.0, id="it-just-came"),
        pytest.param(
            [(1.0, [Download(A, 1, 9)], [Download(K, 0, 9)]), (6.0, [Download(A, 5, 9)], [Download(K, 0, 9)])],
            5.0, id="it-waits-since-1",
        ),
        pytest.param(
            [(1.0, [Download(A, 1, 9)], [Download(K, 0, 9)]), (6.0, [Download(A, 5, 9)], [Download(K, 3, 9)])],
            0.0, id="it-moves",
        ),
        pytest.param([(1.0, [], [Download(K, 0, 9)]), (5.0, [], [Download(K, 0, 9)])], 0.0, id="not-because-of-us"),
    ],
)  # fmt: skip
def test_others_starve_when_they_wait_beside_us(
    looks: list[tuple[float, list[Download], list[Download]]], starving_s: float
) -> None:
    progress = seen(*looks)
    assert progress.starving_s(looks[-1][0] + (1.0 if starving_s == 1.0 else 0.0)) == starving_s
