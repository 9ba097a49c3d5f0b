"""Logs: one JSON object a line on standard error, an event's name and its fields, nothing else."""

import logging
import sys
from typing import Any

import msgspec
import structlog

_ENCODE = msgspec.json.Encoder(enc_hook=repr).encode


def configure() -> None:
    """Once, at the start of a program. Warnings of libraries go there too, by logging's last resort."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _rendered,
        ],
        logger_factory=_StandardError,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Writes to what standard error is when the line comes, not to what it was when a logger was made."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, line: bytes) -> None:
        """One line, at once."""
        stream = sys.stderr.buffer
        stream.write(line + b"\n")
        stream.flush()

    debug = info = warning = error = critical = exception = msg


def _rendered(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:  # noqa: ANN401 - structlog's shape
    """The line; of what no encoder takes, lone surrogates above all, an escaped form. A log call never raises."""
    try:
        return _ENCODE(event)
    except (ValueError, TypeError, RecursionError):  # UnicodeEncodeError is a ValueError
        return _ENCODE({key: _printable(value) for key, value in event.items()})


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value if value is None or isinstance(value, (bool, int, float)) else ascii(value)
