"""Durations (`1s`, `4m`, `1h30m`, `500ms`) and quantities of bytes (`1Gi`, `512Mi`) as Kubernetes writes them."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?", re.ASCII)
_UNITS = {
    None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_LONGEST = 32


def seconds(value: object) -> float:
    """`4m` → 240.0. Raises ValueError for anything that is not such text."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) and 0 < len(value) <= _LONGEST else None
    if match is None:
        message = f"{value!r:.64} is not a duration; write it like 1s, 4m, 1h30m or 500ms"
        raise ValueError(message)
    hours, minutes, secs, millis = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(secs or 0) + int(millis or 0) / 1000


def quantity(value: object) -> int:
    """`1Gi` → 1073741824; a bare integer is bytes. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) <= _LONGEST else None
    if match is None:
        message = f"{value!r:.64} is not a quantity of bytes; write it like 1Gi or 512Mi"
        raise ValueError(message)
    number, unit = match.groups()
    return int(Fraction(number) * _UNITS[unit])


def duration(value: float) -> str:
    """240.0 → `4m`, as `seconds` reads it."""
    millis = round(value * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def amount(value: int) -> str:
    """2**30 → `1Gi`, as `quantity` reads it."""
    fitting = (unit for unit in ("Ti", "Gi", "Mi", "Ki") if value and value % _UNITS[unit] == 0)
    unit = next(fitting, None)
    return str(value) if unit is None else f"{value // _UNITS[unit]}{unit}"


_DURATIONS = {"type": "string", "pattern": r"^([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]+)?s)?([0-9]+ms)?$", "minLength": 1}
_QUANTITIES = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_QUANTITY.pattern}$"}]}
Seconds = Annotated[float, BeforeValidator(seconds), WithJsonSchema({**_DURATIONS, "maxLength": _LONGEST})]
Bytes = Annotated[int, BeforeValidator(quantity), WithJsonSchema(_QUANTITIES)]
