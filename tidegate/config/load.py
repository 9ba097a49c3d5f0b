"""Text → `Config`, or one error that names the path of every wrong key."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from tidegate.config.model import Config

_MOST_BYTES = 1 << 20
_MOST_COMPLAINTS = 10


class ConfigError(ValueError):
    """The file cannot be used; the text names each wrong key by its path, one a line."""


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
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
        text = raw.decode()
    except UnicodeDecodeError as exc:
        message = f"{path}: not UTF-8 (byte {exc.start})"
        raise ConfigError(message) from exc
    try:
        return parse(text)
    except ConfigError as exc:
        message = "\n".join(f"{path}: {line}" for line in str(exc).splitlines())
        raise ConfigError(message) from exc


def parse(text: str) -> Config:
    """Check the text of a configuration file. Raises ConfigError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ConfigError(_yaml_complaint(exc)) from exc
    except RecursionError as exc:
        message = "nested too deeply"
        raise ConfigError(message) from exc
    if not isinstance(document, dict):
        message = "not a mapping; it starts with apiVersion: tidegate.dev/v1alpha1"
        raise ConfigError(message)
    try:
        return Config.model_validate(document)
    except ValidationError as exc:
        raise ConfigError(_complaints(exc)) from None


def _complaints(exc: ValidationError) -> str:
    errors = exc.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{_path(error['loc'])}: {_words(error['type'], error['msg'])}" for error in errors]
    distinct = list(dict.fromkeys(lines))
    shown = distinct[:_MOST_COMPLAINTS]
    if len(distinct) > len(shown):
        shown.append(f"and {len(distinct) - len(shown)} more")
    return "\n".join(shown)


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in {"str", "list[str]", "constrained-str"} and "[" not in step:  # names of a union's arms
            path += f".{step}" if path else step
    return path or "the file"


def _words(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "required"
    return message.removeprefix("Value error, ")


def _yaml_complaint(exc: yaml.YAMLError) -> str:
    if isinstance(exc, yaml.MarkedYAMLError) and exc.problem_mark is not None:
        mark = exc.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {exc.problem or 'not YAML'}"
    return f"not YAML: {str(exc).splitlines()[0]}"
