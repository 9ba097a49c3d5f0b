"""Decoding with the one error of this room."""

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

REASON_LIMIT = 160

_complaint_of_msgspec = re.compile(r"Expected `([^`]*)`, got `([^`]*)`").match
_path_of_msgspec = re.compile(r" - at `\$([^`]*)`$").search
_WORDS = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


class MalformedObject(ValueError):
    """The object has another shape than its kind. `pointer` is a JSON pointer ("" is the whole object)."""

    def __init__(self, pointer: str, reason: str) -> None:
        self.pointer = pointer
        self.reason = reason if len(reason) <= REASON_LIMIT else reason[:REASON_LIMIT] + "..."
        super().__init__(pointer, reason)

    def __str__(self) -> str:
        return f"{self.pointer or 'the object'}: {self.reason}"


def decoded(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, at: str = "") -> T:
    """The value at the pointer `at`. Raises `MalformedObject`.

    msgspec raises its own errors for wrong shapes and broken JSON, UnicodeDecodeError (a ValueError, as its own are)
    for bytes that are no UTF-8, and RecursionError.
    """
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise MalformedObject(at, "nested too deeply") from None
    except UnicodeDecodeError:
        raise MalformedObject(at, "not UTF-8") from None
    except ValueError as exc:
        raise _translated(str(exc), at) from None


def _translated(text: str, at: str) -> MalformedObject:
    path = _path_of_msgspec(text)
    pointer = at if path is None else at + _pointer(path[1])
    complaint = _complaint_of_msgspec(text)
    if complaint is None:
        return MalformedObject(pointer, f"no valid JSON: {text.removeprefix('JSON is malformed: ')}")
    expected, got = complaint.groups()
    return MalformedObject(pointer, f"expected {_word(expected.removesuffix(' | null'))}, got {_word(got)}")


def _word(type_name: str) -> str:
    return _WORDS.get(type_name, type_name)


def _pointer(path: str) -> str:
    """`.spec.containers[0].image` as a JSON pointer; where msgspec names no key (`[...]`), the object that has it.

    The keys are those of our own shapes, so there is nothing to escape.
    """
    return path.partition("[...]")[0].replace("[", "/").replace("]", "").replace(".", "/")
