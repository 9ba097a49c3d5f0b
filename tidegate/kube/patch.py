"""Merge patches (RFC 7386) between two states of one shape.

A shape leaves its defaults out on the wire, and a merge patch keeps what it does not name. So a field that goes back to
its default has to be named, as null: that is what `difference` does. Pure.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


def difference(old: msgspec.Struct | dict[str, Any] | None, new: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
    """The patch that turns `old` into `new`; empty when they are equal, and then there is nothing to write.

    It is right only for the `old` that the API server holds: pass its resourceVersion along with the patch.
    """
    return _between(_plain(old) if old is not None else {}, _plain(new))


def _between(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := _between(before, value):
                patch[name] = inner
        elif name not in old or before != value:
            patch[name] = value
    return patch


def _plain(value: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def filled(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without members that hold nothing: the API server leaves some of them out, and adds others."""
    if isinstance(value, Mapping):
        return {key: kept for key, member in value.items() if (kept := filled(member)) not in (None, {}, [])}
    return [filled(member) for member in value] if isinstance(value, list) else value
