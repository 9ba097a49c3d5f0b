"""The replicas of a configuration, opened, over real HTTP to registries in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry

from tidegate.completeness import Checker
from tidegate.config import ConfigError, parse
from tidegate.config.registries import AuthConfig, CredentialProviderAuth
from tidegate.findings import Finding, ImageFinding
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.errors import Mismatch, NotFound, Unsupported
from tidegate.replicas import open_registries
from tidegate.testing.images import build_image, build_index
from tidegate.testing.registry import Answer, RegistryDouble

PATH = "team/app"
AMD64 = build_image(layers=29, layer_bytes=600)
IMAGE = build_index([AMD64, build_image(platform="linux/arm64")], attestations=True)
PINNED = f"r.example/{PATH}@{IMAGE.digest}"


class World:
    """Home and local on loopback, and the configuration that names them."""

    def __init__(self, home: RegistryDouble, west: RegistryDouble) -> None:
        self.home = home
        self.west = west
        self.metrics = Metrics(CollectorRegistry(), program="test")
        self.config = parse(f"""
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: r.example
    home: home
    local: west
    failover: [home]
    replicas:
      home: {{endpoint: "{home.url}"}}
      west: {{endpoint: "{west.url}"}}
      spare: {{endpoint: "{home.url}"}}
  - host: other.example
    replicas: {{only: {{endpoint: "{home.url}", repository: "mirror/{{path}}"}}}}
