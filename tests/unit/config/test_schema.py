"""The schema and the page that are shipped follow from the model, and mean what it means."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.config import ConfigError, parse, reference, schema

CHECKOUT = Path(__file__).parents[3]
SCHEMA = schema.schema()
SMALL = {
    "apiVersion": "tidegate.dev/v1alpha1",
    "kind": "Config",
    "registries": [{"host": "r.example", "replicas": {"a": {"endpoint": "https://r.example"}}}],
}
ANNOTATIONS = {"$schema", "definitions", "title", "description", "default", "format", "writeOnly"}
TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def faults(value: Any, rule: Any, at: str = "") -> Iterator[str]:
    """As much of draft-07 as the schema uses; any other keyword is a KeyError."""
    for keyword, wanted in rule.items():
        if keyword not in ANNOTATIONS:
            yield from KEYWORDS[keyword](value, wanted, rule, at)


def named(value: Any, wanted: str, _rule: Any, at: str) -> Iterator[str]:
    yield from faults(value, SCHEMA["definitions"][wanted.removeprefix("#/definitions/")], at)


def typed(value: Any, wanted: str, _rule: Any, at: str) -> Iterator[str]:
    if wanted in TYPES:
        fits = isinstance(value, TYPES[wanted])
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number and (wanted == "number" or value == int(value))
    if not fits:
        yield f"{at}: no {wanted}"


def properties(value: Any, wanted: Any, rule: Any, at: str) -> Iterator[str]:
    for key, one in value.items() if isinstance(value, dict) else ():
        if key in wanted:
            yield from faults(one, wanted[key], f"{at}.{key}")
        elif rule.get("additionalProperties") is False:
            yield f"{at}.{key}: unknown"


def others(value: Any, wanted: Any, rule: Any, at: str) -> Iterator[str]:
    for key, one in value.items() if isinstance(value, dict) and wanted is not False else ():
        if key not in rule.get("properties", {}):
            yield from faults(one, wanted, f"{at}.{key}")


def any_of(value: Any, wanted: Any, _rule: Any, at: str) -> Iterator[str]:
    if all(any(faults(value, one, at)) for one in wanted):
        yield f"{at}: none of {len(wanted)}"


def each(value: Any, wanted: Any, _rule: Any, at: str) -> Iterator[str]:
    for one in value if isinstance(value, list | dict) else ():
        yield from faults(one, wanted, at)


def unless(holds: Any, kinds: Any) -> Any:
    def check(value: Any, wanted: Any, _rule: Any, at: str) -> Iterator[str]:
        if isinstance(value, kinds) and not holds(value, wanted):
            yield f"{at}: {value!r:.40} against {wanted!r:.40}"

    return check


KEYWORDS: dict[str, Any] = {
    "$ref": named,
    "type": typed,
    "properties": properties,
    "additionalProperties": others,
    "anyOf": any_of,
    "allOf": lambda value, wanted, _, at: (fault for one in wanted for fault in faults(value, one, at)),
    "items": each,
    "propertyNames": each,
    "required": unless(lambda value, wanted: set(wanted) <= set(value), dict),
    "enum": unless(lambda value, wanted: value in wanted, object),
    "const": unless(lambda value, wanted: value == wanted, object),
    "pattern": unless(lambda value, wanted: re.search(wanted, value), str),
    "minLength": unless(lambda value, wanted: len(value) >= wanted, str),
    "maxLength": unless(lambda value, wanted: len(value) <= wanted, str),
    "minItems": unless(lambda value, wanted: len(value) >= wanted, list),
    "maxItems": unless(lambda value, wanted: len(value) <= wanted, list),
    "minProperties": unless(lambda value, wanted: len(value) >= wanted, dict),
    "minimum": unless(lambda value, wanted: value >= wanted, int | float),
    "maximum": unless(lambda value, wanted: value <= wanted, int | float),
    "exclusiveMinimum": unless(lambda value, wanted: value > wanted, int | float),
}


def test_what_is_shipped_is_current() -> None:
    assert schema.SHIPPED.read_text(encoding="utf-8") == schema.text(), "run make reference"
    assert (CHECKOUT / reference.PAGE).read_text(encoding="utf-8") == reference.page(), "run make reference"


def test_it_is_draft_07_and_stands_alone() -> None:
    text = schema.text()
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert set(re.findall(r'"\$(\w+)":', text)) == {"schema", "ref"}
    assert set(re.findall(r'"\$ref": "#/definitions/(\w+)"', text)) == set(SCHEMA["definitions"])
    assert text.count('"$ref"') == text.count('"$ref": "#/definitions/')


def keys() -> Iterator[tuple[str, str, Any]]:
    for name, definition in {"": SCHEMA, **SCHEMA["definitions"]}.items():
        for key, rule in definition.get("properties", {}).items():
            yield name, key, rule


def test_every_key_is_camel_case_and_explained() -> None:
    for name, key, rule in keys():
        assert re.fullmatch(r"[a-z]+(?:[A-Z][a-z]+|HTTP)*", key), (name, key)
        assert rule.get("description") or "allOf" in rule or "$ref" in rule, (name, key)
        assert "\n" not in rule.get("description", "")


def test_the_page_has_every_key() -> None:
    page = reference.page()
    for name, key, _ in keys():
        assert re.search(rf"`[^`]*\b{key}\b", page), (name, key)


def test_quantities_have_defaults_as_people_write_them() -> None:
    defaults = SCHEMA["definitions"]["PrePullConfig"]["properties"]
    assert (defaults["heavyBytes"]["default"], defaults["deadline"]["default"]) == ("1Gi", "10m")
    assert SCHEMA["definitions"]["HoldConfig"]["properties"]["deadline"]["default"] == "4m"


def examples() -> Iterator[Any]:
    for page in ("README.md", "docs/configuration.md"):
        text = (CHECKOUT / page).read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)):
            document = yaml.safe_load(block)
            if isinstance(document, dict) and set(document) <= set(SCHEMA["properties"]):
                yield pytest.param({**SMALL, **document}, id=f"{page}-{number}")


GOOD: list[dict[str, Any]] = [
    {},
    {"cluster": {"name": "x", "platforms": ["linux/arm64"]}},
    {"policy": {"mode": "enforce", "patience": "500ms", "hold": {"deadline": "1h30m", "then": "release"}}},
    {"policy": {"verdicts": {"absent": "deny"}, "exempt": [{"images": ["r.example/*"], "reason": "x"}]}},
    {"policy": {"rules": [{"namespaces": {"matchLabels": {"env": "prod"}}, "mode": None, "exemptAnnotation": True}]}},
    {"workloads": [{"group": "e.com", "kind": "W", "images": ["/spec/image"]}]},
    {"prePull": {"heavyBytes": "512Mi", "perNode": 2, "deadline": "10m"}},
    {"prePull": {"heavyBytes": 4096, "deadline": "0.5s"}},
]


@pytest.mark.parametrize("document", [*({**SMALL, **more} for more in GOOD), *examples()])
def test_what_the_programs_take_the_schema_takes(document: dict[str, Any]) -> None:
    parse(yaml.safe_dump(document))
    assert list(faults(document, SCHEMA)) == []


BAD: list[dict[str, Any]] = [
    {"kind": "Other"},
    {"registries": [{"host": "r.example"}]},
    {"registries": [{"host": "r.example", "replicas": {}}]},
    {"registries": "r.example"},
    {"Policy": {}},
    {"policy": {"mode": "strict"}},
    {"policy": {"verdicts": {"absent": "refuse"}}},
    {"policy": {"verdicts": {"missing": "deny"}}},
    {"policy": {"patience": 1}},
    {"policy": {"patience": "soon"}},
    {"policy": {"patience": "1ms1s"}},
    {"policy": {"hold": {"then": "maybe"}}},
    {"policy": {"exempt": [{"images": ["r.example/*"]}]}},
    {"policy": {"rules": [{"mode": "audit"}]}},
    {"policy": {"rules": [{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]}},
    {"prePull": {"perNode": 0}},
    {"prePull": {"perNode": 101}},
    {"prePull": {"heavyBytes": "1Qi"}},
    {"prePull": {"heavyBytes": -1}},
    {"prePull": {"startupTaint": "maybe"}},
    {"workloads": [{"kind": "W", "images": ["/a"]}]},
]


@pytest.mark.parametrize("more", BAD, ids=str)
def test_what_they_refuse_for_its_shape_it_refuses(more: dict[str, Any]) -> None:
    document = {**SMALL, **more}
    with pytest.raises(ConfigError):
        parse(yaml.safe_dump(document))
    assert list(faults(document, SCHEMA))
