"""How containerd 2.4 speaks to a registry, as far as a registry and a budget can tell the difference.

Measured on the real one: tags and digests are resolved by HEAD; everything else is a GET, of which at most three are
open at once on a node, manifests included. A 429 or a 408 is answered by the same request again at once, five in all; a
500, 503 or 504 by one more. What still fails fails the pull. Credentials are sent after a Basic challenge only.
Not done here: bearer tokens, mirrors, resuming half a blob.
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import grpc

from tidegate.reference import Digest, InvalidReference, parse_digest
from tidegate.testing.runtime_store import Content, Ingest

ACCEPT = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*"
)
DOWNLOADS = 3
"""`max_concurrent_downloads`: since containerd 2.1 one limit for the whole node."""

TRIES = 5
_AGAIN = frozenset({408, 429})
_ONCE_MORE = frozenset({500, 503, 504})
_CHUNK = 1 << 16
_MOST_KEPT_BYTES = 8 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)


class PullFailed(Exception):
    """A pull ends with this gRPC code and text."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Repository:
    """Where one pull's requests go, and as whom."""

    host: str
    """As in the reference; told to the server as `ns`."""
    path: str
    base: str
    """`http://HOST:PORT` that answers for the host."""
    username: str = ""
    password: str = ""

    def url(self, kind: str, reference: str) -> str:
        """The address of a manifest (`manifests`) or blob (`blobs`)."""
        return f"{self.base}/v2/{self.path}/{kind}/{reference}?ns={self.host}"

    @property
    def authorization(self) -> str | None:
        """The header that answers a Basic challenge."""
        if not self.username:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Fetcher:
    """One node's connections to registries. Close it with `close`."""

    def __init__(self, *, downloads: int = DOWNLOADS) -> None:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        self._slots = asyncio.Semaphore(downloads)
        self.open = 0
        """Downloads that are open now."""
        self.peak = 0
        """The most that were ever open at once."""

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def resolve(self, repository: Repository, reference: str, *, image: str) -> tuple[Digest, str, int]:
        """What a tag or digest names, as (digest, media type, size). Raises PullFailed."""
        failed = "failed to resolve image: "
        kinds = ("manifests", "blobs") if reference.startswith("sha256:") else ("manifests",)
        for kind in kinds:
            url = repository.url(kind, reference)
            async with self._request(repository, "HEAD", url, failed=failed) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    continue
                media_type = answer.headers.get("Content-Type", "").partition(";")[0]
                told = reference if reference.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", "")
                try:
                    return parse_digest(told), media_type, answer.content_length or 0
                except InvalidReference:
                    break
        else:
            raise PullFailed(grpc.StatusCode.NOT_FOUND, f"{failed}{image}: not found")
        async with self._request(repository, "GET", url, failed=failed) as answer:
            body = await answer.content.read(_MOST_KEPT_BYTES)
        return Digest(f"sha256:{hashlib.sha256(body).hexdigest()}"), media_type, len(body)

    async def manifest(self, repository: Repository, digest: Digest, into: Ingest) -> Content:
        """A manifest, hashed, with its bytes. Raises PullFailed."""
        return await self._download(repository, "manifests", digest, into, keep=True)

    async def config(self, repository: Repository, digest: Digest, into: Ingest) -> Content:
        """A config, hashed, with its bytes. Raises PullFailed."""
        return await self._download(repository, "blobs", digest, into, keep=True)

    async def layer(self, repository: Repository, digest: Digest, into: Ingest) -> Content:
        """A layer, once all of it has come and been hashed; its bytes are thrown away. Raises PullFailed."""
        return await self._download(repository, "blobs", digest, into, keep=False)

    async def _download(
        self, repository: Repository, kind: str, digest: Digest, into: Ingest, *, keep: bool
    ) -> Content:
        hashed = hashlib.new(digest.partition(":")[0])
        kept, size = bytearray(), 0
        failed = "failed to copy: httpReadSeeker: failed open: "
        async with (
            self._slot(),
            self._request(repository, "GET", repository.url(kind, digest), failed=failed) as answer,
        ):
            if answer.status == HTTPStatus.NOT_FOUND:
                text = f"{failed}could not fetch content descriptor {digest} from remote: not found"
                raise PullFailed(grpc.StatusCode.NOT_FOUND, text)
            try:
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    hashed.update(chunk)
                    size += len(chunk)
                    into.add(len(chunk))
                    if keep and size <= _MOST_KEPT_BYTES:
                        kept += chunk
            except (aiohttp.ClientError, OSError) as exc:
                raise PullFailed(grpc.StatusCode.UNKNOWN, f"failed to copy: unexpected EOF: {exc}") from exc
        got = f"{hashed.name}:{hashed.hexdigest()}"
        if got != digest:
            text = f'failed commit on ref "{into.ref}": unexpected commit digest {got}, expected {digest}'
            raise PullFailed(grpc.StatusCode.FAILED_PRECONDITION, f"{text}: failed precondition")
        return Content(size, bytes(kept) if keep else None)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._slots:
            self.open += 1
            self.peak = max(self.peak, self.open)
            try:
                yield
            finally:
                self.open -= 1

    @asynccontextmanager
    async def _request(
        self, repository: Repository, method: str, url: str, *, failed: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer 200 or 404, after as many tries as containerd makes; anything else raises PullFailed."""
        answer = await self._insist(repository, method, url, failed=failed)
        try:
            if answer.status not in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
                text = f"{failed}unexpected status from {method} request to {url}: {answer.status} {answer.reason}"
                raise PullFailed(grpc.StatusCode.UNKNOWN, text)
            yield answer
        finally:
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()

    async def _insist(self, repository: Repository, method: str, url: str, *, failed: str) -> aiohttp.ClientResponse:
        headers = {"Accept": ACCEPT}
        seen: set[int] = set()
        for left in reversed(range(TRIES)):
            try:
                answer = await self._session.request(method, url, headers=headers)
            except (aiohttp.ClientError, OSError) as exc:
                text = f'{failed}failed to do request: {method.capitalize()} "{url}": {exc}'
                raise PullFailed(grpc.StatusCode.UNKNOWN, text) from exc
            challenged = answer.status == HTTPStatus.UNAUTHORIZED and _wants_basic(answer)
            once_more = answer.status in _ONCE_MORE and answer.status not in seen
            if not left or not (challenged or once_more or answer.status in _AGAIN):
                return answer
            answer.release()
            seen.add(answer.status)
            if challenged:
                headers["Authorization"] = _credential(repository, failed=failed)
        raise AssertionError  # the last try returned


def _wants_basic(answer: aiohttp.ClientResponse) -> bool:
    return answer.headers.get("WWW-Authenticate", "").lower().startswith("basic")


def _credential(repository: Repository, *, failed: str) -> str:
    header = repository.authorization
    if header is None:
        text = "pull access denied, repository does not exist or may require authorization"
        raise PullFailed(grpc.StatusCode.UNKNOWN, f"{failed}{text}: authorization failed: no basic auth credentials")
    return header
