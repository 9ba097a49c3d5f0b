"""Durations (`1s`, `4m`, `1h30m`, `500ms`) and quantities of bytes (`1Gi`, `512Mi`) as Kubernetes writes them."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator

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


Seconds = Annotated[float, BeforeValidator(seconds)]
Bytes = Annotated[int, BeforeValidator(quantity)]
