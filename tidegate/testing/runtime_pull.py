"""One pull, from a reference to an image in the store: resolve, manifests, config, layers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from tidegate.reference import Digest, ImageReference, InvalidReference, parse_digest
from tidegate.testing.runtime_fetch import Fetcher, PullFailed, Repository
from tidegate.testing.runtime_store import Content, Ingest, RuntimeStore, StoredImage, canonical

_INDEX_TYPES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_DEEPEST = 4

Fetch: TypeAlias = Callable[[Repository, Digest, Ingest], Awaitable[Content]]

COLLECT_AFTER_S = 0.05
"""How soon after a failed pull its layers are gone: containerd 2.4.2 had them after 20 ms, and not after 100 ms."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One descriptor: what is to be had, and its size as it was told."""

    kind: str
    digest: Digest
    size: int


class Puller:
    """Pulls into one store through one fetcher, for one platform (`os/architecture`)."""

    def __init__(self, store: RuntimeStore, fetcher: Fetcher, *, platform: str) -> None:
        self._store = store
        self._fetcher = fetcher
        self._os, self._architecture = platform.split("/")[:2]
        self._coming: dict[Digest, asyncio.Lock] = {}
        self._collecting: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Forget the collection that may be due."""
        if self._collecting is not None:
            self._collecting.cancel()

    async def pull(self, text: str, *, base: str | None, username: str = "", password: str = "") -> StoredImage:
        """Pull a reference from `base`; None: from a host that does not exist. Raises PullFailed."""
        try:
            name = canonical(text)
        except InvalidReference:
            message = f'failed to parse image reference "{text}": invalid reference format'
            raise PullFailed(grpc.StatusCode.UNKNOWN, message) from None
        reference = ImageReference.parse(name)
        wanted = reference.digest or reference.tag or ""
        try:
            repository = _repository(reference, wanted, base=base, username=username, password=password)
            return await self._pull(repository, name, wanted)
        except PullFailed as exc:
            raise PullFailed(exc.code, f'failed to pull and unpack image "{name}": {exc.text}') from exc

    async def _pull(self, repository: Repository, name: str, wanted: str) -> StoredImage:
        lease = self._store.lease()
        try:
            target, media_type, size = await self._fetcher.resolve(repository, wanted, image=name)
            if media_type == _SCHEMA1:
                message = "schema 1 image manifests are no longer supported: invalid argument"
                raise PullFailed(grpc.StatusCode.INVALID_ARGUMENT, message)  # noqa: TRY301 - the one way out
            config = await self._content_of(repository, _Wanted("manifest", target, size), media_type, lease)
            return self._store.register(name, target=target, config=config, content=set(lease))
        except BaseException:
            self._collect_soon()
            raise
        finally:
            self._store.release(lease)

    async def _content_of(self, repository: Repository, target: _Wanted, media_type: str, lease: set[Digest]) -> Digest:
        """Everything below a manifest; the digest of its config."""
        manifest = await self._manifest(repository, target, lease)
        for _ in range(_DEEPEST):
            if "manifests" not in manifest and manifest.get("mediaType", media_type) not in _INDEX_TYPES:
                break
            child = self._child(manifest, target.digest)
            manifest = await self._manifest(repository, child, lease)
        try:
            config = _wanted("config", manifest["config"])
            layers = [_wanted("layer", layer) for layer in manifest["layers"]]
        except (KeyError, TypeError, InvalidReference) as exc:
            raise PullFailed(grpc.StatusCode.UNKNOWN, f"failed to decode manifest: {exc!r}") from exc
        await self._have(repository, config, lease, self._fetcher.config)
        await self._layers(repository, layers, lease)
        return config.digest

    async def _manifest(self, repository: Repository, wanted: _Wanted, lease: set[Digest]) -> dict[str, Any]:
        content = await self._have(repository, wanted, lease, self._fetcher.manifest)
        try:
            manifest = json.loads(content.body or b"")
        except ValueError as exc:
            raise PullFailed(grpc.StatusCode.UNKNOWN, f"failed to decode manifest: {exc}") from exc
        if not isinstance(manifest, dict):
            raise PullFailed(grpc.StatusCode.UNKNOWN, "failed to decode manifest: not an object")
        return manifest

    def _child(self, index: dict[str, Any], target: Digest) -> _Wanted:
        for entry in index.get("manifests", []):
            platform = entry.get("platform", {})
            if platform.get("os") == self._os and platform.get("architecture") == self._architecture:
                return _wanted("manifest", entry)
        message = f"get image config descriptor: no match for platform in manifest {target}: not found"
        raise PullFailed(grpc.StatusCode.NOT_FOUND, message)

    async def _layers(self, repository: Repository, layers: list[_Wanted], lease: set[Digest]) -> None:
        """All layers; the first that fails stops the others."""
        first: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for layer in dict.fromkeys(layers):
                    fetching = self._have(repository, layer, lease, self._fetcher.layer)
                    tasks.create_task(fetching, name=f"layer {layer.digest}")
        except* PullFailed as failures:
            first = failures.exceptions[0]
        if first is not None:  # raised out here: Python before 3.11.4 wraps what an except* block raises in a group
            raise first

    async def _have(self, repository: Repository, wanted: _Wanted, lease: set[Digest], fetch: Fetch) -> Content:
        """Content from the store, or fetched into it; two pulls that want the same fetch it once."""
        digest = wanted.digest
        lease.add(digest)
        async with self._alone(digest):
            content = self._store.content.get(digest)
            if content is None:
                with self._store.ingest(wanted.kind, digest, wanted.size) as ingest:
                    content = self._store.content[digest] = await fetch(repository, digest, ingest)
            return content

    @asynccontextmanager
    async def _alone(self, digest: Digest) -> AsyncIterator[None]:
        lock = self._coming.setdefault(digest, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._coming.pop(digest, None)

    def _collect_soon(self) -> None:
        self.close()
        self._collecting = asyncio.get_running_loop().call_later(COLLECT_AFTER_S, self._store.collect)


def _wanted(kind: str, descriptor: dict[str, Any]) -> _Wanted:
    return _Wanted(kind, parse_digest(descriptor["digest"]), int(descriptor.get("size", 0)))


def _repository(
    reference: ImageReference, wanted: str, *, base: str | None, username: str, password: str
) -> Repository:
    if base is None:
        url = f"https://{reference.domain}/v2/{reference.path}/manifests/{wanted}"
        message = f'failed to resolve image: failed to do request: Head "{url}"'
        message += f": dial tcp: lookup {reference.domain}: no such host"
        raise PullFailed(grpc.StatusCode.UNKNOWN, message)
    return Repository(reference.domain, reference.path, base.rstrip("/"), username, password)
