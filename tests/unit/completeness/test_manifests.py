import base64
import hashlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.completeness.manifests import (
    EMPTY,
    MANIFEST_LIMIT,
    SIZE_LIMIT,
    ImageManifest,
    Index,
    Unrunnable,
    parse,
    parse_config_platform,
)
from tidegate.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    Family,
    build_image,
    build_index,
    build_schema1,
)

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": A, "size": 7}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": B, "size": 70}
ENTRY = {"mediaType": OCI_MANIFEST, "digest": A, "size": 7, "platform": {"os": "linux", "architecture": "amd64"}}


def manifest(**changes: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]} | changes
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


def index(*entries: Any, **changes: Any) -> bytes:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)} | changes
    return json.dumps({key: value for key, value in document.items() if value is not ...}).encode()


@pytest.mark.parametrize("family", Family)
def test_an_image_says_what_a_node_downloads(family: Family) -> None:
    image = build_image(layers=2, family=family)
    parsed = parse(image.manifest, image.media_type)
    assert isinstance(parsed, ImageManifest)
    assert [blob.digest for blob in parsed.blobs] == list(image.blobs)
    assert [blob.size for blob in parsed.blobs] == [len(content) for content in image.blobs.values()]
    assert all(blob.fetched and blob.required for blob in parsed.blobs)


def test_an_index_says_its_children_without_attestations() -> None:
    children = [build_image(platform="linux/amd64"), build_image(platform="linux/arm64")]
    parsed = parse(build_index(children, attestations=True).manifest, OCI_INDEX)
    assert isinstance(parsed, Index)
    assert [child.digest for child in parsed.children] == [child.digest for child in children]
    assert [str(child.platform) for child in parsed.children] == ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize(
    "body, announced",
    [
        pytest.param(manifest(), OCI_MANIFEST, id="as-announced"),
        pytest.param(manifest(), f"{OCI_MANIFEST}; charset=utf-8", id="a-parameter"),
        pytest.param(manifest(), OCI_MANIFEST.upper(), id="upper-case"),
        pytest.param(manifest(mediaType=...), OCI_MANIFEST, id="no-own-type"),
        pytest.param(manifest(mediaType=None), OCI_MANIFEST, id="null-own-type"),
        pytest.param(manifest(), DOCKER_MANIFEST, id="the-other-familys-manifest"),
        pytest.param(manifest(), "application/json", id="announced-as-json"),
        pytest.param(manifest(), "text/plain; charset=utf-8", id="announced-as-text"),
        pytest.param(manifest(), "", id="not-announced"),
        pytest.param(manifest(mediaType=...), "", id="told-by-its-fields-alone"),
        pytest.param(manifest(schemaVersion=...), OCI_MANIFEST, id="no-schema-version"),
        pytest.param(manifest(manifests=None), OCI_MANIFEST, id="null-is-absent"),
        pytest.param(
            manifest(annotations={"a": {"b": [1]}}, subject=5, more=[1e300]), OCI_MANIFEST, id="unknown-fields"
        ),
        pytest.param(manifest(fsLayers=None), OCI_MANIFEST, id="null-fslayers"),
        pytest.param(manifest(config=CONFIG | {"mediaType": "application/x-odd"}), OCI_MANIFEST, id="an-artifact"),
        pytest.param(manifest(config=CONFIG | {"urls": [1], "annotations": None}), OCI_MANIFEST, id="odd-extras"),
    ],
)
def test_what_is_read_as_an_image(body: bytes, announced: str) -> None:
    assert isinstance(parse(body, announced), ImageManifest)


