"""The distribution API for readers and deleters: from a request to a reply, over what is stored.

What is not obvious is distribution's own behaviour: an OCI manifest is not found by those who do not accept its type;
a tag that holds a Docker list answers others with its linux/amd64 child; a Docker manifest and (since distribution 3)
an OCI index go to everybody; presence is per repository; an If-None-Match with the digest that is asked for is
answered before anything is looked up.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from tidegate.reference import Digest, InvalidReference, parse_digest
from tidegate.testing.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST
from tidegate.testing.registry.faults import Faults
from tidegate.testing.registry.replies import Code, empty, error, json_reply
from tidegate.testing.registry.storage import DIGEST, Found, Storage
from tidegate.testing.registry.wire import Reply

_WORD: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = rf"(?P<name>{_WORD}(?:/{_WORD})*)"
_TAG: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
NAME_LIMIT: Final = 255

ROUTES: Final = {
    "manifests": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>{_TAG}|{DIGEST.pattern})"),
    "uploads": re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[A-Za-z0-9_.=-]*)"),
    "blobs": re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>{DIGEST.pattern})"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "base": re.compile(r"/v2/"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as far as the API looks at it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    accept: Sequence[str] = ()
    """Every Accept header."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: the route's name and the parts of the path."""

    route: str
    name: str = ""
    target: str = ""


def place_of(path: str) -> Place | None:
    """The first route that matches the whole path."""
    for route, pattern in ROUTES.items():
        if match := pattern.fullmatch(path):
            parts = match.groupdict()
            name = parts.pop("name", "")
            return Place(route, name, next(iter(parts.values()), ""))
    return None


