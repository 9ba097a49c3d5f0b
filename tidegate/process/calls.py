"""A program's call, and how a wrong one ends: one clear sentence on standard error, and exit code 2."""

import argparse
import asyncio
import math
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from tidegate.config import ConfigError
from tidegate.kube.connection import ConnectionConfigError

WRONG_CALL = 2
_LAST_PORT = 65_535


class NotListening(OSError):
    """A port cannot be had; the text says which, and why."""


@contextmanager
def listening_on(port: int) -> Iterator[None]:
    """What the system has against listening on a port comes out as NotListening."""
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        message = f"port {port} cannot be listened on: {reason}"
        raise NotListening(message) from exc


def port(text: str) -> int:
    """A port on a command line, for argparse."""
    if text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _LAST_PORT:
        return int(text)
    message = f"{text!r:.32} is no port"
    raise argparse.ArgumentTypeError(message)


def at_least(least: float) -> Callable[[str], float]:
    """A number on a command line that is neither smaller nor without bound, for argparse."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if least <= value < math.inf:
            return value
        message = f"{text!r:.32} is no number of at least {least:g}"
        raise argparse.ArgumentTypeError(message)

    return number


def wrong(error: object) -> int:
    """Say what is wrong with the call; its exit code."""
    print(error, file=sys.stderr)  # noqa: T201 - the person who started it reads this
    return WRONG_CALL


def run(
    program: Coroutine[Any, Any, None], *, runner: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
) -> int:
    """Run a program to its end: 0, or 2 where it then turned out that it was called wrong. Its faults are raised."""
    code = 0
    try:
        runner(program)
    except* (NotListening, ConfigError, ConnectionConfigError) as group:
        code = wrong(_first(group))
    return code


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    one: BaseException = group.exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
