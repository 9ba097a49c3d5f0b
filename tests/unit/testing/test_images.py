"""Images without an engine: what comes out is what a registry keeps and a runtime unpacks."""

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.reference import parse_digest
from tidegate.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Family,
    Image,
    build_image,
    build_index,
    build_schema1,
)
from tidegate.testing.layers import Packing, build_layer, digest_of


def unzstd(frame: bytes) -> bytes:
    """A frame of raw blocks, read by RFC 8878: magic, header, window; then size, type and last of each block."""
    assert frame[:6] == bytes.fromhex("28b52ffd0038")
    content, offset, last = b"", 6, 0
    while not last:
        header = int.from_bytes(frame[offset : offset + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        assert (kind, size <= 1 << 17) == (0, True)
        content += frame[offset + 3 : offset + 3 + size]
        offset += 3 + size
    assert offset == len(frame)
    return content


UNPACK: dict[Packing, Callable[[bytes], bytes]] = {
    Packing.NONE: bytes,
    Packing.GZIP: gzip.decompress,
    Packing.ZSTD: unzstd,
}


class TestLayers:
    @pytest.mark.parametrize("packing", list(Packing))
    @pytest.mark.parametrize("size", [0, 1, 1 << 17, 300_000])
    def test_it_is_a_tar_whose_digest_the_config_can_name(self, packing: Packing, size: int) -> None:
        layer = build_layer(size=size, files={"/bin/tool": b"#!"}, links={"/bin/sh": "tool"}, packing=packing)

        tar = UNPACK[packing](layer.content)

        assert digest_of(tar) == layer.diff_id
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            entries = {entry.name: entry for entry in archive}
        assert entries["bin"].isdir()
        assert (entries["bin/tool"].size, entries["bin/tool"].mode) == (2, 0o755)
        assert entries["bin/sh"].linkname == "tool"
        assert [entry.size for name, entry in entries.items() if name.startswith("random")] == [size] * (size > 0)

    def test_it_does_not_compress(self) -> None:
        layer = build_layer(size=1 << 20)

        assert (1 << 20) < len(layer.content) < (1 << 20) + 4096
        assert len(gzip.compress(layer.content)) > 0.99 * len(layer.content)

    def test_the_same_arguments_are_the_same_bytes(self) -> None:
        assert build_layer(size=100, seed=("a", 1)) == build_layer(size=100, seed=("a", 1))
        assert build_layer(size=100, seed=("a", 1)) != build_layer(size=100, seed=("a", 2))

    def test_layers_of_one_image_hide_nothing_of_each_other(self) -> None:
        names = []
        for content in list(build_image(layers=3).blobs.values())[1:]:
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archive:
                names += archive.getnames()

        assert len(names) == len(set(names)) == 3


class TestImages:
    @pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name.lower())
    @pytest.mark.parametrize("packing", list(Packing))
    def test_its_descriptors_are_true(self, family: Family, packing: Packing) -> None:
        image = build_image(family=family, packing=packing)

        document = image.document
        assert document["mediaType"] == image.media_type
        for entry in (document["config"], *document["layers"]):
            assert digest_of(image.blobs[entry["digest"]]) == parse_digest(entry["digest"])
            assert entry["size"] == len(image.blobs[entry["digest"]])
        assert list(image.blobs) == [image.config, *image.layers]
        config = json.loads(image.blobs[image.config])
        unpacked = [digest_of(UNPACK[packing](image.blobs[layer])) for layer in image.layers]
        assert config["rootfs"]["diff_ids"] == unpacked

    @pytest.mark.parametrize(
        "options, media_type",
        [
            pytest.param({}, "application/vnd.oci.image.layer.v1.tar+gzip", id="oci"),
            pytest.param({"packing": Packing.ZSTD}, "application/vnd.oci.image.layer.v1.tar+zstd", id="oci-zstd"),
            pytest.param({"packing": Packing.NONE}, "application/vnd.oci.image.layer.v1.tar", id="oci-plain"),
            pytest.param({"family": Family.DOCKER}, "application/vnd.docker.image.rootfs.diff.tar.gzip", id="docker"),
            pytest.param(
                {"foreign": 1}, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", id="oci-foreign"
            ),
            pytest.param(
                {"foreign": 1, "family": Family.DOCKER},
                "application/vnd.docker.image.rootfs.foreign.tar.gzip",
                id="docker-foreign",
            ),
            pytest.param({"layer_type": "application/x"}, "application/x", id="told"),
        ],
    )
    def test_its_layers_say_what_they_are(self, options: dict[str, Any], media_type: str) -> None:
        assert build_image(**options).document["layers"][-1]["mediaType"] == media_type

    def test_foreign_layers_are_named_and_nowhere(self) -> None:
        image = build_image(foreign=2)

        assert [layer in image.blobs for layer in image.layers] == [True, False, False]
        assert ["urls" in entry for entry in image.document["layers"]] == [False, True, True]

    def test_an_inline_config_travels_in_its_descriptor(self) -> None:
        image = build_image(inline_config=True)

        assert digest_of(base64.b64decode(image.document["config"]["data"])) == image.config
        assert image.config not in image.blobs

    @pytest.mark.parametrize(
        "platform, expected",
        [
            ("linux/amd64", ("linux", "amd64", None)),
            ("linux/arm64/v8", ("linux", "arm64", "v8")),
            (None, (None, None, None)),
        ],
    )
    def test_its_config_says_its_platform(self, platform: str | None, expected: tuple[str | None, ...]) -> None:
        config = config_of(build_image(platform=platform))

        assert tuple(config.get(part) for part in ("os", "architecture", "variant")) == expected

    def test_a_config_may_keep_quiet_about_its_platform(self) -> None:
        image = build_image(config_platform=False)

        assert "os" not in config_of(image)
        assert image.platform == "linux/amd64"

    def test_what_else_can_be_told(self) -> None:
        image = build_image(
            media_type_field=False, config_type="application/x", command=["/bin/sh"], annotations={"a": "b"}
        )

        assert "mediaType" not in image.document
        assert image.document["config"]["mediaType"] == "application/x"
        assert image.document["annotations"] == {"a": "b"}
        assert config_of(image)["config"]["Cmd"] == ["/bin/sh"]

    def test_it_is_as_large_as_it_was_told(self) -> None:
        image = build_image(layers=12, layer_bytes=50_000)

        assert 12 * 50_000 < sum(map(len, image.blobs.values())) < 12 * 52_500

    def test_the_same_arguments_are_the_same_image(self) -> None:
        assert build_image(seed=1).digest == build_image(seed=1).digest
        assert build_image(seed=1).digest != build_image(seed=2).digest


def config_of(image: Image) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(image.blobs[image.config])
    return content


class TestIndexes:
    @pytest.mark.parametrize(
        "family, index_type, manifest_type",
        [(Family.OCI, OCI_INDEX, OCI_MANIFEST), (Family.DOCKER, DOCKER_LIST, DOCKER_MANIFEST)],
    )
    def test_its_entries_are_true(self, family: Family, index_type: str, manifest_type: str) -> None:
        amd = build_image(family=family)
        arm = build_image(family=family, platform="linux/arm64/v8")

        index = build_index([amd, arm], family=family)

        assert (index.media_type, index.document["mediaType"]) == (index_type, index_type)
        assert index.document["manifests"] == [
            {"mediaType": manifest_type, "digest": amd.digest, "size": len(amd.manifest),
             "platform": {"os": "linux", "architecture": "amd64"}},
            {"mediaType": manifest_type, "digest": arm.digest, "size": len(arm.manifest),
             "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        ]  # fmt: skip

    def test_platforms_may_be_left_out(self) -> None:
        index = build_index([build_image()], platforms=False)

        assert "platform" not in index.document["manifests"][0]

    def test_attestations_are_as_buildkit_writes_them(self) -> None:
        image = build_image()

        _, entry = build_index([image], attestations=True).document["manifests"]

        assert entry["platform"] == {"architecture": "unknown", "os": "unknown"}
        assert entry["annotations"] == {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image.digest,
        }

    def test_a_walk_goes_from_the_bottom_up(self) -> None:
        leaf, other = build_image(seed="leaf"), build_image(seed="other")
        inner = build_index([leaf])
        outer = build_index([other, inner])

        assert [image.digest for image in outer.walk()] == [other.digest, leaf.digest, inner.digest, outer.digest]
        assert set(outer.all_blobs()) == {*leaf.blobs, *other.blobs}

    def test_entries_that_lead_nowhere(self) -> None:
        nowhere = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"nowhere"), "size": 7}

        assert build_index([build_image()], extra=[nowhere]).document["manifests"][-1] == nowhere


def test_schema_1_is_what_nobody_takes_any_more() -> None:
    image = build_schema1()

    assert image.media_type == "application/vnd.docker.distribution.manifest.v1+prettyjws"
    assert image.document["schemaVersion"] == 1
    assert [layer["blobSum"] for layer in image.document["fsLayers"]] == list(image.blobs)
