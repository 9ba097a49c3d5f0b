"""The model as a page: every key with its default and its meaning. `make reference` writes it, and the schema.

Called as `python -m tidegate.config.reference CHECKOUT`.
"""

import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tidegate.config import schema
from tidegate.config.model import Config, LabelSelector, PolicyChoices, RuleConfig
from tidegate.config.quantities import Bytes, Seconds, amount, duration

PAGE = Path("docs/reference/configuration.md")
_HEAD = """<!-- Written by `make reference` from tidegate/config; change the docstrings there. -->
# Every key of the configuration file

In words: [configuration.md](../configuration.md). For editors: `tidegate schema`, or `tidegate/config/schema.json`;
name it in a first line like `# yaml-language-server: $schema=schema.json`. Unknown keys are refused. Durations are
written `500ms`, `1s`, `4m`, `1h30m`, bytes `512Mi`, `1Gi`. `*` in a path is a name that you choose.

| key | type | default | means |
|---|---|---|---|
"""
_DEFAULT = " Default: "
Kind = tuple[str, type[BaseModel] | None, str]
_PLAIN = {str: "text", SecretStr: "text", int: "number", float: "number", bool: "true or false"}


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(Config, ""))


def write(checkout: Path) -> None:
    """Page and schema, into a checkout."""
    (checkout / PAGE).parent.mkdir(exist_ok=True)
    (checkout / PAGE).write_text(page(), encoding="utf-8")
    (checkout / schema.SHIPPED.relative_to(Path(__file__).parents[2])).write_text(schema.text(), encoding="utf-8")


def _rows(model: type[BaseModel], path: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in model.model_fields.items():
        if model is RuleConfig and name in PolicyChoices.model_fields:
            continue  # said of the policy already
        key = f"{path}{field.alias or name}"
        kind, inner, suffix = _kind(_annotation(field))
        yield f"`{key}{suffix}`", kind, *_words(field)
        if inner is not None and not (inner is LabelSelector and path.startswith("policy.exempt")):
            yield from _rows(inner, f"{key}{suffix}.")
    if model is RuleConfig:
        choices = ", ".join(f"`{field.alias}`" for field in PolicyChoices.model_fields.values())
        yield f"`{path}…`", "", "the policy's", f"{choices}, as above."


def _annotation(field: FieldInfo) -> Any:  # noqa: ANN401 - a type, of any form
    """With what pydantic took apart put together again."""
    for metadata in field.metadata:
        for known in (Seconds, Bytes):
            if metadata in get_args(known)[1:]:
                return known
    return field.annotation


def _words(field: FieldInfo) -> tuple[str, str]:
    """Default and meaning."""
    means, _, said = " ".join((field.description or "").split()).partition(_DEFAULT)
    if field.is_required():
        return "required", means
    default = field.get_default()
    match default:
        case bool():
            shown = f"`{str(default).lower()}`"
        case _ if _annotation(field) is Seconds and default is not None:
            shown = f"`{duration(default)}`"
        case _ if _annotation(field) is Bytes:
            shown = f"`{amount(default)}`"
        case None | BaseModel() | "":
            shown = ""
        case list() if any(isinstance(one, BaseModel) for one in default):
            shown = ""
        case list():
            shown = f"`[{', '.join(map(str, default))}]`"
        case float():
            shown = f"`{default:g}`"
        case _:
            shown = f"`{default}`"
    return said.rstrip(".") or shown, means


def _kind(annotation: Any) -> Kind:  # noqa: ANN401 - as above
    """Words for a type, the model within, and how a path goes on to it."""
    if annotation is Seconds or annotation is Bytes:
        return "duration" if annotation is Seconds else "bytes", None, ""
    arguments = [one for one in get_args(annotation) if one is not NoneType]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments), None, ""
    if not arguments:
        return _words_for(annotation), annotation if issubclass(annotation, BaseModel) else None, ""
    return _of_several(origin, [_kind(one) for one in arguments])


def _of_several(origin: object, kinds: Sequence[Kind]) -> Kind:
    """A list, a map, or one of some."""
    _, inner, suffix = kinds[-1]
    if origin is list:
        return f"list of {kinds[0][0]}", inner, "[]" + suffix if inner else ""
    if origin is dict:
        return f"map of {kinds[0][0]} to {kinds[1][0]}", inner, ".*" + suffix if inner else ""
    return " or ".join(kind for kind, _, _ in kinds), kinds[0][1], kinds[0][2]


def _words_for(annotation: type) -> str:
    if issubclass(annotation, BaseModel):
        return "object"
    if issubclass(annotation, Enum):
        return ", ".join(f"`{one.value}`" for one in annotation)
    return _PLAIN[annotation]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
