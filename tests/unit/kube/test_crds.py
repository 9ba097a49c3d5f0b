"""The CRDs and the shapes say the same, field by field, and nothing in the schemas is without a bound."""

import re
import types
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tidegate.kube.resources import IMAGEAVAILABILITIES, NODEPULLS, PREPULLS, Resource
from tidegate.reference import ImageReference

CRDS = Path(__file__).parents[3] / "manifests/crds"
SERVERS_OWN = {"apiVersion", "kind", "metadata"}
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
Schema = dict[str, Any]


def crd(resource: Resource[Any]) -> Schema:
    document: Schema = yaml.safe_load((CRDS / f"{resource.plural}.yaml").read_text())
    return document


def version(resource: Resource[Any]) -> Schema:
    (only,) = crd(resource)["spec"]["versions"]
    found: Schema = only
    return found


def schema(resource: Resource[Any]) -> Schema:
    found: Schema = version(resource)["schema"]["openAPIV3Schema"]
    return found


OURS = [
    pytest.param(PREPULLS, id="PrePull"),
    pytest.param(NODEPULLS, id="NodePull"),
    pytest.param(IMAGEAVAILABILITIES, id="ImageAvailability"),
]


@pytest.mark.parametrize("resource", OURS)
def test_names_agree(resource: Resource[Any]) -> None:
    spec = crd(resource)["spec"]

    assert crd(resource)["metadata"]["name"] == f"{resource.plural}.{resource.group}"
    assert (spec["group"], version(resource)["name"]) == (resource.group, resource.version)
    assert (spec["names"]["plural"], spec["names"]["kind"]) == (resource.plural, resource.kind)
    assert spec["scope"] == ("Namespaced" if resource.namespaced else "Cluster")
    assert version(resource)["subresources"] == {"status": {}}


@pytest.mark.parametrize("resource", OURS)
def test_shape_and_schema_have_the_same_fields(resource: Resource[Any]) -> None:
    for field in msgspec.structs.fields(resource.shape):
        if field.encode_name not in SERVERS_OWN:
            agree(field.encode_name, field.type, schema(resource)["properties"][field.encode_name])


def agree(path: str, kind: Any, found: Schema) -> None:
    """Fails at the first place where a shape's type and a schema differ."""
    if isinstance(kind, types.UnionType):
        (kind,) = [part for part in typing.get_args(kind) if part is not types.NoneType]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        assert found["type"] == "object", path
        assert set(found["properties"]) == {field.encode_name for field in fields}, path
        required = {field.encode_name for field in fields if field.required}
        assert required <= set(found.get("required", ())), f"{path}: a shape needs what the schema does not"
        for field in fields:
            agree(f"{path}.{field.encode_name}", field.type, found["properties"][field.encode_name])
    elif typing.get_origin(kind) is list:
        assert found["type"] == "array", path
        agree(f"{path}[]", typing.get_args(kind)[0], found["items"])
    elif typing.get_origin(kind) is dict:
        assert found["additionalProperties"]["type"] == "string", path
    elif issubclass(kind, StrEnum):
        assert set(found["enum"]) == {member.value for member in kind}, path
    else:
        assert found["type"] == SCALARS[kind], path


@pytest.mark.parametrize("resource", OURS)
def test_defaults_agree(resource: Resource[Any]) -> None:
    made = {name: defaults(part) for name, part in schema(resource)["properties"].items() if name in {"spec", "status"}}
    made["spec"].setdefault("images", [])

    assert msgspec.convert(made, resource.shape) == resource.shape()


def defaults(found: Schema) -> Schema:
    return {name: part["default"] for name, part in found["properties"].items() if "default" in part}


def parts(path: str, found: Schema) -> Iterator[tuple[str, Schema]]:
    yield path, found
    for name, inner in found.get("properties", {}).items():
        if path or name not in SERVERS_OWN:
            yield from parts(f"{path}.{name}", inner)
    for name in ("items", "additionalProperties"):
        if name in found:
            yield from parts(f"{path}[]", found[name])


@pytest.mark.parametrize("resource", OURS)
def test_everything_is_bounded(resource: Resource[Any]) -> None:
    for path, found in parts("", schema(resource)):
        match found["type"]:
            case "array":
                assert "maxItems" in found, path
            case "string":
                assert {"maxLength", "enum", "format"} & set(found), path
            case "object" if "additionalProperties" in found:
                assert "maxProperties" in found, path


@pytest.mark.parametrize("resource", OURS)
def test_kubectl_explain_says_something(resource: Resource[Any]) -> None:
    for path, found in parts("", schema(resource)):
        if path.count(".") <= 2 and "[]" not in path:
            assert found.get("description", "").endswith("."), path or "the object"


@pytest.mark.parametrize("resource", OURS)
def test_columns_point_at_scalars_or_lists_that_are_there(resource: Resource[Any]) -> None:
    known = {path for path, _ in parts("", schema(resource))} | {".metadata.creationTimestamp"}

    assert {column["jsonPath"] for column in version(resource)["additionalPrinterColumns"]} <= known


@pytest.mark.parametrize(
    "image",
    [
        "nginx", "nginx:1.27", "registry.example.com:5000/a/b_c.d-e:Tag_1.2", "localhost/a", "[::1]:5000/a:b",
        f"r.io/a@sha256:{'0' * 64}", f"r.io/a:b@sha512:{'0' * 128}",
    ],
)  # fmt: skip
def test_the_pattern_takes_every_reference(image: str) -> None:
    ImageReference.parse(image)

    assert re.search(pattern(), image)


@pytest.mark.parametrize("image", ["", " nginx", "nginx ", "a b", "a\nb", "nginx\n", "-a", "é", "a;b", "$(x)", "a'b"])
def test_the_pattern_keeps_out_what_no_reference_has(image: str) -> None:
    # Go's $ is the end of the text; Python's forgives a newline
    assert not re.search(pattern().replace("$", r"\Z"), image)


def pattern() -> str:
    wanted, listed = (
        schema(resource)["properties"]["spec"]["properties"]["images"]["items"] for resource in (PREPULLS, NODEPULLS)
    )
    found: str = wanted["pattern"]
    assert found == listed["properties"]["image"]["pattern"]
    return found
