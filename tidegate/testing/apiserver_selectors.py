"""Label and field selectors, as query parameters spell them. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.testing.apiserver_errors import Refused, bad_request

Matches = Callable[[Mapping[str, Any]], bool]

_FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "status.phase": ("status", "phase"),
    "type": ("type",),
}
_OF_A_KIND = {"spec.nodeName": "pods", "status.phase": "pods", "type": "secrets"}
_SET = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*(?P<key>[^\s=!,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<op>!?)\s*(?P<key>[^\s=!,()]+)\s*$")
_COMMA = re.compile(r",(?![^()]*\))")


def selector(*, labels: str, fields: str, plural: str) -> Matches:
    """One predicate for both. Raises Refused (400) for what does not parse or cannot be selected on."""
    wanted = [_label_term(term) for term in _COMMA.split(labels)] if labels else []
    wanted += [_field_term(term, plural) for term in fields.split(",")] if fields else []
    return lambda obj: all(matches(obj) for matches in wanted)


def _label_term(term: str) -> Matches:
    if found := _SET.match(term):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda obj: _labels(obj).get(key) in values
        return lambda obj: _labels(obj).get(key) not in values
    if found := _EQUAL.match(term):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda obj: _labels(obj).get(key) != value
        return lambda obj: _labels(obj).get(key) == value
    if found := _EXISTS.match(term):
        key, absent = found["key"], bool(found["op"])
        return lambda obj: (key in _labels(obj)) is not absent
    raise _unable(term)


def _field_term(term: str, plural: str) -> Matches:
    found = _EQUAL.match(term)
    if found is None:
        raise _unable(term)
    name, value, unequal = found["key"], found["value"], found["op"] == "!="
    if name not in _FIELDS or _OF_A_KIND.get(name, plural) != plural:
        message = f"field label not supported: {name}"
        raise bad_request(message)
    *section, field = _FIELDS[name]
    return lambda obj: (_at(obj, section).get(field, "") == value) is not unequal


def _at(obj: Mapping[str, Any], section: Sequence[str]) -> Mapping[str, Any]:
    for name in section:
        obj = obj.get(name) or {}
    return obj


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] | None = (obj.get("metadata") or {}).get("labels")
    return labels or {}


def _unable(term: str) -> Refused:
    return bad_request(f"unable to parse requirement: couldn't understand {term!r}")
