"""Repository and reference → the URL of a manifest or a blob. Pure.

The values come from parsed references, and are checked once more: what goes into a URL here can hold no slash too
many, no dots that climb, no query and no percent sign, so the URL is built without quoting and cannot be smuggled
into.
"""

import re

from yarl import URL

from tidegate.reference import Digest, InvalidReference, parse_digest

_COMPONENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_LONGEST = 1024
_PLACEHOLDER = "{path}"


class Paths:
    """The URLs of one replica, which may keep repositories under other names (`mirror/{path}`) and sit under a path."""

    def __init__(self, endpoint: URL, repository: str) -> None:
        self._root = f"{endpoint.origin()}{endpoint.raw_path.rstrip('/')}/v2/"
        self._template = repository
        self.base = URL(self._root, encoded=True)
        """Where a registry says that it is one."""

    def repository(self, path: str) -> str:
        """What the replica calls the repository `path` of the registry. Raises ValueError."""
        name = self._template.replace(_PLACEHOLDER, path)
        if len(name) > _LONGEST or not _REPOSITORY.fullmatch(name):
            message = f"not a repository: {name[:64]!r}"
            raise ValueError(message)
        return name

    def manifest(self, repository: str, reference: str) -> URL:
        """`repository` as the replica calls it; `reference` is a tag or a digest. Raises ValueError."""
        if digest_in(reference) is None and not _TAG.fullmatch(reference):
            message = f"neither a tag nor a digest: {reference[:64]!r}"
            raise ValueError(message)
        return URL(f"{self._root}{repository}/manifests/{reference}", encoded=True)

    def blob(self, repository: str, digest: Digest) -> URL:
        """`repository` as the replica calls it. Raises ValueError."""
        return URL(f"{self._root}{repository}/blobs/{parse_digest(digest)}", encoded=True)


def digest_in(reference: str) -> Digest | None:
    """The digest that a reference is, or None for a tag."""
    try:
        return parse_digest(reference)
    except InvalidReference:
        return None
