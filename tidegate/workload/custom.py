"""Reads the places of a custom resource without building the rest of it."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from tidegate.workload.decoding import MalformedObject, decoded

T = TypeVar("T")

ELEMENTS_LIMIT = 10_000
"""Elements that all `*` of one pointer may go through together."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_list = msgspec.json.Decoder(list[msgspec.Raw] | None)


def at(raw: bytes | msgspec.Raw, place: str, decoder: msgspec.json.Decoder[T]) -> Iterator[tuple[str, T]]:
    """What is at the place, with the pointer of each; nothing where a step is missing or null.

    Raises `MalformedObject`.
    """
    found: list[tuple[str, bytes | msgspec.Raw]] = [("", raw)]
    for step in place.removeprefix("/").split("/"):
        found = [deeper for pointer, value in found for deeper in _step(pointer, value, step)]
        if len(found) > ELEMENTS_LIMIT:
            raise MalformedObject(place, f"more than {ELEMENTS_LIMIT} elements")
    for pointer, value in found:
        yield pointer, decoded(value, decoder, at=pointer)


def _step(pointer: str, value: bytes | msgspec.Raw, step: str) -> Iterator[tuple[str, msgspec.Raw]]:
    if step == "*":
        if bytes(value).lstrip()[:1] == b"{":
            for key, element in (decoded(value, _object, at=pointer) or {}).items():
                yield f"{pointer}/{escaped(key)}", element
        else:
            for index, element in enumerate(decoded(value, _list, at=pointer) or ()):
                yield f"{pointer}/{index}", element
        return
    members: Mapping[str, msgspec.Raw] = decoded(value, _object, at=pointer) or {}
    member = members.get(step.replace("~1", "/").replace("~0", "~"))
    if member is not None:
        yield f"{pointer}/{step}", member


def escaped(key: str) -> str:
    """A key as a step of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
