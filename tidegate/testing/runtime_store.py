"""What a container runtime remembers: images by the names it knows for them, and content by digest.

No I/O. Names are containerd's: a pull by tag registers `NAME:TAG`, `NAME@DIGEST` and the image's id; a pull by digest,
with or without a tag in front, `NAME@DIGEST` and the id. Presence is asked by reference, by id, and by the beginning of
an id.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tidegate.reference import Digest, ImageReference, InvalidReference

_SHORTEST_ID = 6


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of one blob: its size, and its bytes where they are read again (manifests and configs)."""

    size: int
    body: bytes | None = None


@dataclass(slots=True)
class Ingest:
    """Content that is coming in, or waits for a slot to do so."""

    ref: str
    total: int
    received: int = 0

    def add(self, size: int) -> None:
        """So many more bytes are here."""
        self.received += size


@dataclass(slots=True)
class StoredImage:
    """One image: its id is the digest of its config."""

    id: Digest
    tags: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    content: set[Digest] = field(default_factory=set)


def canonical(text: str) -> str:
    """The one spelling under which a runtime registers a reference. Raises InvalidReference.

    A digest wins over a tag beside it; without either the tag is `latest`.
    """
    reference = ImageReference.parse(text)
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}"
    return f"{reference.name}:{reference.tag or 'latest'}"


class RuntimeStore:
    """Images, their names, and content; content that no image and no running pull needs is collected."""

    def __init__(self) -> None:
        self.images: dict[Digest, StoredImage] = {}
        self.content: dict[Digest, Content] = {}
        self.ingests: dict[str, Ingest] = {}
        self.listeners: list[Callable[[str, str], None]] = []
        """Called with `create`, `update` or `delete` and the name that it is about."""
        self._names: dict[str, Digest] = {}
        self._leases: list[set[Digest]] = []

    @property
    def used_bytes(self) -> int:
        """What all content takes."""
        return sum(content.size for content in self.content.values())

    def size(self, image: StoredImage) -> int:
        """What one image's content takes."""
        return sum(self.content[digest].size for digest in image.content if digest in self.content)

    def find(self, text: str) -> StoredImage | None:
        """The image of this name, id or beginning of an id; None if there is none, or no such name can be."""
        try:
            found = self._names.get(canonical(text))
        except InvalidReference:
            found = None
        if found is not None:
            return self.images[found]
        wanted = text.removeprefix("sha256:")
        if len(wanted) < _SHORTEST_ID:
            return None
        matching = [image for image in self.images.values() if image.id.removeprefix("sha256:").startswith(wanted)]
        return matching[0] if len(matching) == 1 else None

    @contextmanager
    def ingest(self, kind: str, digest: Digest, total: int) -> Iterator[Ingest]:
        """Content is listed as coming in while the block runs."""
        ingest = self.ingests[digest] = Ingest(f"{kind}-{digest}", total)
        try:
            yield ingest
        finally:
            del self.ingests[digest]

    def lease(self) -> set[Digest]:
        """Content that is added to this set survives a collection until `release`."""
        lease: set[Digest] = set()
        self._leases.append(lease)
        return lease

    def release(self, lease: set[Digest]) -> None:
        """End a lease; what only it held goes with the next collection."""
        self._leases = [other for other in self._leases if other is not lease]

    def register(self, text: str, *, target: Digest, config: Digest, content: set[Digest]) -> StoredImage:
        """Name an image whose content is there; a tag moves here from whatever it named before."""
        image = self.images.setdefault(config, StoredImage(config))
        image.content |= content
        name = canonical(text)
        by_digest = f"{ImageReference.parse(text).name}@{target}"
        image.digests.add(by_digest)
        if name != by_digest:
            self._move(name, config)
            image.tags.add(name)
        self._move(config, config)
        self._move(by_digest, config)
        return image

    def remove(self, text: str) -> None:
        """Forget the image of this name with all its names, and its content; nothing to forget is no error."""
        image = self.find(text)
        if image is None:
            return
        del self.images[image.id]
        gone = [name for name, owner in self._names.items() if owner == image.id]
        self._names = {name: owner for name, owner in self._names.items() if owner != image.id}
        for name in gone:
            self._tell("delete", name)
        self.collect()

    def collect(self) -> None:
        """Drop all content that neither an image nor a lease needs."""
        needed = set[Digest]().union(*self._leases, *(image.content for image in self.images.values()))
        self.content = {digest: content for digest, content in self.content.items() if digest in needed}

    def _move(self, name: str, config: Digest) -> None:
        before = self._names.get(name)
        if before is not None and before != config:
            self.images[before].tags.discard(name)
            self.images[before].digests.discard(name)
        self._names[name] = config
        if before != config:
            self._tell("create" if before is None else "update", name)

    def _tell(self, kind: str, name: str) -> None:
        for listener in self.listeners:
            listener(kind, name)