@pytest.mark.parametrize("layers", [..., None, []], ids=["none", "null", "empty"])
def test_an_image_may_have_no_layers(layers: Any) -> None:
    parsed = parse(manifest(layers=layers), OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.layers == ()


@pytest.mark.parametrize(
    "body, announced, reason",
    [
        pytest.param(b"", OCI_MANIFEST, "not a manifest", id="empty"),
        pytest.param(b"<html>busy</html>", "text/html", "not a manifest", id="html"),
        pytest.param(b"[]", OCI_MANIFEST, "not a manifest", id="a-list"),
        pytest.param(b"null", OCI_MANIFEST, "not a manifest", id="null"),
        pytest.param(b"\xef\xbb\xbf" + manifest(), OCI_MANIFEST, "not a manifest", id="byte-order-mark"),
        pytest.param(manifest() + b"x", OCI_MANIFEST, "not a manifest", id="something-after-it"),
        pytest.param(manifest()[:-1], OCI_MANIFEST, "not a manifest", id="cut-off"),
        pytest.param(b'{"mediaType":"\xff"}', OCI_MANIFEST, "UTF-8", id="not-utf8"),
        pytest.param(b'{"x":' + b"[" * 1_000_000, OCI_MANIFEST, "deep", id="nested-lists"),
        pytest.param(b'{"x":' * 10_000, OCI_MANIFEST, "deep", id="nested-objects"),
        pytest.param(b"{}", "", "neither", id="nothing-in-it"),
        pytest.param(b"{}", OCI_MANIFEST, "no config", id="an-empty-manifest"),
        pytest.param(manifest(config=...), OCI_MANIFEST, "no config", id="no-config"),
        pytest.param(manifest(config=None), OCI_MANIFEST, "no config", id="null-config"),
        pytest.param(manifest(schemaVersion=1), OCI_MANIFEST, "schema 1", id="schema-version-1"),
        pytest.param(manifest(schemaVersion="2"), OCI_MANIFEST, "schemaVersion", id="schema-version-text"),
        pytest.param(manifest(fsLayers=[{"blobSum": A}]), OCI_MANIFEST, "schema 1", id="fslayers"),
        pytest.param(manifest(), SCHEMA1, "schema 1", id="announced-as-schema-1"),
        pytest.param(manifest(mediaType=SCHEMA1), OCI_MANIFEST, "schema 1", id="calls-itself-schema-1"),
        pytest.param(build_schema1().manifest, SCHEMA1, "schema 1", id="schema-1"),
        pytest.param(build_schema1().manifest, "text/plain", "schema 1", id="schema-1-as-text"),
        pytest.param(manifest(), OCI_INDEX, "announced as an index", id="manifest-as-index"),
        pytest.param(index(ENTRY), OCI_MANIFEST, "announced as a manifest", id="index-as-manifest"),
        pytest.param(manifest(mediaType=OCI_INDEX), OCI_MANIFEST, "announced", id="calls-itself-an-index"),
        pytest.param(manifest(mediaType=DOCKER_LIST), OCI_MANIFEST, "announced", id="calls-itself-a-list"),
        pytest.param(manifest(manifests=[ENTRY]), OCI_MANIFEST, "announced", id="both-at-once"),
        pytest.param(manifest(manifests=[]), OCI_MANIFEST, "announced", id="both-at-once-empty"),
        pytest.param(manifest(manifests=[ENTRY], mediaType=...), "", "neither", id="both-and-no-type"),
        pytest.param(index(ENTRY, layers=[]), OCI_INDEX, "announced", id="an-index-with-layers"),
        pytest.param(manifest(layers=[LAYER | {"digest": "sha256:abc"}]), OCI_MANIFEST, "digest", id="short-digest"),
        pytest.param(manifest(layers=[LAYER | {"digest": A.upper()}]), OCI_MANIFEST, "digest", id="upper-digest"),
        pytest.param(manifest(layers=[LAYER | {"digest": A + "\n"}]), OCI_MANIFEST, "digest", id="digest-newline"),
        pytest.param(manifest(layers=[LAYER | {"digest": "md5:" + "a" * 32}]), OCI_MANIFEST, "digest", id="md5"),
        pytest.param(manifest(layers=[LAYER | {"digest": "../" + A}]), OCI_MANIFEST, "digest", id="path-in-digest"),
        pytest.param(manifest(layers=[LAYER | {"digest": None}]), OCI_MANIFEST, "digest", id="null-digest"),
        pytest.param(manifest(layers=[{"size": 1}]), OCI_MANIFEST, "digest", id="no-digest"),
        pytest.param(manifest(layers=[{"digest": A}]), OCI_MANIFEST, "size", id="no-size"),
        pytest.param(manifest(layers=[LAYER | {"size": -1}]), OCI_MANIFEST, "size", id="negative-size"),
        pytest.param(manifest(layers=[LAYER | {"size": SIZE_LIMIT + 1}]), OCI_MANIFEST, "size", id="absurd-size"),
        pytest.param(manifest(layers=[LAYER | {"size": 10**4000}]), OCI_MANIFEST, "size", id="4000-digits"),
        pytest.param(manifest(layers=[LAYER | {"size": 1.5}]), OCI_MANIFEST, "size", id="a-fraction"),
        pytest.param(manifest(layers=[LAYER | {"size": True}]), OCI_MANIFEST, "size", id="true"),
        pytest.param(manifest(layers=[LAYER | {"size": "7"}]), OCI_MANIFEST, "size", id="size-as-text"),
        pytest.param(manifest(layers=[None]), OCI_MANIFEST, "layers", id="null-layer"),
        pytest.param(manifest(layers={"0": LAYER}), OCI_MANIFEST, "layers", id="layers-object"),
        pytest.param(manifest(config=[CONFIG]), OCI_MANIFEST, "config", id="config-list"),
        pytest.param(manifest(config=CONFIG | {"data": "%%%"}), OCI_MANIFEST, "data", id="data-not-base64"),
        pytest.param(b"{" + b" " * MANIFEST_LIMIT + b"}", OCI_MANIFEST, "larger", id="over-4-MiB"),
        pytest.param(b'{"x":[' + b"{}," * 20_000 + b"{}]}", OCI_MANIFEST, "objects", id="too-many-objects"),
    ],
)
def test_what_no_runtime_can_run(body: bytes, announced: str, reason: str) -> None:
    parsed = parse(body, announced)
    assert isinstance(parsed, Unrunnable)
    assert reason in parsed.reason
    assert len(parsed.reason) <= 256


def test_of_a_key_written_twice_the_last_counts_as_in_go() -> None:
    body = manifest()[:-1] + b',"layers":[]}'
    parsed = parse(body, OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.layers == ()


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"mediaType": "application/vnd.oci.image.layer.v1.tar"}, id="a-layer"),
        pytest.param({"mediaType": "application/x-anything"}, id="unknown"),
        pytest.param({"mediaType": None}, id="null"),
        pytest.param({"mediaType": SCHEMA1}, id="schema-1"),
        pytest.param({"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}, id="attestation"),
        pytest.param({"platform": {"os": "unknown", "architecture": "unknown"}}, id="unknown-platform"),
    ],
)
def test_children_that_are_passed_over(entry: dict[str, Any]) -> None:
    assert parse(index(ENTRY | entry), OCI_INDEX) == Index(())


