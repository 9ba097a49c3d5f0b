"""What the pages say of the file is so: every key has its word, and the README's example is a configuration."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tidegate.config import Config, parse

CHECKOUT = Path(__file__).parents[3]
KUBERNETES_OWN = {"matchLabels", "matchExpressions", "key", "operator", "values"}
"""Of a label selector, which the page names as such."""


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models(argument)


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in models(field.annotation):
            yield from keys(inner)


@pytest.mark.parametrize("key", sorted(set(keys(Config)) - KUBERNETES_OWN))
def test_a_key_has_its_word(key: str) -> None:
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")
    marked = " ".join(re.findall(r"`([^`\n]+)`", page))
    assert re.search(rf"\b{key}\b", marked), f"docs/configuration.md does not name `{key}`"


def test_the_readme_shows_a_configuration() -> None:
    page = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert parse(example).policy.rules
