"""What the walk asks of a replica, and the count of how often it asked."""

from collections.abc import Callable
from typing import Protocol

from tidegate.reference import Digest

OnRequest = Callable[[], None]


class Served(Protocol):
    """A manifest as a replica served it; `digest` is that of the bytes."""

    @property
    def body(self) -> bytes: ...
    @property
    def media_type(self) -> str: ...
    @property
    def digest(self) -> Digest: ...


class Source(Protocol):
    """One replica. `repository` is the path as image references have it; all raise `RegistryError`.

    `on_request` is called once for each request that a call really sends: a call may need two, or a token too.
    """

    @property
    def name(self) -> str: ...

    async def manifest(self, repository: str, reference: str, *, on_request: OnRequest | None = None) -> Served:
        """By tag or digest; bytes that do not hash to the digest asked for are a `Mismatch`."""
        ...

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        """False only for an authorised 404."""
        ...

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        """The content of a small blob, hashed; more than `most` bytes are `Unsupported`."""
        ...


class Tally:
    """The same source, for one walk: counts the requests."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.requests = 0

    @property
    def name(self) -> str:
        return self._source.name

    async def manifest(self, repository: str, reference: str) -> Served:
        return await self._source.manifest(repository, reference, on_request=self._sent)

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        return await self._source.has_blob(repository, digest, on_request=self._sent)

    async def blob(self, repository: str, digest: Digest, *, most: int) -> bytes:
        return await self._source.blob(repository, digest, most=most, on_request=self._sent)

    def _sent(self) -> None:
        self.requests += 1
