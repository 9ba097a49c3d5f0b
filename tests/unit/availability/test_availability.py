"""Which object stands for an image, and what it says about where the image runs."""

import pytest

from tidegate.availability import name_of, spec_of, where_they_run
from tidegate.kube.own import ImageAvailability, ImageAvailabilityStatus, NamespaceUse
from tidegate.policy import NOTHING_RUNS, Runs
from tidegate.reference import ImageReference

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/app@{DIGEST}"


def names(*texts: str) -> set[str]:
    return {name_of(spec_of(ImageReference.parse(text), text)) for text in texts}


def running(text: str, *namespaces: str) -> dict[str, ImageAvailability]:
    spec = spec_of(ImageReference.parse(text), text)
    uses = [NamespaceUse(name=name, since="2026-11-24T12:00:00Z") for name in namespaces]
    return {name_of(spec): ImageAvailability(spec=spec, status=ImageAvailabilityStatus(namespaces=uses))}


def asked(*texts: str) -> dict[str, ImageReference]:
    return {text: ImageReference.parse(text) for text in texts}


def test_a_name_is_one_of_registry_repository_and_digest() -> None:
    assert len(names(APP, f"r.example/app:1@{DIGEST}", f"r.example/app:2@{DIGEST}")) == 1
    assert len(names("r.example/app", "r.example/app:latest")) == 1
    assert (
        len(names(APP, f"r.example/web@{DIGEST}", f"s.example/app@{DIGEST}", "r.example/app:1", "r.example/app:2")) == 5
    )
    (name,) = names(APP)
    assert name.startswith("img-")
    assert len(name) == 56


@pytest.mark.parametrize(
    "text, here, anywhere",
    [
        pytest.param(APP, True, True, id="the same"),
        pytest.param(f"r.example/app:1@{DIGEST}", True, True, id="another tag before the digest"),
        pytest.param("r.example/app:1", False, False, id="a tag alone is another image"),
        pytest.param(f"r.example/app@sha256:{'b' * 64}", False, False, id="another digest"),
        pytest.param(f"s.example/app@{DIGEST}", False, False, id="another registry"),
    ],
)
def test_an_image_that_runs_is_found_by_what_it_is(text: str, *, here: bool, anywhere: bool) -> None:
    runs = where_they_run(asked(text), namespace="shop", objects=running(APP, "bank", "shop"))
    assert (text in runs.here, text in runs.anywhere) == (here, anywhere)


def test_another_namespace_is_elsewhere() -> None:
    assert where_they_run(asked(APP), namespace="shop", objects=running(APP, "bank")) == Runs(
        frozenset(), frozenset({APP})
    )


def test_an_image_that_is_only_on_its_way_runs_nowhere() -> None:
    assert where_they_run(asked(APP), namespace="shop", objects=running(APP)) is NOTHING_RUNS
    assert where_they_run(asked(APP), namespace="shop", objects={}) is NOTHING_RUNS


def test_a_tag_of_an_unlisted_registry_runs_too() -> None:
    runs = where_they_run(asked("nginx", "nginx:1"), namespace="shop", objects=running("nginx:latest", "shop"))
    assert runs.here == {"nginx"}
