"""A replica in memory, without a network, and a checker over some of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry

from tidegate.completeness import Checker, Memory, MemorySettings, Presence, walk
from tidegate.completeness.source import OnRequest, Source
from tidegate.findings import ImageFinding
from tidegate.metrics import Metrics
from tidegate.reference import Digest, ImageReference
from tidegate.registry.client import ManifestBytes
from tidegate.registry.errors import NotFound, RegistryError
from tidegate.replicas import RegistryReplicas, Replica
from tidegate.replicas.circuit import Circuit
from tidegate.testing.images import Image

HOST = "r.example"
PATH = "team/app"


class Shelf:
    """Serves the images it was given but for what is lost, counts what it is asked, and fails as it is told."""

    def __init__(
        self, *images: Image, name: str = "west", lost: Iterable[str] = (), tags: dict[str, str] | None = None
    ) -> None:
        self.registry = HOST
        self.name = name
        self.lost = set(lost)
        self.tags = dict(tags or {})
        self.calls: list[str] = []
        self.failures: dict[str, RegistryError] = {}
        self.failure: RegistryError | None = None
        self.delay_s = 0.0
        self.stalled = False
        self.pause_s = 0.0
        self._manifests = {part.digest: part for image in images for part in image.walk()}
        self._blobs = {digest: blob for image in images for digest, blob in image.all_blobs().items()}

    def add(self, image: Image) -> None:
        self._manifests |= {part.digest: part for part in image.walk()}
        self._blobs |= image.all_blobs()

    def asked(self) -> Counter[str]:
        return Counter(self.calls)

    def pause_left_s(self) -> float:
        return self.pause_s

    async def manifest(self, repository: str, reference: str, *, on_request: OnRequest | None = None) -> ManifestBytes:
        await self._answer(repository, reference, on_request)
        digest = self.tags.get(reference, reference)
        if digest not in self._manifests or digest in self.lost:
            message = f"manifest unknown: {reference}"
            raise NotFound(message, replica=self.name)
        image = self._manifests[Digest(digest)]
        return ManifestBytes(image.manifest, image.media_type, image.digest)

    async def has_blob(self, repository: str, digest: Digest, *, on_request: OnRequest | None = None) -> bool:
        await self._answer(repository, digest, on_request)
        return digest in self._blobs and digest not in self.lost

    async def blob(self, repository: str, digest: Digest, *, most: int, on_request: OnRequest | None = None) -> bytes:
        await self._answer(repository, digest, on_request)
        if digest not in self._blobs or digest in self.lost:
            message = f"blob unknown: {digest}"
            raise NotFound(message, replica=self.name)
        assert len(self._blobs[digest]) <= most
        return self._blobs[digest]

    async def _answer(self, repository: str, what: str, on_request: OnRequest | None) -> None:
        assert repository == PATH
        self.calls.append(what)
        if on_request is not None:
            on_request()
        if self.stalled:
            await asyncio.Event().wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if (failure := self.failures.get(what, self.failure)) is not None:
            raise failure


class Bench:
    """A checker over shelves, and what a test wants to turn."""

    def __init__(self, checker: Checker, replicas: dict[str, Replica], metrics: Metrics) -> None:
        self.checker = checker
        self.replicas = replicas
        self.metrics = metrics

    async def check(self, reference: str, *, within_s: float = 1.0) -> ImageFinding:
        deadline = asyncio.get_running_loop().time() + within_s
        return await self.checker.check(reference, ImageReference.parse(reference), deadline=deadline)

    def recall(self, reference: str) -> ImageFinding | None:
        return self.checker.recall(reference, ImageReference.parse(reference))


@pytest.fixture(scope="session")
def shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture(scope="session")
def look() -> Callable[..., Awaitable[Presence]]:
    """`await look(source, image, *platforms)` walks the image, for linux/amd64 unless told otherwise."""

    async def looking(source: Source, image: Image, *platforms: str, count: bool = True) -> Presence:
        return await walk(source, PATH, image.digest, platforms=platforms or ["linux/amd64"], count=count)

    return looking


@pytest.fixture
async def bench() -> AsyncIterator[Callable[..., Bench]]:
    """`bench(home=, local=, failover=)` with shelves."""
    async with AsyncExitStack() as stack:

        def build(
            *local: Shelf,
            home: Shelf | None = None,
            failover: Iterable[Shelf] = (),
            platforms: Iterable[str] = ("linux/amd64",),
        ) -> Bench:
            metrics = Metrics(CollectorRegistry(), program="test")
            now = asyncio.get_running_loop().time
            replicas = {
                client.name: Replica(client, circuit=Circuit(now=now), metrics=metrics, now=now)
                for client in {id(c): c for c in (*local, *([home] if home else []), *failover)}.values()
            }
            registry = RegistryReplicas(
                HOST,
                home=replicas[(home or local[0]).name],
                local=tuple(replicas[client.name] for client in local),
                failover=tuple(replicas[client.name] for client in failover),
            )
            memory = Memory(MemorySettings(), timer=now)
            checker = Checker({HOST: registry}, platforms=list(platforms), metrics=metrics, memory=memory)
            stack.push_async_callback(checker.aclose)
            return Bench(checker, replicas, metrics)

        yield build
