"""The runtime double: what it has in common with containerd, and what only a double does."""

import asyncio
import tracemalloc
from pathlib import Path

import pytest

from tidegate.cri import CriImages, PullError
from tidegate.kube.own import Reason
from tidegate.testing.images import OCI_MANIFEST, Image, build_image, build_index
from tidegate.testing.registry import Cut, RegistryDouble, Stall
from tidegate.testing.runtime import RuntimeDouble
from tidegate.testing.runtime_conformance import RuntimeConformance
from tidegate.testing.runtime_conformance_containerd import ContainerdConformance


class TestDouble(RuntimeConformance, ContainerdConformance):
    pass


async def test_a_host_that_nobody_configured_does_not_exist() -> None:
    async with RuntimeDouble(registries={}) as runtime, CriImages(runtime.socket) as images:
        with pytest.raises(PullError, match="no such host") as caught:
            await images.pull("registry.test/app:1", timeout=5)
        assert caught.value.reason is Reason.OTHER


async def test_a_registry_that_is_down_fails_the_pull() -> None:
    registries = {"registry.test": "http://127.0.0.1:1"}
    async with RuntimeDouble(registries=registries) as runtime, CriImages(runtime.socket) as images:
        with pytest.raises(PullError, match="failed to do request: Head") as caught:
            await images.pull("registry.test/app:1", timeout=5)
        assert caught.value.reason is Reason.OTHER


async def test_a_download_that_breaks_off_fails_the_pull() -> None:
    image = build_image()
    async with RegistryDouble() as replica:
        replica.put("app", image, tag="1")
        replica.fault(cuts=(Cut(path=f"/blobs/{image.layers[0]}", after=100),))
        registries = {"registry.test": replica.url}
        async with RuntimeDouble(registries=registries) as runtime, CriImages(runtime.socket) as images:
            with pytest.raises(PullError, match="unexpected EOF"):
                await images.pull("registry.test/app:1", timeout=5)
            replica.fault(cuts=())
            await images.pull("registry.test/app:1", timeout=5)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(b"<html>", id="no-json"),
        pytest.param(b"[]", id="no-object"),
        pytest.param(b'{"schemaVersion": 2}', id="no-config"),
        pytest.param(b'{"config": {"digest": "sha256:short"}, "layers": []}', id="no-digest"),
    ],
)
async def test_a_manifest_that_is_none_fails_the_pull(manifest: bytes) -> None:
    async with RegistryDouble() as replica:
        replica.put("app", Image(manifest, OCI_MANIFEST), tag="1")
        registries = {"registry.test": replica.url}
        async with RuntimeDouble(registries=registries) as runtime, CriImages(runtime.socket) as images:
            with pytest.raises(PullError, match="failed to decode manifest"):
                await images.pull("registry.test/app:1", timeout=5)


async def test_a_host_is_looked_up_anew_by_each_pull() -> None:
    image = build_image()
    async with RegistryDouble() as first, RegistryDouble() as second:
        second.put("app", image, tag="1")
        registries = {"registry.test": first.url}
        async with RuntimeDouble(registries=registries) as runtime, CriImages(runtime.socket) as images:
            with pytest.raises(PullError):
                await images.pull("registry.test/app:1", timeout=5)
            registries["registry.test"] = second.url
            await images.pull("registry.test/app:1", timeout=5)


async def test_it_pulls_for_the_platform_that_it_is_told() -> None:
    arm = build_image(platform="linux/arm64", seed="arm")
    async with RegistryDouble() as replica:
        replica.put("app", build_index([build_image(), arm]), tag="1")
        registries = {"registry.test": replica.url}
        async with (
            RuntimeDouble(registries=registries, platform="linux/arm64") as runtime,
            CriImages(runtime.socket) as images,
        ):
            assert await images.pull("registry.test/app:1", timeout=5) == arm.config


async def test_the_number_of_downloads_can_be_set() -> None:
    image = build_image(layers=6)
    async with RegistryDouble() as replica:
        replica.put("app", image, tag="1")
        replica.fault(latency_s=0.01)
        registries = {"registry.test": replica.url}
        async with RuntimeDouble(registries=registries, downloads=1) as runtime, CriImages(runtime.socket) as images:
            await images.pull("registry.test/app:1", timeout=5)
            assert (runtime.peak_downloads, runtime.open_downloads) == (1, 0)


async def test_layers_cost_no_memory() -> None:
    image = build_image(layers=4, layer_bytes=4 << 20)
    async with RegistryDouble() as replica:
        replica.put("app", image, tag="1")
        async with (
            RuntimeDouble(registries={"registry.test": replica.url}) as runtime,
            CriImages(runtime.socket) as images,
        ):
            tracemalloc.start()
            try:
                await images.pull("registry.test/app:1", timeout=20)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert held < 4 << 20


async def test_closing_ends_what_is_being_pulled_and_leaves_no_file() -> None:
    image = build_image()
    async with RegistryDouble() as replica:
        replica.put("app", image, tag="1")
        replica.fault(stalls=(Stall(path="/blobs/"),))
        async with RuntimeDouble(registries={"registry.test": replica.url}) as runtime:
            socket = Path(runtime.socket.removeprefix("unix://"))
            assert await asyncio.to_thread(socket.is_socket)
            async with CriImages(runtime.socket) as images:
                pull = asyncio.create_task(images.pull("registry.test/app:1", timeout=20))
                await replica.record.until(lambda record: len(record.matching("/blobs/")) > 0)
                await runtime.__aexit__(None, None, None)
                with pytest.raises(PullError):
                    await pull
        await replica.record.until(lambda record: record.in_flight == 0)
        assert not await asyncio.to_thread(socket.parent.exists)


async def test_it_is_opened_once() -> None:
    runtime = RuntimeDouble(registries={})
    with pytest.raises(RuntimeError, match="no socket"):
        _ = runtime.socket
    async with runtime:
        pass
    with pytest.raises(RuntimeError, match="opened before"):
        await runtime.__aenter__()