def not_routed() -> Reply:
    """What Go's router says to a path that it has not."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return Reply(status=HTTPStatus.NOT_FOUND, body=b"404 page not found\n", headers=headers)


def invalid_digest(text: str) -> Reply | None:
    """The refusal of a digest that is none, in whatever route."""
    try:
        parse_digest(text)
    except InvalidReference as exc:
        return error(Code.DIGEST_INVALID, exc.reason)
    return None


class Reader:
    """GET, HEAD and DELETE."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def answer(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        """The reply to a request that may pass."""
        table: dict[tuple[str, str], Callable[[Asked, Place, Faults], Reply]] = {
            ("base", "GET"): self._base,
            ("tags", "GET"): self._tags,
            ("manifests", "GET"): self._manifest,
            ("manifests", "DELETE"): self._delete_manifest,
            ("blobs", "GET"): self._blob,
            ("blobs", "DELETE"): self._delete_blob,
        }
        method = "GET" if asked.method == "HEAD" else asked.method
        if (handler := table.get((place.route, method))) is None:
            return error(Code.UNSUPPORTED)
        return handler(asked, place, faults)

    def _base(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        del asked, place, faults
        return Reply(status=HTTPStatus.OK, body=b"{}", headers={"Content-Type": "application/json"})

    def _tags(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        del faults
        kept = self._storage.repositories.get(place.name)
        if kept is None or not kept.tags:
            return error(Code.NAME_UNKNOWN, {"name": place.name})
        count = asked.query.get("n", "")
        if count and not count.isdecimal():
            return error(Code.PAGINATION_NUMBER_INVALID, {"n": 0})
        tags = [tag for tag in sorted(kept.tags) if tag > asked.query.get("last", "")]
        page = tags[: int(count)] if count else tags
        reply = json_reply({"name": place.name, "tags": page})
        if page and len(page) < len(tags):
            reply.headers["Link"] = f'</v2/{place.name}/tags/list?last={page[-1]}&n={count}>; rel="next"'
        return reply

    def _manifest(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        reference = place.target
        by_digest = DIGEST.fullmatch(reference) is not None
        if by_digest and (refusal := invalid_digest(reference)):
            return refusal
        named = Digest(reference) if by_digest else self._tagged(place)
        if named is not None and asked.headers.get("If-None-Match", "").strip('"') == named:
            return empty(HTTPStatus.NOT_MODIFIED)
        found = self._storage.manifest(place.name, reference)
        if found is None:
            return error(Code.MANIFEST_UNKNOWN, {"name": place.name, "reference": reference})
        if not faults.accept:
            return self._manifest_reply(found, faults)
        return self._acceptable(place, found, faults, accepted=accepted_types(asked.accept), by_digest=by_digest)

    def _acceptable(
        self, place: Place, found: Found, faults: Faults, *, accepted: frozenset[str], by_digest: bool
    ) -> Reply:
        _, media_type, content = found
        if media_type == OCI_MANIFEST and media_type not in accepted:
            message = "OCI manifest found, but accept header does not support OCI manifests"
            return error(Code.MANIFEST_UNKNOWN, message=message)
        if media_type == DOCKER_LIST and media_type not in accepted and not by_digest:
            return self._substitute(place, content, accepted, faults)
        return self._manifest_reply(found, faults)

    def _tagged(self, place: Place) -> Digest | None:
        kept = self._storage.repositories.get(place.name)
        return kept.tags.get(place.target) if kept is not None else None

    def _substitute(self, place: Place, content: bytes, accepted: frozenset[str], faults: Faults) -> Reply:
        """A list for somebody who takes none: the child that old clients are meant to have."""
        for entry in json.loads(content)["manifests"]:
            platform = entry.get("platform", {})
            if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
                child = self._storage.manifest(place.name, entry["digest"])
                if child is None:
                    return error(Code.MANIFEST_UNKNOWN, {"name": place.name, "reference": entry["digest"]})
                if child[1] == DOCKER_MANIFEST and DOCKER_MANIFEST not in accepted:
                    return error(Code.MANIFEST_INVALID, message="Schema 2 manifest not supported by client")
                return self._manifest_reply(child, faults)
        return error(Code.MANIFEST_UNKNOWN)

    def _manifest_reply(self, found: Found, faults: Faults) -> Reply:
        digest, media_type, content = found
        headers = {"Content-Type": faults.content_type.format(type=media_type), "Etag": f'"{digest}"'}
        if faults.digest_header is not None:
            headers["Docker-Content-Digest"] = faults.digest_header.format(digest=digest)
        body = faults.lies.get(digest, content)
        return Reply(status=HTTPStatus.OK, body=body, headers=headers, chunked=faults.chunked_manifests)

    def _blob(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        if refusal := invalid_digest(place.target):
            return refusal
        digest = Digest(place.target)
        content = self._storage.blob(place.name, digest)
        if content is None:
            return error(Code.BLOB_UNKNOWN, digest)
        if asked.headers.get("If-None-Match") == f'"{digest}"':
            return empty(HTTPStatus.NOT_MODIFIED)
        content = faults.lies.get(digest, content)
        headers = {
            "Content-Type": "application/octet-stream",
            "Etag": f'"{digest}"',
            "Cache-Control": "max-age=31536000",
        }
        if faults.digest_header is not None:
            headers["Docker-Content-Digest"] = faults.digest_header.format(digest=digest)
        reply = Reply(status=HTTPStatus.OK, body=content, headers=headers, paced=True)
        if faults.ranges:
            headers["Accept-Ranges"] = "bytes"
            return ranged(reply, asked.headers.get("Range", ""))
        return reply

    def _delete_manifest(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        del asked, faults
        kept = self._storage.repositories.get(place.name)
        if DIGEST.fullmatch(place.target) is None:
            if kept is None or kept.tags.pop(place.target, None) is None:
                return error(Code.MANIFEST_UNKNOWN, {"name": place.name, "reference": place.target})
            return empty(HTTPStatus.ACCEPTED)
        if refusal := invalid_digest(place.target):
            return refusal
        digest = Digest(place.target)
        if kept is None or digest not in kept.manifests:
            return error(Code.MANIFEST_UNKNOWN)
        self._storage.lose(place.name, digest)
        kept.tags = {tag: named for tag, named in kept.tags.items() if named != digest}
        return empty(HTTPStatus.ACCEPTED)

    def _delete_blob(self, asked: Asked, place: Place, faults: Faults) -> Reply:
        del asked, faults
        digest = Digest(place.target)
        if self._storage.blob(place.name, digest) is None:
            return error(Code.BLOB_UNKNOWN)
        self._storage.lose(place.name, digest)
        return empty(HTTPStatus.ACCEPTED)


def accepted_types(headers: Sequence[str]) -> frozenset[str]:
    """The media types of all Accept headers, parameters aside. `*/*` is one more type that nobody has."""
    return frozenset(part.partition(";")[0].strip().lower() for header in headers for part in header.split(","))


def ranged(whole: Reply, header: str) -> Reply:
    """One range of a body, as RFC 9110 section 14 has it; several ranges get the whole, which is allowed."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or match.groups() == ("", ""):
        return whole
    size = len(whole.body)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or start >= end:
        headers = {"Content-Range": f"bytes */{size}", "Content-Type": "text/plain; charset=utf-8"}
        return Reply(
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            body=b"invalid range: failed to overlap\n",
            headers=headers,
        )
    whole.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Reply(status=HTTPStatus.PARTIAL_CONTENT, body=whole.body[start:end], headers=whole.headers, paced=True)
