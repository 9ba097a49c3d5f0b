"""Retry-After: seconds or a date, capped at a minute, garbage ignored."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.registry.bounds import LONGEST_PAUSE_S
from tidegate.registry.retry_after import retry_after

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "value,seconds",
    [
        pytest.param("0", 0.0, id="zero"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("  7 ", 7.0, id="padded"),
        pytest.param("60", 60.0, id="the-cap"),
        pytest.param("61", 60.0, id="over-the-cap"),
        pytest.param("999999999999999999", 60.0, id="for-ever"),
        pytest.param("Tue, 24 Nov 2026 08:00:30 GMT", 30.0, id="date"),
        pytest.param("Tuesday, 24-Nov-26 08:00:30 GMT", 30.0, id="rfc-850-date"),
        pytest.param("Tue Nov 24 08:00:30 2026", 30.0, id="asctime-date"),
        pytest.param("Tue, 24 Nov 2026 09:00:30 +0100", 30.0, id="other-zone"),
        pytest.param("Tue, 24 Nov 2026 07:00:00 GMT", 0.0, id="past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 60.0, id="end-of-time"),
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1.5", None, id="fraction"),
        pytest.param("1e9", None, id="exponent"),
        pytest.param("soon", None, id="word"),
        pytest.param("\u0667", None, id="unicode-digit"),
        pytest.param("nan", None, id="nan"),
        pytest.param("9" * 5000, None, id="more-digits-than-int-parses"),
        pytest.param("Tue, 99 Nov 2026 08:00:30 GMT", None, id="no-such-day"),
        pytest.param("Tue, 24 Nov 99999999999999999999 08:00:30 GMT", None, id="no-such-year"),
    ],
)
def test_what_a_header_asks_for(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=NOW) == seconds


@given(st.text(max_size=80))
def test_any_text_is_none_or_within_the_cap(value: str) -> None:
    seconds = retry_after(value, now=NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_PAUSE_S


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_any_date_is_within_the_cap(date: datetime, now: datetime) -> None:
    seconds = retry_after(date.strftime("%a, %d %b %Y %H:%M:%S GMT"), now=now)
    assert seconds is None or 0 <= seconds <= LONGEST_PAUSE_S
