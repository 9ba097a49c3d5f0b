"""Logs: one JSON object a line on standard error, an event's name and its fields."""

import logging
import sys

import structlog


def configure() -> None:
    """Once, at the start of the program. Libraries' own warnings go to standard error as they are."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    steps: list[structlog.typing.Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=steps,
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
