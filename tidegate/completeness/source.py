"""What the walk asks of a replica, and the count of how often it asked."""

from typing import Protocol

from tidegate.reference import Digest


class Served(Protocol):
    """A manifest as a replica served it; `digest` is that of the bytes."""

    @property
    def body(self) -> bytes: ...
    @property
    def media_type(self) -> str: ...
    @property
    def digest(self) -> Digest: ...


class Source(Protocol):
    """One replica. `repository` is the path as image references have it; all raise `RegistryError`."""

    @property
    def name(self) -> str: ...

    async def manifest(self, repository: str, reference: str) -> Served:
        """By tag or digest; bytes that do not hash to the digest asked for are a `Mismatch`."""
        ...

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """False only for an authorised 404."""
        ...

    async def blob(self, repository: str, digest: Digest, *, most: int) -> bytes:
        """The content of a small blob, hashed; more than `most` bytes are `Unsupported`."""
        ...


class Tally:
    """A source that counts what one walk asks of it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.requests = 0

    @property
    def name(self) -> str:
        return self._source.name

    async def manifest(self, repository: str, reference: str) -> Served:
        self.requests += 1
        return await self._source.manifest(repository, reference)

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        self.requests += 1
        return await self._source.has_blob(repository, digest)

    async def blob(self, repository: str, digest: Digest, *, most: int) -> bytes:
        self.requests += 1
        return await self._source.blob(repository, digest, most=most)
