"""YAML text → plain values, where the text is what it seems to be.

Beyond YAML's own rules: a key is given once in a mapping, text has no control characters, an anchor does not contain
itself, and a document with every alias written out has at most `MOST_NODES` values (aliases are by reference and cost
nothing here; whoever walks the values afterwards pays for each).
"""

import re
from typing import Any

import yaml

from tidegate.config.errors import ConfigError

MOST_NODES = 100_000
_FOUL = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_ODD = (ValueError, KeyError, AttributeError, TypeError, OverflowError)
"""What PyYAML's constructors let out for `2024-13-45`, `!!bool x`, a number of 5,000 digits."""


class _Loader(yaml.SafeLoader):
    """The safe loader, whose every complaint has a place in the text."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's shape
        try:
            return super().construct_object(node, deep=deep)
        except _ODD as exc:
            raise _complaint(node, f"not a value of its kind ({node.tag.rpartition(':')[2]})") from exc


def read(text: str) -> object:
    """The one document of the text. Raises ConfigError with line and column."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        message = f"{place}{exc.problem or 'not YAML'}"
        raise ConfigError(message) from exc
    except yaml.YAMLError as exc:
        message = f"not YAML: {str(exc).splitlines()[0]}"
        raise ConfigError(message) from exc
    except RecursionError as exc:
        message = "nested too deeply"
        raise ConfigError(message) from exc


def _count(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Values in a node with its aliases written out. An alias comes after its anchor, so this is never deep."""
    if (before := known.get(node)) is not None:
        if before == 0:
            raise _complaint(node, "this anchor contains itself")
        return before
    known[node] = 0
    size = 1
    match node:
        case yaml.ScalarNode():
            if not _is_clean(node.value):
                raise _complaint(node, "control characters are not allowed")
        case yaml.SequenceNode():
            size += sum(_count(item, known) for item in node.value)
        case yaml.MappingNode():
            _refuse_twins(node)
            size += sum(_count(key, known) + _count(value, known) for key, value in node.value)
    if size > MOST_NODES:
        raise _complaint(node, f"more than {MOST_NODES} values, with every alias written out")
    known[node] = size
    return size


def _refuse_twins(mapping: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise _complaint(key, f"the key {key.value!r:.64} is given twice")
            seen.add(key.value)


def _is_clean(text: str) -> bool:
    """Without control characters, which end in logs and system calls, and lone surrogates, which no encoder takes."""
    return _FOUL.search(text) is None


def _complaint(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
