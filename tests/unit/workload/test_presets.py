"""A preset is data; here it meets one object of its kind as users write them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.workload import PRESETS, view

SAMPLES = {path.stem: path for path in sorted(Path(__file__).parent.glob("samples/*.yaml"))}
_MARKED = re.compile(r"(myregistry\.azurecr\.io/[\w./-]+:\w+).*# image$", re.MULTILINE)


def kind_of(document: dict[str, Any]) -> tuple[str, str]:
    return document["apiVersion"].partition("/")[0], document["kind"]


def at(document: Any, pointer: str) -> Any:
    for step in pointer.removeprefix("/").split("/"):
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


@pytest.mark.parametrize("name", SAMPLES)
def test_all_images_of_a_sample_are_found_and_nothing_else(name: str) -> None:
    text = SAMPLES[name].read_text()
    document = yaml.safe_load(text)
    seen = view(*kind_of(document), json.dumps(document).encode())
    assert seen is not None
    assert sorted(use.image for use in seen.images) == sorted(_MARKED.findall(text))
    assert seen.images
    assert all(at(document, use.pointer) == use.image for use in seen.images)


def test_every_preset_has_a_sample() -> None:
    assert {kind_of(yaml.safe_load(path.read_text())) for path in SAMPLES.values()} == set(PRESETS)