def test_a_childs_odd_digest_is_kept_for_whoever_needs_the_child() -> None:
    parsed = parse(index(ENTRY | {"digest": "blake3:" + "a" * 64}), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert parsed.children[0].digest is None


@pytest.mark.parametrize(
    "platform", [{}, {"os": "linux"}, {"architecture": "amd64"}, {"os": None}], ids=["empty", "os", "arch", "null"]
)
def test_half_a_platform_is_nobodys_and_not_undeclared(platform: dict[str, Any]) -> None:
    parsed = parse(index(ENTRY | {"platform": platform}), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert parsed.children[0].platform is not None


@pytest.mark.parametrize(
    "media_type, required",
    [
        ("application/vnd.oci.image.layer.v1.tar", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip", True),
        ("application/vnd.oci.image.layer.v1.tar+zstd", True),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", True),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", True),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", True),
        ("application/x-anything", True),
        ("", True),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", False),
    ],
)
def test_only_non_distributable_types_excuse_a_layer(media_type: str, required: bool) -> None:  # noqa: FBT001 - a table
    layer = LAYER | {"mediaType": media_type, "urls": ["https://elsewhere.example/x"]}
    parsed = parse(manifest(layers=[layer]), OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.layers[0].required is required


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_data_in_a_descriptor_stands_for_the_blob(algorithm: str) -> None:
    content = b'{"os":"linux"}'
    digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    config = CONFIG | {"digest": digest, "size": len(content), "data": base64.b64encode(content).decode()}
    parsed = parse(manifest(config=config), OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.config.inline == content
    assert not parsed.config.fetched


def test_data_of_another_length_is_not_looked_at_as_in_containerd() -> None:
    parsed = parse(manifest(config=CONFIG | {"data": base64.b64encode(b"short").decode()}), OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert parsed.config.required


def test_data_that_lies_fails_the_pull_so_it_is_refused() -> None:
    parsed = parse(manifest(config=CONFIG | {"size": 3, "data": base64.b64encode(b"lie").decode()}), OCI_MANIFEST)
    assert isinstance(parsed, Unrunnable)
    assert "not what its digest says" in parsed.reason


def test_the_empty_descriptor_is_required_of_nobody_but_still_asked_for_by_nodes() -> None:
    parsed = parse(manifest(config={"mediaType": "x", "digest": EMPTY, "size": 2}), OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    assert (parsed.config.required, parsed.config.fetched) == (False, True)


@pytest.mark.parametrize(
    "config, platform",
    [
        (b'{"os":"linux","architecture":"arm64","variant":"v8"}', "linux/arm64"),
        (b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers"},"history":[{}]}', "linux/amd64"),
        (b"{}", None),
        (b'{"os":"linux"}', None),
        (b'{"os":5,"architecture":"amd64"}', None),
        (b"\xff", None),
        (b'{"os":"\xff"}', None),
        (b'{"x":' + b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_the_platform_of_a_config(config: bytes, platform: str | None) -> None:
    parsed = parse_config_platform(config)
    assert (None if parsed is None else str(parsed)) == platform


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.sampled_from([OCI_INDEX, OCI_MANIFEST, ""]))
def test_any_bytes_have_an_answer(body: bytes, announced: str) -> None:
    assert isinstance(parse(body, announced), Index | ImageManifest | Unrunnable)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(A),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LAYER, "os", "data"]), inner),
)


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"]), _json
    ),
    st.sampled_from([OCI_INDEX, OCI_MANIFEST, ""]),
)
def test_any_document_has_an_answer(document: dict[str, Any], announced: str) -> None:
    assert isinstance(parse(json.dumps(document).encode(), announced), Index | ImageManifest | Unrunnable)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"manifests":[' + b",".join([b'{"size":1,"digest":""}'] * 180_000) + b"]}", id="tiny-entries"),
        pytest.param(manifest(layers=[LAYER] * 16_000), id="as-many-layers-as-fit"),
        pytest.param(b'{"x":[' + b"0," * 2_000_000 + b"0]}", id="a-long-unknown-list"),
        pytest.param(b'{"mediaType":"' + b"x" * 4_000_000 + b'"}', id="a-long-string"),
    ],
)
def test_four_megabytes_of_anything_take_little_memory(body: bytes) -> None:
    assert len(body) <= MANIFEST_LIMIT
    tracemalloc.start()
    try:
        parse(body, "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MANIFEST_LIMIT
