"""The gate's own client and its walk against the double and against distribution: what they find is the same."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from tidegate.completeness import walk
from tidegate.config.registries import AnonymousAuth, AuthConfig, BasicAuth, LimitsConfig, ReplicaConfig
from tidegate.findings import Finding, Missing
from tidegate.metrics import Metrics
from tidegate.reference import Digest
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import NotFound, Unauthorized
from tidegate.testing.images import Family, Image, build_image, build_index
from tidegate.testing.layers import Packing, digest_of
from tidegate.testing.push import push_image

NOWHERE = digest_of(b"no registry has this")
PLATFORMS = ["linux/amd64"]


def client(url: str, *, auth: AuthConfig | None = None, repository: str = "{path}") -> ReplicaClient:
    return ReplicaClient(
        registry="registry.test",
        name="home",
        config=ReplicaConfig(endpoint=url, repository=repository),
        auth=[auth or AuthConfig(anonymous=AnonymousAuth())],
        token_hosts=[],
        limits=LimitsConfig(),
        metrics=Metrics(CollectorRegistry(), program="tests"),
    )


def user(name: str, password: str = "made-up") -> AuthConfig:
    return AuthConfig(basic=BasicAuth(username=name, password=password))  # type: ignore[arg-type]


@pytest.fixture
async def replica(registry: Any) -> AsyncIterator[ReplicaClient]:
    async with client(registry.url) as replica:
        yield replica


@pytest.fixture
def push(http: aiohttp.ClientSession, registry: Any, repository: str) -> Callable[..., Any]:
    async def push(image: Image, tag: str | None = "1") -> None:
        await push_image(http, registry.url, repository, image, tag=tag)

    return push


@pytest.fixture
def delete(http: aiohttp.ClientSession, registry: Any, repository: str) -> Callable[..., Any]:
    async def delete(kind: str, digest: Digest) -> None:
        async with http.delete(f"{registry.url}/v2/{repository}/{kind}/{digest}") as response:
            assert response.status == 202

    return delete


class TestQuestions:
    @pytest.mark.parametrize("by", ["tag", "digest"])
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(build_image(), id="oci"),
            pytest.param(build_image(family=Family.DOCKER), id="docker"),
            pytest.param(build_index([build_image()]), id="index"),
            pytest.param(build_index([build_image(family=Family.DOCKER)], family=Family.DOCKER), id="list"),
        ],
    )
    async def test_a_manifest(self, replica: ReplicaClient, repository: str, push: Any, image: Image, by: str) -> None:
        await push(image)

        found = await replica.manifest(repository, "1" if by == "tag" else image.digest)

        assert (found.body, found.media_type, found.digest) == (image.manifest, image.media_type, image.digest)

    @pytest.mark.parametrize("reference", ["9", NOWHERE], ids=["tag", "digest"])
    async def test_no_manifest(self, replica: ReplicaClient, repository: str, reference: str) -> None:
        with pytest.raises(NotFound):
            await replica.manifest(repository, reference)

    async def test_a_blob_is_there_or_not(self, replica: ReplicaClient, repository: str, push: Any) -> None:
        image = build_image()
        await push(image)

        assert await replica.has_blob(repository, image.layers[0])
        assert not await replica.has_blob(repository, NOWHERE)
        assert not await replica.has_blob(f"{repository}/other", image.layers[0])

    async def test_a_replica_that_renames(self, registry: Any, repository: str, push: Any) -> None:
        image = build_image()
        await push(image)
        parent, _, path = repository.partition("/")

        async with client(registry.url, repository=parent + "/{path}") as replica:
            assert (await replica.manifest(path, "1")).digest == image.digest


class TestCredentials:
    async def test_a_password(self, http: aiohttp.ClientSession, locked: str) -> None:
        image = build_image()
        header = {"Authorization": aiohttp.encode_basic_auth("reader", "made-up")}
        await push_image(http, locked, "team/app", image, tag="1", headers=header)

        async with client(locked, auth=user("reader")) as replica:
            assert (await replica.manifest("team/app", "1")).digest == image.digest
            assert not await replica.has_blob("team/app", NOWHERE)

    @pytest.mark.parametrize("auth", [user("reader", "wrong"), None], ids=["wrong", "none"])
    async def test_a_refusal_is_no_absence(self, locked: str, auth: AuthConfig | None) -> None:
        async with client(locked, auth=auth) as replica:
            with pytest.raises(Unauthorized):
                await replica.manifest("team/app", "1")
            with pytest.raises(Unauthorized):
                await replica.has_blob("team/app", NOWHERE)

    async def test_a_token(self, guarded: Any) -> None:
        async with client(guarded.url, auth=user("reader")) as replica:
            assert not await replica.has_blob("team/app", NOWHERE)
            with pytest.raises(NotFound):
                await replica.manifest("team/app", "1")

        assert guarded.tokens.issued == 1

    async def test_a_token_that_says_too_little_is_no_absence(self, guarded: Any) -> None:
        async with client(guarded.url, auth=user("reader")) as replica:
            with pytest.raises(Unauthorized):
                await replica.has_blob("secret/app", NOWHERE)


class TestWalks:
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(build_image(), id="oci"),
            pytest.param(build_image(family=Family.DOCKER), id="docker"),
            pytest.param(build_image(packing=Packing.ZSTD), id="zstd"),
            pytest.param(build_image(foreign=1), id="foreign"),
            pytest.param(build_index([build_image()], attestations=True), id="attestations"),
            pytest.param(build_index([build_index([build_image()])]), id="nested"),
            pytest.param(
                build_index([build_image(platform="linux/arm64", seed="arm"), build_image()], platforms=False),
                id="platform-in-the-config",
            ),
        ],
    )
    async def test_what_is_whole(self, replica: ReplicaClient, repository: str, push: Any, image: Image) -> None:
        await push(image)

        presence = await walk(replica, repository, image.digest, platforms=PLATFORMS, count=True)

        assert (presence.finding, presence.detail) == (Finding.OK, "")
        assert presence.digest == image.digest

    @pytest.mark.parametrize("count", [True, False])
    async def test_a_layer_is_gone(
        self, replica: ReplicaClient, repository: str, push: Any, delete: Any, *, count: bool
    ) -> None:
        image = build_image()
        await push(image)
        await delete("blobs", image.layers[1])

        presence = await walk(replica, repository, "1", platforms=PLATFORMS, count=count)

        assert presence.finding is Finding.INCOMPLETE
        if count:
            lost = len(image.blobs[image.layers[1]])
            assert presence.missing == Missing(manifests=0, blobs=1, bytes=lost, of_blobs=4)

    async def test_a_child_is_gone(self, replica: ReplicaClient, repository: str, push: Any, delete: Any) -> None:
        child = build_image()
        index = build_index([child])
        await push(index)
        await delete("manifests", child.digest)

        presence = await walk(replica, repository, index.digest, platforms=PLATFORMS, count=True)

        assert (presence.finding, presence.missing.manifests) == (Finding.INCOMPLETE, 1)

    async def test_what_other_platforms_lack_does_not_matter(
        self, replica: ReplicaClient, repository: str, push: Any, delete: Any
    ) -> None:
        arm = build_image(platform="linux/arm64", seed="arm")
        index = build_index([build_image(), arm])
        await push(index)
        await delete("manifests", arm.digest)
        await delete("blobs", arm.layers[0])

        presence = await walk(replica, repository, index.digest, platforms=PLATFORMS, count=True)

        assert presence.finding is Finding.OK

    async def test_nothing_there(self, replica: ReplicaClient, repository: str) -> None:
        presence = await walk(replica, repository, NOWHERE, platforms=PLATFORMS, count=True)

        assert presence.finding is Finding.ABSENT
