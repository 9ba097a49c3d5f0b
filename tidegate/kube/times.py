"""Times as objects of the API carry them: RFC 3339. Pure."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """As `metav1.Time` is written: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milli_time(moment: datetime) -> str:
    """UTC, to the millisecond, as our own objects have it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def micro_time(moment: datetime) -> str:
    """As `metav1.MicroTime` is written: UTC, with six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str | None) -> datetime | None:
    """What either says; None for what is not there, cannot be read, or names no zone."""
    try:
        read = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return read if read.tzinfo is not None else None
