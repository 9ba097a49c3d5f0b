"""The distribution API for writers: blobs in one piece or in many, mounts, manifests with their references checked."""

import json
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from tidegate.reference import Digest, InvalidReference, parse_digest
from tidegate.testing.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tidegate.testing.layers import digest_of
from tidegate.testing.registry.api import Asked, Place
from tidegate.testing.registry.replies import Code, empty, error, errors
from tidegate.testing.registry.storage import DIGEST, Storage
from tidegate.testing.registry.wire import Reply

MAX_UPLOADS: Final = 1_000
"""Open uploads; the oldest is forgotten first."""
MAX_MANIFEST: Final = 4 << 20
"""Bytes, as in distribution."""
MAX_BLOB: Final = 1 << 30

_EXTERNAL: Final = ("application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable.")


class Writer:
    """POST, PATCH, PUT, and what belongs to an upload."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._uploads: OrderedDict[tuple[str, str], bytearray] = OrderedDict()

    def upload(self, asked: Asked, place: Place, body: bytes) -> Reply:
        """Everything under `/blobs/uploads/`."""
        if not place.target:
            return self._begin(asked, place) if asked.method == "POST" else error(Code.UNSUPPORTED)
        content = self._uploads.get((place.name, place.target))
        if content is None:
            return error(Code.BLOB_UPLOAD_UNKNOWN)
        if asked.method in {"PATCH", "PUT"} and (refusal := _out_of_order(asked, len(content), len(body))):
            return refusal
        match asked.method:
            case "GET" | "HEAD":
                reply = self._progress(place, len(content), HTTPStatus.NO_CONTENT)
            case "PATCH":
                content += body
                reply = self._progress(place, len(content), HTTPStatus.ACCEPTED)
            case "PUT":
                reply = self._complete(asked, place, content, body)
            case "DELETE":
                del self._uploads[place.name, place.target]
                reply = empty(HTTPStatus.NO_CONTENT, Docker_Upload_UUID=place.target)
            case _:
                reply = error(Code.UNSUPPORTED)
        return reply

    def put_manifest(self, asked: Asked, place: Place, body: bytes, *, checked: bool) -> Reply:
        """A manifest; unless `checked` is off, everything that it names must be in this repository."""
        if len(body) > MAX_MANIFEST:
            return error(Code.MANIFEST_INVALID, "http: request body too large")
        media_type = asked.headers.get("Content-Type", "").partition(";")[0].strip()
        document = _manifest_document(body, media_type)
        if document is None:
            return error(Code.MANIFEST_INVALID, f"no manifest of type {media_type}")
        by_digest = DIGEST.fullmatch(place.target) is not None
        digest = digest_of(body)
        if by_digest and digest != place.target:
            return error(Code.DIGEST_INVALID)
        if checked and (missing := list(self._missing(place.name, document, media_type))):
            return errors([(Code.MANIFEST_BLOB_UNKNOWN, digest, None) for digest in missing])
        self._storage.put_manifest(place.name, body, media_type, tag=None if by_digest else place.target)
        location = f"/v2/{place.name}/manifests/{digest}"
        return empty(HTTPStatus.CREATED, Location=location, Docker_Content_Digest=digest)

    def _begin(self, asked: Asked, place: Place) -> Reply:
        mounted, source = Digest(asked.query.get("mount", "")), asked.query.get("from", "")
        if mounted and source and self._storage.blob(source, mounted) is not None:
            self._storage.receive(place.name, mounted)
            return _created(place.name, mounted)
        identity = str(uuid.uuid4())
        self._uploads[place.name, identity] = bytearray()
        if len(self._uploads) > MAX_UPLOADS:
            self._uploads.popitem(last=False)
        return self._progress(Place(place.route, place.name, identity), 0, HTTPStatus.ACCEPTED)

    def _progress(self, place: Place, size: int, status: int) -> Reply:
        return empty(
            status,
            Location=f"/v2/{place.name}/blobs/uploads/{place.target}?_state={size}",
            Docker_Upload_UUID=place.target,
            Range=f"0-{max(0, size - 1)}",
        )

    def _complete(self, asked: Asked, place: Place, content: bytearray, body: bytes) -> Reply:
        try:
            digest = parse_digest(asked.query.get("digest", ""))
        except InvalidReference:
            return error(Code.DIGEST_INVALID, "digest parsing failed" if "digest" in asked.query else "digest missing")
        whole = bytes(content) + body if content else body
        del self._uploads[place.name, place.target]
        if digest_of(whole) != digest:
            return error(Code.DIGEST_INVALID, f"invalid digest for referenced layer: {digest}")
        self._storage.put_blob(place.name, digest, whole)
        return _created(place.name, digest)

    def _missing(self, name: str, document: dict[str, Any], media_type: str) -> Iterator[str]:
        kept = self._storage.repositories.get(name)
        manifests, blobs = (kept.manifests, kept.blobs) if kept is not None else ({}, set())
        if media_type in {OCI_INDEX, DOCKER_LIST}:
            yield from (entry["digest"] for entry in document["manifests"] if entry["digest"] not in manifests)
            return
        for entry in (document["config"], *document["layers"]):
            elsewhere = entry.get("urls") and entry.get("mediaType", "").startswith(_EXTERNAL)
            if not elsewhere and entry["digest"] not in blobs:
                yield entry["digest"]


def _created(name: str, digest: Digest) -> Reply:
    return empty(HTTPStatus.CREATED, Location=f"/v2/{name}/blobs/{digest}", Docker_Content_Digest=digest)


def _out_of_order(asked: Asked, size: int, length: int) -> Reply | None:
    """The refusal of a chunk that does not go on where the last one ended."""
    header = asked.headers.get("Content-Range")
    if header is None:
        return None
    first, _, last = header.removeprefix("bytes ").partition("/")[0].partition("-")
    if not (first.isdecimal() and last.isdecimal()) or int(first) != size:
        return error(Code.RANGE_INVALID)
    return error(Code.SIZE_INVALID) if int(last) - int(first) + 1 != length else None


def _manifest_document(body: bytes, media_type: str) -> dict[str, Any] | None:
    """The manifest, if it is one of the type that it is said to be; schema 1 is no longer taken."""
    parts = {
        OCI_MANIFEST: ("config", "layers"),
        DOCKER_MANIFEST: ("config", "layers"),
        OCI_INDEX: ("manifests",),
        DOCKER_LIST: ("manifests",),
    }.get(media_type)
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if parts is None or not isinstance(document, dict) or document.get("schemaVersion") != 2:  # noqa: PLR2004 - the only one
        return None
    said = document.get("mediaType", media_type if media_type in {OCI_MANIFEST, OCI_INDEX} else "")
    return document if said == media_type and all(part in document for part in parts) else None
