"""Retry-After (RFC 9110 §10.2.3) → seconds: delta-seconds or an HTTP-date, capped, garbage tolerated."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tidegate.registry.bounds import LONGEST_PAUSE_S

_SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)
_LONGEST = 64


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds from `now` (aware), between 0 and `LONGEST_PAUSE_S`; None for nothing or garbage."""
    text = (value or "").strip()
    if not text or len(text) > _LONGEST:
        return None
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_PAUSE_S)
    date = http_date(text)
    if date is None:
        return None
    return min(max((date - now).total_seconds(), 0.0), LONGEST_PAUSE_S)


def http_date(value: str | None) -> datetime | None:
    """An aware datetime, or None for nothing or garbage."""
    text = (value or "").strip()
    if not text or len(text) > _LONGEST:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
