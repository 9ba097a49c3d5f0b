"""Durations and quantities as Kubernetes writes them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.quantities import quantity, seconds


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1s", 1.0), ("0s", 0.0), ("4m", 240.0), ("10m", 600.0), ("1h", 3600.0), ("1h30m", 5400.0), ("500ms", 0.5),
        ("1.5s", 1.5), ("1m0s", 60.0), ("1h0m0.5s", 3600.5), ("1s500ms", 1.5), ("30s", 30.0),
    ],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1", "s", "1 s", "1s ", "-1s", "+1s", "1d", "1.5h", "1s1m", "1us", "1e3s",
        "\u0661s", "1s\n", ".5s", "1.s",
        "1" * 32 + "s", None, 1, 1.0, True, [], {},
    ],
)  # fmt: skip
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


@given(hours=st.integers(0, 999), minutes=st.integers(0, 999), secs=st.integers(0, 999), millis=st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, secs: int, millis: int) -> None:
    expected = hours * 3600 + minutes * 60 + secs + millis / 1000
    assert seconds(f"{hours}h{minutes}m{secs}s{millis}ms") == pytest.approx(expected)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("1Gi", 2**30), ("512Mi", 2**29), ("1Ki", 1024), ("2Ti", 2**41), ("1k", 1000), ("5M", 5_000_000), ("1G", 10**9),
        ("1T", 10**12), ("0", 0), ("17", 17), (17, 17), (0, 0), ("1.5Gi", 3 * 2**29), ("0.5k", 500),
    ],
)  # fmt: skip
def test_quantities(value: object, expected: int) -> None:
    assert quantity(value) == expected


@pytest.mark.parametrize(
    "value", ["", "1 Gi", "Gi", "1gi", "1KB", "-1", "1e3", "\u0661", "1\n", "1" * 33, -1, 1.5, True, None, [], "0x10"]
)
def test_what_is_no_quantity(value: object) -> None:
    with pytest.raises(ValueError, match="is not a quantity of bytes"):
        quantity(value)


@given(number=st.integers(0, 10**20), unit=st.sampled_from(["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"]))
def test_quantities_are_exact(number: int, unit: str) -> None:
    scale = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    assert quantity(f"{number}{unit}") == number * scale[unit]


def words_of(read: Callable[[object], float], value: object) -> str:
    try:
        read(value)
    except ValueError as exc:
        return str(exc)
    return ""


@given(value=st.text(max_size=40) | st.integers() | st.floats() | st.none() | st.lists(st.integers(), max_size=2))
def test_anything_is_a_value_or_a_short_complaint(value: object) -> None:
    assert len(words_of(seconds, value)) < 200
    assert len(words_of(quantity, value)) < 200
