"""The client's own guarantees: bounds, states, and what it raises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from tidegate.cri import Credential, CriError, CriImages, PullError, RuntimeUnavailable, api_pb2, api_pb2_grpc
from tidegate.kube.own import Reason

ANSWERS: Any = api_pb2  # the generated messages have no types


class Scripted:
    """An image service that says what it is told to, after it has seen `go`."""

    def __init__(self) -> None:
        self.listed = 0
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.asked: list[Any] = []
        self.arrived = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.canceled = asyncio.Event()

    async def ListImages(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        await self._asked(request, context)
        image = ANSWERS.Image(id="sha256:" + "1" * 64, repo_tags=["registry.test/" + "n" * 1000])
        return ANSWERS.ListImagesResponse(images=[image] * self.listed)

    async def ImageStatus(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        await self._asked(request, context)
        return ANSWERS.ImageStatusResponse(image=ANSWERS.Image())

    async def PullImage(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        await self._asked(request, context)
        return ANSWERS.PullImageResponse(image_ref="sha256:ref")

    async def _asked(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        self.arrived.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.canceled.set()
            raise
        if self.failure is not None:
            await context.abort(*self.failure)

    RemoveImage = ImageFsInfo = ListImages


@pytest.fixture
async def socket(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/cri.sock"


@pytest.fixture
async def service(socket: str) -> AsyncIterator[Scripted]:
    async with serving(socket) as scripted:
        yield scripted


@contextlib.asynccontextmanager
async def serving(socket: str) -> AsyncIterator[Scripted]:
    server, scripted = grpc.aio.server(), Scripted()
    api_pb2_grpc.add_ImageServiceServicer_to_server(scripted, server)
    server.add_insecure_port(socket)
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(None)


async def test_nobody_on_the_socket_is_an_unavailable_runtime(socket: str) -> None:
    async with CriImages(socket) as images:
        with pytest.raises(RuntimeUnavailable):
            await images.present("registry.test/app:1")
        with pytest.raises(PullError) as caught:
            await images.pull("registry.test/app:1", timeout=1)
        assert caught.value.reason is Reason.OTHER


async def test_a_runtime_that_comes_back_is_found_again(socket: str) -> None:
    async with CriImages(socket) as images:
        with pytest.raises(RuntimeUnavailable):
            await images.images()
        async with serving(socket), asyncio.timeout(5):
            while True:
                with contextlib.suppress(RuntimeUnavailable):
                    assert await images.images() == []
                    return
                await asyncio.sleep(0.02)


async def test_a_runtime_that_hangs_is_left_after_the_bound(socket: str, service: Scripted) -> None:
    service.go.clear()
    async with CriImages(socket, timeout_s=0.05) as images:
        with pytest.raises(RuntimeUnavailable):
            await images.present("registry.test/app:1")
        async with asyncio.timeout(5):
            await service.canceled.wait()


async def test_any_other_failure_is_an_error_with_the_runtimes_words(socket: str, service: Scripted) -> None:
    service.failure = (grpc.StatusCode.INTERNAL, "metadata: bolt is broken")
    async with CriImages(socket) as images:
        with pytest.raises(CriError, match="bolt is broken") as caught:
            await images.present("registry.test/app:1")
        assert not isinstance(caught.value, RuntimeUnavailable)


async def test_a_status_without_an_id_is_an_absent_image(socket: str, service: Scripted) -> None:
    async with CriImages(socket) as images:
        assert not await images.present("registry.test/app:1")
    assert service.asked[0].image.image == "registry.test/app:1"


async def test_a_list_of_eight_mebibytes_is_read(socket: str, service: Scripted) -> None:
    service.listed = 8 << 10
    async with CriImages(socket) as images:
        assert len(await images.images()) == 8 << 10


async def test_a_list_over_sixteen_mebibytes_is_an_error(socket: str, service: Scripted) -> None:
    service.listed = 17 << 10
    async with CriImages(socket) as images:
        with pytest.raises(CriError):
            await images.images()


async def test_a_credential_travels_with_its_host_and_shows_in_no_repr(socket: str, service: Scripted) -> None:
    credential = Credential("reader", "made-up", "https://registry.test")
    async with CriImages(socket) as images:
        assert await images.pull("registry.test/app:1", credential, timeout=5) == "sha256:ref"
        await images.pull("registry.test/app:1", timeout=5)
    auth = service.asked[0].auth
    assert (auth.username, auth.password, auth.server_address) == ("reader", "made-up", "https://registry.test")
    assert not service.asked[1].HasField("auth")
    assert "made-up" not in repr(credential)


async def test_cancelling_the_caller_cancels_the_call(socket: str, service: Scripted) -> None:
    service.go.clear()
    async with CriImages(socket) as images:
        pull = asyncio.create_task(images.pull("registry.test/app:1", timeout=60))
        async with asyncio.timeout(5):
            await service.arrived.wait()
            pull.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pull
            await service.canceled.wait()


async def test_it_is_used_between_opening_and_closing_only(socket: str) -> None:
    images = CriImages(socket)
    with pytest.raises(RuntimeError, match="new"):
        await images.present("registry.test/app:1")
    async with images:
        with pytest.raises(RuntimeError, match="open"):
            await images.__aenter__()
    with pytest.raises(RuntimeError, match="closed"):
        await images.version()
    with pytest.raises(RuntimeError, match="closed"):
        await images.__aenter__()
