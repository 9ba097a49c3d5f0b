"""The model as a JSON schema for editors: draft-07, self-contained, without `$id`, as every tool takes it.

It is milder than the model in what no schema can say well (names that must be replicas, credentials in the clear).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.config.model import Config
from tidegate.config.quantities import amount, duration

SHIPPED = Path(__file__).with_name("schema.json")
"""What `text` gave when it was last asked, for editors and packages."""
_DRAFT = "http://json-schema.org/draft-07/schema#"
_AS_WRITTEN = {"deadline": duration, "heavyBytes": amount}
"""Keys whose defaults are kept in units, and written as text."""


def schema() -> dict[str, Any]:
    """The schema of the whole file."""
    made = Config.model_json_schema(by_alias=True, mode="validation")
    definitions = {name: _drafted(part) for name, part in made.pop("$defs").items()}
    whole = {"$schema": _DRAFT, **_drafted(made), "title": "tidegate's configuration file"}
    return {**whole, "definitions": definitions}


def text() -> str:
    """As it is shipped."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _drafted(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Draft 2020-12 → draft-07, in which nothing beside a `$ref` counts. Titles repeat keys: they go."""
    if isinstance(part, list):
        return [_drafted(one) for one in part]
    if not isinstance(part, dict):
        return part
    if isinstance(part.get("description"), str):
        part = {**part, "description": " ".join(part["description"].split())}
    kept = {key: _drafted(value) for key, value in part.items() if key not in {"title", "properties"}}
    if "properties" in part:
        kept["properties"] = {key: _with_default(key, _drafted(value)) for key, value in part["properties"].items()}
    if "$ref" in kept:
        kept["$ref"] = kept["$ref"].replace("#/$defs/", "#/definitions/")
        if len(kept) > 1:
            kept = {"allOf": [{"$ref": kept.pop("$ref")}], **kept}
    return kept


def _holds_objects(default: object) -> bool:
    parts = default if isinstance(default, list) else [default]
    return any(isinstance(one, dict) and one for one in parts)


def _with_default(key: str, part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without a default that says nothing, and with those of quantities as people write them."""
    default = part.get("default")
    if default is None or _holds_objects(default):  # whose own keys have their defaults
        return {name: value for name, value in part.items() if name != "default"}
    write = _AS_WRITTEN.get(key)
    return {**part, "default": write(default)} if write and not isinstance(default, str) else part
