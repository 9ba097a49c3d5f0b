"""Times of the API: written in UTC, and read only where a zone is named."""

from datetime import UTC, datetime

import pytest

from tidegate.kube.times import micro_time, moment_of, timestamp

ELSEWHERE = datetime.fromisoformat("2026-01-01T01:00:00.5+01:00")


def test_times_are_written_in_utc() -> None:
    assert micro_time(ELSEWHERE) == "2026-01-01T00:00:00.500000Z"
    assert timestamp(ELSEWHERE) == "2026-01-01T00:00:00Z"


def test_a_time_is_read() -> None:
    assert moment_of("2026-01-01T00:00:00Z") == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment_of(micro_time(ELSEWHERE)) == ELSEWHERE


@pytest.mark.parametrize("text", [None, "", "soon", "2026-11-24", "2026-11-24T12:00:00", "2026-13-24T12:00:00Z"])
def test_what_cannot_be_read_is_none(text: str | None) -> None:
    assert moment_of(text) is None
