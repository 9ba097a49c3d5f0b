"""Images as bytes, built without an engine: manifests, indexes, attestations, and the shapes that must be refused.

`build_image` gives images that a real runtime can pull, unpack and (with `files` and `command`) run; every knob
besides makes one deviation that the field knows. The same arguments always give the same digests.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from tidegate.reference import Digest
from tidegate.testing.layers import Layer, Packing, build_layer, digest_of

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
IN_TOTO: Final = "application/vnd.in-toto+json"

ATTESTATION_TYPE: Final = "vnd.docker.reference.type"
ATTESTATION_OF: Final = "vnd.docker.reference.digest"
"""Annotations by which BuildKit marks an index entry as an attestation, and names its subject."""


class Family(Enum):
    """Whose media types an image uses."""

    OCI = "oci"
    DOCKER = "docker"

    @property
    def manifest_type(self) -> str:
        """The media type of an image's manifest."""
        return OCI_MANIFEST if self is Family.OCI else DOCKER_MANIFEST

    @property
    def index_type(self) -> str:
        """The media type of an index (a manifest list)."""
        return OCI_INDEX if self is Family.OCI else DOCKER_LIST

    @property
    def config_type(self) -> str:
        """The media type of an image's config."""
        return OCI_CONFIG if self is Family.OCI else DOCKER_CONFIG

    def layer_type(self, packing: Packing, *, foreign: bool = False) -> str:
        """The media type of a layer."""
        if self is Family.OCI:
            return f"application/vnd.oci.image.layer.{'nondistributable.' if foreign else ''}v1.{packing}"
        dotted = packing.replace("+", ".")
        return f"application/vnd.docker.image.rootfs.{'foreign' if foreign else 'diff'}.{dotted}"


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest or index with what it needs: its own blobs, and the manifests below it."""

    manifest: bytes
    media_type: str
    blobs: Mapping[Digest, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """Config and layers that this very manifest names and a registry is expected to hold, config first."""
    children: tuple["Image", ...] = ()
    platform: str | None = None
    """`os/architecture[/variant]` as an index would say it; none for indexes and artifacts."""

    @property
    def digest(self) -> Digest:
        """The digest of the manifest's bytes."""
        return digest_of(self.manifest)

    @property
    def document(self) -> dict[str, Any]:
        """The manifest as JSON; a copy of its own at each call."""
        document: dict[str, Any] = json.loads(self.manifest)
        return document

    @property
    def config(self) -> Digest:
        """The digest of an image's config."""
        return Digest(self.document["config"]["digest"])

    @property
    def layers(self) -> tuple[Digest, ...]:
        """The digests of an image's layers in the order of the manifest."""
        return tuple(Digest(entry["digest"]) for entry in self.document["layers"])

    def walk(self) -> Iterator["Image"]:
        """This image and everything below it, children first: the order in which a registry takes them."""
        for child in self.children:
            yield from child.walk()
        yield self

    def all_blobs(self) -> dict[Digest, bytes]:
        """The blobs of this image and of everything below it."""
        return {digest: content for image in self.walk() for digest, content in image.blobs.items()}


