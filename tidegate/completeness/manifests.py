"""Bytes of a manifest → what they say, and nothing that a hostile author can make expensive.

`parse` returns an `Index`, an `ImageManifest`, or `Unrunnable` with the reason; it raises nothing. Lenient where the
specification is: unknown fields and unknown children are passed over, `null` is an absent field. Strict where a
runtime is, or where we count on it: digests and sizes of what a node would download, `mediaType` against the fields
(containerd's validateMediaType), schema 1.

Sources: image-spec manifest.md, image-index.md, descriptor.md; containerd core/images/image.go and
core/remotes/handlers.go.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import msgspec

from tidegate.completeness.platforms import Platform, normalised
from tidegate.reference import Digest, InvalidReference, parse_digest
from tidegate.registry.errors import evidence

MANIFEST_LIMIT = 4 << 20
"""Bytes of one manifest; the specification asks registries to take this much, containerd takes little more."""
OBJECTS_LIMIT = 16_384
"""Opening braces in one manifest: bounds what decoding allocates, at 30 times what the caps of an image need."""
SIZE_LIMIT = 1 << 44
"""Bytes a descriptor may claim: 256 of them still add up to an integer that JSON readers keep exact."""
EMPTY = Digest("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
"""`{}`, the specification's empty descriptor: known content, which sloppy registries do not even store."""


class Kind(Enum):
    """What a media type announces."""

    INDEX = "an index"
    MANIFEST = "a manifest"
    SCHEMA1 = "a schema 1 manifest"


_KINDS = {
    "application/vnd.oci.image.index.v1+json": Kind.INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json": Kind.INDEX,
    "application/vnd.oci.image.manifest.v1+json": Kind.MANIFEST,
    "application/vnd.docker.distribution.manifest.v2+json": Kind.MANIFEST,
    "application/vnd.docker.distribution.manifest.v1+json": Kind.SCHEMA1,
    "application/vnd.docker.distribution.manifest.v1+prettyjws": Kind.SCHEMA1,
}
_FOREIGN = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")


@dataclass(frozen=True, slots=True)
class Blob:
    """A config or layer; `size` is the descriptor's claim."""

    digest: Digest
    size: int
    fetched: bool = True
    """Whether a node asks the registry for it: not what its descriptor carries, nor a foreign layer."""
    inline: bytes | None = None
    """The content, where the descriptor carries it (verified)."""

    @property
    def required(self) -> bool:
        """Whether the replica must have it."""
        return self.fetched and self.digest != EMPTY


