"""Text → `Config`, or one error that names the path of every wrong key."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tidegate.config.document import read
from tidegate.config.errors import ConfigError
from tidegate.config.model import Config

_MOST_BYTES = 1 << 20
_MOST_COMPLAINTS = 10
_UNION = "local"
"""The one key that may be text or a list."""
_KEY = "[key]"
"""How pydantic says that a key, not its value, is wrong."""
_NAMES_A_KEY = re.compile(r"[a-z][A-Za-z]*: ", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,253}", re.ASCII)


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
    text = read_text(path)
    try:
        return parse(text)
    except ConfigError as exc:
        message = "\n".join(f"{path}: {line}" for line in str(exc).splitlines())
        raise ConfigError(message) from exc


def read_text(path: Path) -> str:
    """A file of bounded size, in UTF-8. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except OSError as exc:
        message = f"{path}: {exc.strerror or exc}"
        raise ConfigError(message) from exc
    if len(raw) > _MOST_BYTES:
        message = f"{path}: larger than {_MOST_BYTES} bytes"
        raise ConfigError(message)
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        message = f"{path}: not UTF-8 (byte {exc.start})"
        raise ConfigError(message) from exc


def parse(text: str) -> Config:
    """Check the text of a configuration file. Raises ConfigError."""
    document = read(text)
    if not isinstance(document, dict):
        message = "not a mapping; it starts with apiVersion: tidegate.dev/v1alpha1"
        raise ConfigError(message)
    try:
        return Config.model_validate(document)
    except ValidationError as exc:
        raise ConfigError(complaints(exc)) from None


def complaints(exc: ValidationError) -> str:
    """One line for each wrong key: its path, and what to do. Values are not repeated."""
    errors = exc.errors(include_url=False, include_input=False, include_context=False)
    lines = [_line(_path(error["loc"]), _words(error["type"], error["msg"])) for error in errors]
    distinct = list(dict.fromkeys(lines))
    shown = distinct[:_MOST_COMPLAINTS]
    if len(distinct) > len(shown):
        shown.append(f"and {len(distinct) - len(shown)} more")
    return "\n".join(shown)


def _line(path: str, words: str) -> str:
    """A check of several keys together names the one to change in its words: that belongs to the path."""
    return f"{path}.{words}" if path and _NAMES_A_KEY.match(words) else f"{path or 'the file'}: {words}"


def _path(loc: Sequence[int | str]) -> str:
    path, before = "", ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif before != _UNION and step != _KEY:  # the step after a union is the name of one of its arms
            path += f".{_step(step)}" if path else _step(step)
        before = str(step)
    return path


def _step(key: str) -> str:
    """A key of the file; one that would blur its path or break its line is quoted."""
    return key if _PLAIN.fullmatch(key) else f"{key!r:.64}"


def _words(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "required"
    return message.removeprefix("Value error, ")