def build_image(
    *,
    layers: int | Sequence[Layer] = 3,
    layer_bytes: int = 4096,
    seed: object = 0,
    platform: str | None = "linux/amd64",
    family: Family = Family.OCI,
    packing: Packing = Packing.GZIP,
    foreign: int = 0,
    inline_config: bool = False,
    config_platform: bool = True,
    config_type: str | None = None,
    layer_type: str | None = None,
    media_type_field: bool = True,
    files: Mapping[str, bytes] | None = None,
    links: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """An image of one platform.

    Shapes: `layers` is a count (each of about `layer_bytes` compressed bytes) or the layers themselves. With `files`
    or `links` (name to target) the first layer holds them too. The last `foreign` layers are non-distributable: the
    manifest names them with a URL and `blobs` lacks them. `inline_config` carries the config as `data` in its
    descriptor, and `blobs` lacks it. `config_platform=False` leaves os and architecture out of the config;
    `config_type` and `layer_type` replace the media types; `media_type_field=False` leaves `mediaType` out.
    """
    if isinstance(layers, int):
        layers = [
            build_layer(
                size=layer_bytes, seed=(seed, number), packing=packing,
                files=files if number == 0 else None, links=links if number == 0 else None,
            )
            for number in range(layers)
        ]  # fmt: skip
    config = _config(layers, platform=platform if config_platform else None, command=command, seed=seed)
    config_entry = descriptor(config, config_type or family.config_type)
    if inline_config:
        config_entry["data"] = base64.b64encode(config).decode()
    kept = len(layers) - foreign
    entries = [
        _layer_entry(layer, layer_type=layer_type, family=family, foreign=number >= kept)
        for number, layer in enumerate(layers)
    ]
    document = {"schemaVersion": 2, "config": config_entry, "layers": entries}
    if media_type_field:
        document["mediaType"] = family.manifest_type
    if annotations:
        document["annotations"] = dict(annotations)
    blobs = {} if inline_config else {digest_of(config): config}
    blobs |= {layer.digest: layer.content for layer in layers[:kept]}
    return Image(
        manifest=_json(document), media_type=family.manifest_type, blobs=MappingProxyType(blobs), platform=platform
    )


def _layer_entry(layer: Layer, *, layer_type: str | None, family: Family, foreign: bool) -> dict[str, Any]:
    entry = descriptor(layer.content, layer_type or family.layer_type(layer.packing, foreign=foreign))
    if foreign:
        entry["urls"] = [f"http://localhost:9/foreign/{layer.digest}"]
    return entry


def build_index(
    children: Sequence[Image],
    *,
    family: Family = Family.OCI,
    platforms: bool = True,
    attestations: bool = False,
    extra: Sequence[Mapping[str, Any]] = (),
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """An index over images and indexes, in their order.

    `platforms=False` leaves the entries' platforms out; `attestations` adds one for each child, as BuildKit does;
    `extra` are descriptors written as they are, for entries whose target exists nowhere.
    """
    children = list(children)
    entries = [_entry(child, platforms=platforms) for child in children]
    if attestations:
        for child in tuple(children):
            attestation = build_attestation(child)
            entry = _entry(attestation, platforms=False)
            entry["platform"] = {"architecture": "unknown", "os": "unknown"}
            entry["annotations"] = {ATTESTATION_TYPE: "attestation-manifest", ATTESTATION_OF: child.digest}
            entries.append(entry)
            children.append(attestation)
    document: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": family.index_type, "manifests": [*entries, *map(dict, extra)],
    }  # fmt: skip
    if annotations:
        document["annotations"] = dict(annotations)
    return Image(manifest=_json(document), media_type=family.index_type, children=tuple(children))


def build_attestation(subject: Image) -> Image:
    """What BuildKit adds beside an image: a manifest whose one layer is a statement about it."""
    statement = _json({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": subject.digest}]})
    config = _json({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}})
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(statement, IN_TOTO)],
    }
    blobs = {digest_of(content): content for content in (config, statement)}
    return Image(manifest=_json(document), media_type=OCI_MANIFEST, blobs=MappingProxyType(blobs))


def build_schema1(*, name: str = "app", tag: str = "1", layer_bytes: int = 64, seed: object = 0) -> Image:
    """A manifest of Docker schema 1: no runtime of today takes it. Its signature is a stand-in."""
    layer = build_layer(size=layer_bytes, seed=seed)
    document = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": layer.digest}],
        "history": [{"v1Compatibility": json.dumps({"id": "0" * 64, "os": "linux", "architecture": "amd64"})}],
        "signatures": [{"header": {"alg": "ES256"}, "signature": "c3RhbmQtaW4", "protected": "e30"}],
    }
    return Image(
        manifest=json.dumps(document, indent=3).encode(),
        media_type=SCHEMA1,
        blobs=MappingProxyType({layer.digest: layer.content}),
    )


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    """The OCI descriptor of some bytes."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def platform_object(platform: str) -> dict[str, str]:
    """`os/architecture[/variant]` as an index entry or a config spells it."""
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


def _entry(image: Image, *, platforms: bool) -> dict[str, Any]:
    entry = descriptor(image.manifest, image.media_type)
    if platforms and image.platform is not None:
        entry["platform"] = platform_object(image.platform)
    return entry


def _config(layers: Sequence[Layer], *, platform: str | None, command: Sequence[str], seed: object) -> bytes:
    config: dict[str, Any] = platform_object(platform) if platform is not None else {}
    config["config"] = {"Env": ["PATH=/bin"], "Labels": {"dev.tidegate.testing/seed": repr(seed)}}
    if command:
        config["config"]["Cmd"] = list(command)
    config["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    return _json(config)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
