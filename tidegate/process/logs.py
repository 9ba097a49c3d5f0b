"""Logs: one JSON object a line on standard error, an event's name and its fields, nothing else."""

import logging
import sys
from typing import Any

import msgspec
import structlog

_ENCODE = msgspec.json.Encoder(enc_hook=repr).encode


def configure() -> None:
    """Once, at the start of a program. Libraries' own warnings go to standard error as they are."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _rendered,
        ],
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def _rendered(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:  # noqa: ANN401 - structlog's shape
    """The line; lone surrogates, which no encoder takes, are escaped."""
    try:
        return _ENCODE(event)
    except UnicodeEncodeError:
        return _ENCODE({key: _printable(value) for key, value in event.items()})


def _printable(value: object) -> object:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
