"""What a registry keeps: bytes once, and for each repository which of them it has there.

Presence is per repository, as in distribution: a blob that another repository has is absent here. Bytes outlive a
loss, so that what was lost can be received again.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tidegate.reference import Digest
from tidegate.testing.images import Image
from tidegate.testing.layers import digest_of

DIGEST: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
"""What distribution's routes take for a digest; whether it is a good one is asked afterwards."""

Found = tuple[Digest, str, bytes]
"""A manifest: its digest, media type and bytes."""


@dataclass(slots=True)
class Repository:
    """What one repository has."""

    manifests: dict[Digest, str] = field(default_factory=dict)
    """Media types by digest."""
    tags: dict[str, Digest] = field(default_factory=dict)
    blobs: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something came into a repository; `media_type` is empty for a blob."""

    repository: str
    digest: Digest
    media_type: str = ""
    tag: str | None = None


class Storage:
    """Repositories over one store of bytes. Callbacks in `listeners` hear of each arrival, synchronously."""

    def __init__(self) -> None:
        self.contents: dict[Digest, bytes] = {}
        self.repositories: dict[str, Repository] = {}
        self.listeners: list[Callable[[Arrival], None]] = []
        self._media_types: dict[Digest, str] = {}

    def put_image(self, repository: str, image: Image, *, tag: str | None = None) -> None:
        """Everything an image needs, blobs first, then manifests from the bottom up."""
        for part in image.walk():
            for digest, content in part.blobs.items():
                self.put_blob(repository, digest, content)
            self.put_manifest(repository, part.manifest, part.media_type, tag=tag if part is image else None)

    def put_blob(self, repository: str, digest: Digest, content: bytes) -> None:
        """A blob, filed under the digest it is said to have."""
        self.contents[digest] = content
        self._repository(repository).blobs.add(digest)
        self._tell(Arrival(repository, digest))

    def put_manifest(self, repository: str, content: bytes, media_type: str, *, tag: str | None = None) -> Digest:
        """A manifest, and the tag that shall point to it."""
        digest = digest_of(content)
        self.contents[digest] = content
        self._media_types[digest] = media_type
        kept = self._repository(repository)
        kept.manifests[digest] = media_type
        if tag is not None:
            kept.tags[tag] = digest
        self._tell(Arrival(repository, digest, media_type, tag))
        return digest

    def lose(self, repository: str, *digests: Digest) -> None:
        """These manifests and blobs are gone from the repository; tags keep pointing, as they do in a lag."""
        kept = self.repositories.get(repository, Repository())
        for digest in digests:
            if digest not in kept.manifests and digest not in kept.blobs:
                raise KeyError(digest)
            kept.manifests.pop(digest, None)
            kept.blobs.discard(digest)

    def receive(self, repository: str, *digests: Digest) -> None:
        """What was lost, or what another repository has, is here again."""
        for digest in digests:
            content, media_type = self.contents[digest], self._media_types.get(digest)
            if media_type is None:
                self.put_blob(repository, digest, content)
            else:
                self.put_manifest(repository, content, media_type)

    def manifest(self, repository: str, reference: str) -> Found | None:
        """What is under a tag or digest; none if absent."""
        kept = self.repositories.get(repository)
        if kept is None:
            return None
        digest = Digest(reference) if DIGEST.fullmatch(reference) else kept.tags.get(reference)
        if digest is None or digest not in kept.manifests:
            return None
        return digest, kept.manifests[digest], self.contents[digest]

    def blob(self, repository: str, digest: Digest) -> bytes | None:
        """The bytes of a blob; none if this repository has it not."""
        kept = self.repositories.get(repository)
        return self.contents[digest] if kept is not None and digest in kept.blobs else None

    def everything(self) -> Iterator[Arrival]:
        """All that is here, blobs before manifests, as if it arrived now."""
        for name, kept in self.repositories.items():
            for digest in tuple(kept.blobs):
                yield Arrival(name, digest)
            tags = {digest: tag for tag, digest in kept.tags.items()}
            for digest, media_type in tuple(kept.manifests.items()):
                yield Arrival(name, digest, media_type, tags.get(digest))

    def take(self, arrival: Arrival, source: "Storage") -> None:
        """One arrival at another registry arrives here too."""
        content = source.contents[arrival.digest]
        if arrival.media_type:
            self.put_manifest(arrival.repository, content, arrival.media_type, tag=arrival.tag)
        else:
            self.put_blob(arrival.repository, arrival.digest, content)

    def _repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def _tell(self, arrival: Arrival) -> None:
        for listener in tuple(self.listeners):
            listener(arrival)