""")

    async def check(self, checker: Checker, reference: str, *, within_s: float = 8.0) -> ImageFinding:
        deadline = asyncio.get_running_loop().time() + within_s
        return await checker.check(reference, ImageReference.parse(reference), deadline=deadline)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with RegistryDouble() as home, RegistryDouble() as west:
        yield World(home, west)


@pytest.fixture
async def checker(world: World) -> AsyncIterator[Checker]:
    async with AsyncExitStack() as stack:
        registries = await stack.enter_async_context(open_registries(world.config, metrics=world.metrics))
        checker = Checker(registries, platforms=["linux/amd64"], metrics=world.metrics)
        stack.push_async_callback(checker.aclose)
        yield checker


async def test_replicas_by_what_they_are_for(world: World) -> None:
    async with open_registries(world.config, metrics=world.metrics) as registries:
        assert list(registries) == ["r.example", "other.example"]
        registry = registries["r.example"]
        assert (registry.host, registry.home.name) == ("r.example", "home")
        assert [replica.name for replica in registry.local] == ["west"]
        assert registry.failover == (registry.home,)
        assert [replica.name for replica in registry.others] == ["spare"]
        assert [replica.name for replica in registry.every] == ["home", "west", "spare"]
        only = registries["other.example"]
        assert (only.local, only.failover, only.others) == ((only.home,), (), ())


async def test_plugins_that_are_not_there_are_named_by_their_place_in_the_file(world: World) -> None:
    registry = world.config.registries[1]
    plugins = AuthConfig(credentialProvider=CredentialProviderAuth(config="/nowhere/c.yaml", binDir="/nowhere"))
    changed = registry.model_copy(update={"auth": [*registry.auth, plugins]})
    config = world.config.model_copy(update={"registries": [world.config.registries[0], changed]})
    place = r"^registries\[1\]\.auth\[1\]\.credentialProvider: /nowhere/c\.yaml: No such file"
    with pytest.raises(ConfigError, match=place):
        async with open_registries(config, metrics=world.metrics):
            pass


async def test_closed_replicas_are_closed(world: World) -> None:
    async with open_registries(world.config, metrics=world.metrics) as registries:
        west = registries["r.example"].local[0]
    with pytest.raises(RuntimeError):
        await west.manifest(PATH, IMAGE.digest)


async def test_a_thousand_checks_of_a_cold_image_are_few_requests_on_the_wire(world: World, checker: Checker) -> None:
    world.west.put(PATH, IMAGE)
    found = await asyncio.gather(*(world.check(checker, PINNED) for _ in range(1000)))
    assert {one.finding for one in found} == {Finding.OK}
    assert world.west.count() == 32
    assert found[0].replicas[0].requests == 32
    assert world.home.count() == 0


async def test_a_blob_that_has_not_arrived_and_then_has(world: World, checker: Checker) -> None:
    lost = AMD64.layers[3]
    world.home.put(PATH, IMAGE)
    world.west.put(PATH, IMAGE, without={lost})
    found = await world.check(checker, PINNED)
    assert (found.finding, found.replica, found.missing.blobs, found.missing.of_blobs) == (
        Finding.INCOMPLETE, "west", 1, 30,
    )  # fmt: skip
    assert world.home.count() == 0


async def test_presence_is_per_repository(world: World, checker: Checker) -> None:
    world.west.put("another/app", IMAGE)
    assert (await world.check(checker, PINNED)).finding is Finding.ABSENT


async def test_a_replica_may_rename(world: World, checker: Checker) -> None:
    world.home.put(f"mirror/{PATH}", AMD64)
    found = await world.check(checker, f"other.example/{PATH}@{AMD64.digest}")
    assert found.finding is Finding.OK


async def test_other_bytes_under_a_digest(world: World, checker: Checker) -> None:
    world.west.put(PATH, IMAGE)
    world.west.fault(lies={AMD64.digest: IMAGE.manifest})
    assert (await world.check(checker, PINNED)).finding is Finding.MISMATCH


async def test_a_broken_local_replica_gives_way_to_its_failover(world: World, checker: Checker) -> None:
    world.home.put(PATH, IMAGE)
    world.west.fault(answers=(Answer(status=503),))
    found = await world.check(checker, PINNED)
    assert (found.finding, found.replica) == (Finding.OK, "home")


async def test_a_platform_that_only_the_config_knows(world: World, checker: Checker) -> None:
    index = build_index([build_image(platform="linux/arm64"), AMD64], platforms=False)
    world.west.put(PATH, index)
    found = await world.check(checker, f"r.example/{PATH}@{index.digest}")
    assert (found.finding, found.missing.of_blobs) == (Finding.OK, 30)
    assert world.west.count(method="GET") == 1 + 2 + 2  # the index, two manifests, two configs


async def test_a_small_blob_is_fetched_hashed_and_bounded(world: World) -> None:
    world.west.put(PATH, AMD64)
    config = AMD64.config
    async with open_registries(world.config, metrics=world.metrics) as registries:
        west = registries["r.example"].local[0]
        assert await west.blob(PATH, config, most=1 << 20) == AMD64.blobs[config]
        with pytest.raises(Unsupported):
            await west.blob(PATH, config, most=10)
        with pytest.raises(NotFound):
            await west.blob("team/other", config, most=1 << 20)
        world.west.fault(lies={config: b"{}"})
        with pytest.raises(Mismatch):
            await west.blob(PATH, config, most=1 << 20)


async def test_a_replica_may_sit_under_a_path(world: World) -> None:
    async with RegistryDouble() as nobody:
        asked = f"{nobody.url}/artifactory/docker"
        config = parse(f"""
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: r.example
    replicas: {{under: {{endpoint: "{asked}/", repository: "mirror/{{path}}"}}}}
""")
        async with open_registries(config, metrics=world.metrics) as registries:
            under = registries["r.example"].home
            with pytest.raises(NotFound):
                await under.manifest(PATH, AMD64.digest)
            await under.has_blob(PATH, AMD64.config)
            await under.probe()
        assert [request.path for request in nobody.requests] == [
            f"/artifactory/docker/v2/mirror/{PATH}/manifests/{AMD64.digest}",
            f"/artifactory/docker/v2/mirror/{PATH}/blobs/{AMD64.config}",
            "/artifactory/docker/v2/",
        ]