@dataclass(frozen=True, slots=True)
class Child:
    """An entry of an index that may lead to an image."""

    kind: Kind
    media_type: str
    digest: Digest | None
    """None: of an algorithm or form that no runtime takes; it matters only if a node would need this child."""
    size: int
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class Index:
    """Its children without attestations and without what has an unknown media type."""

    children: tuple[Child, ...]


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """One platform's image, or an artifact of that shape."""

    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Config first."""
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Unrunnable:
    """No runtime can run this, and why."""

    reason: str


class _Platform(msgspec.Struct, gc=False):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


class _Annotations(msgspec.Struct, gc=False):
    reference_type: str | None = msgspec.field(name="vnd.docker.reference.type", default=None)


class _Descriptor(msgspec.Struct, rename="camel", gc=False):
    size: Annotated[int, msgspec.Meta(ge=0, le=SIZE_LIMIT)]
    digest: str
    media_type: str | None = None
    data: bytes | None = None
    platform: _Platform | None = None
    annotations: _Annotations | None = None


class _Document(msgspec.Struct, rename="camel", gc=False):
    schema_version: int | None = None
    media_type: str | None = None
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    fs_layers: msgspec.Raw = msgspec.field(name="fsLayers", default=msgspec.Raw())


_decode = msgspec.json.Decoder(_Document).decode
_decode_platform = msgspec.json.Decoder(_Platform).decode


class _Refused(Exception):
    pass


def kind_of(media_type: str | None) -> Kind | None:
    """What a media type announces; parameters after `;` and case do not matter."""
    return _KINDS.get((media_type or "").partition(";")[0].strip().lower())


def parse(body: bytes, media_type: str) -> Index | ImageManifest | Unrunnable:
    """`media_type` is what led here: the Content-Type of the root, the parent's descriptor for a child.

    Media types that say nothing (`application/json`, `text/plain`, none) leave it to the body.
    """
    try:
        document = _document(body)
        if _kind(document, kind_of(media_type)) is Kind.INDEX:
            return Index(tuple(child for entry in document.manifests or () if (child := _child(entry)) is not None))
        if document.config is None:
            return Unrunnable("the manifest has no config")
        return ImageManifest(_blob(document.config), tuple(map(_blob, document.layers or ())))
    except _Refused as exc:
        return Unrunnable(evidence(str(exc)))


def parse_config_platform(body: bytes) -> Platform | None:
    """The platform that an image's config names; None where it names none or is no JSON object."""
    try:
        config = _decode_platform(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _platform(config)


def _document(body: bytes) -> _Document:
    if len(body) > MANIFEST_LIMIT:
        message = f"larger than {MANIFEST_LIMIT} bytes"
        raise _Refused(message)
    if body.count(b"{") > OBJECTS_LIMIT:
        message = f"more than {OBJECTS_LIMIT} objects in one manifest"
        raise _Refused(message)
    try:
        return _decode(body)
    except UnicodeDecodeError as exc:
        message = "not UTF-8"
        raise _Refused(message) from exc
    except RecursionError as exc:
        message = "nested too deeply"
        raise _Refused(message) from exc
    except msgspec.MsgspecError as exc:
        message = f"not a manifest: {exc}"
        raise _Refused(message) from exc


def _kind(document: _Document, announced: Kind | None) -> Kind:
    own = kind_of(document.media_type)
    if Kind.SCHEMA1 in {announced, own} or document.schema_version == 1 or _present(document.fs_layers):
        message = "schema 1, which no runtime takes any more"
        raise _Refused(message)
    has_index, has_manifest = document.manifests is not None, (document.config or document.layers) is not None
    kind = announced or own
    if kind is None and has_index != has_manifest:
        kind = Kind.INDEX if has_index else Kind.MANIFEST
    if kind is None:
        message = "neither a manifest nor an index"
        raise _Refused(message)
    other = has_manifest if kind is Kind.INDEX else has_index
    if other or own not in {None, kind}:
        message = f"announced as {kind.value}, but it has the media type or the fields of the other"
        raise _Refused(message)
    return kind


def _present(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in {b"", b"null"}


def _child(entry: _Descriptor) -> Child | None:
    kind = kind_of(entry.media_type)
    if kind is None or kind is Kind.SCHEMA1 or _is_attestation(entry):
        return None
    try:
        digest = parse_digest(entry.digest)
    except InvalidReference:
        digest = None
    platform = None if entry.platform is None else _platform(entry.platform) or Platform("", "")
    return Child(kind, entry.media_type or "", digest, entry.size, platform)


def _is_attestation(entry: _Descriptor) -> bool:
    """As BuildKit marks them; a platform of `unknown/unknown` is nobody's."""
    if entry.annotations is not None and entry.annotations.reference_type:
        return True
    platform = entry.platform
    return platform is not None and platform.os == "unknown" and platform.architecture == "unknown"


def _platform(platform: _Platform) -> Platform | None:
    if not platform.os or not platform.architecture:
        return None
    return normalised(platform.os, platform.architecture, platform.variant or "")


def _blob(entry: _Descriptor) -> Blob:
    try:
        digest = parse_digest(entry.digest)
    except InvalidReference as exc:
        message = f"a descriptor's digest cannot be used: {exc}"
        raise _Refused(message) from exc
    foreign = (entry.media_type or "").startswith(_FOREIGN)
    if entry.data is not None and len(entry.data) == entry.size:
        # A runtime takes such data instead of asking (containerd's Fetch), so wrong data fails the pull.
        algorithm, _, expected = digest.partition(":")
        if hashlib.new(algorithm, entry.data).hexdigest() != expected:
            message = f"the data inside the descriptor of {digest} is not what its digest says"
            raise _Refused(message)
        return Blob(digest, entry.size, fetched=False, inline=entry.data)
    return Blob(digest, entry.size, fetched=not foreign)


def distinct(blobs: Sequence[Blob]) -> dict[Digest, Blob]:
    """One of each digest, in their order."""
    found: dict[Digest, Blob] = {}
    for blob in blobs:
        found.setdefault(blob.digest, blob)
    return found
