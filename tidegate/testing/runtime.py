"""A container runtime in memory: it answers CRI v1 on a unix socket, and really downloads.

    async with RuntimeDouble(registries={"registry.test": replica.url}) as runtime:
        async with CriImages(runtime.socket) as images:
            await images.pull("registry.test/app:1", timeout=30)

To a registry it looks like containerd 2.4 (see `runtime_fetch`), to its client too: codes and texts are containerd's.
One conformance suite holds both to that. Layers are hashed and thrown away, so a large image costs no memory. Nothing
is unpacked and nothing runs.
"""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, TypeAlias

import grpc
import grpc.aio

from tidegate.cri import api_pb2, api_pb2_grpc
from tidegate.reference import ImageReference, InvalidReference
from tidegate.testing.runtime_containerd import services
from tidegate.testing.runtime_fetch import DOWNLOADS, Fetcher, PullFailed
from tidegate.testing.runtime_pull import Puller
from tidegate.testing.runtime_store import RuntimeStore, StoredImage

_GENERATED: Any = api_pb2_grpc  # has no types

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class RuntimeDouble:
    """One node's runtime. An async context manager, opened once; what it holds is gone when it closes.

    `registries` maps hosts, as references write them, to the base URL (`http://HOST:PORT`) that answers for them. It is
    looked at anew by each pull: change the mapping that was passed in, and the node pulls from elsewhere.
    """

    def __init__(
        self, *, registries: Mapping[str, str], platform: str = "linux/amd64", downloads: int = DOWNLOADS
    ) -> None:
        self.registries = registries
        self._platform = platform
        self._downloads = downloads
        self._stack = AsyncExitStack()
        self._folder: Path | None = None
        self._fetcher: Fetcher | None = None

    async def __aenter__(self) -> Self:
        if self._folder is not None:
            message = "this runtime was opened before: make a new one"
            raise RuntimeError(message)
        async with AsyncExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="runtime-"))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._fetcher = Fetcher(downloads=self._downloads)
            stack.push_async_callback(self._fetcher.close)
            store = RuntimeStore()
            puller = Puller(store, self._fetcher, platform=self._platform)
            stack.callback(puller.close)
            server = grpc.aio.server()
            _GENERATED.add_ImageServiceServicer_to_server(
                _Images(store, puller, self.registries, mountpoint=str(self._folder)), server
            )
            _GENERATED.add_RuntimeServiceServicer_to_server(_Runtime(), server)
            server.add_generic_rpc_handlers(services(store))
            server.add_insecure_port(self.socket)
            await server.start()
            stack.push_async_callback(server.stop, grace=None)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def socket(self) -> str:
        """The CRI socket as gRPC addresses it."""
        if self._folder is None:
            message = "this runtime has no socket before it is opened"
            raise RuntimeError(message)
        return f"unix://{self._folder}/cri.sock"

    @property
    def open_downloads(self) -> int:
        """Downloads that are open now."""
        return self._fetcher.open if self._fetcher is not None else 0

    @property
    def peak_downloads(self) -> int:
        """The most downloads that were ever open at once."""
        return self._fetcher.peak if self._fetcher is not None else 0


class _Images:
    """`runtime.v1.ImageService`. Method names are the protocol's."""

    def __init__(self, store: RuntimeStore, puller: Puller, registries: Mapping[str, str], *, mountpoint: str) -> None:
        self._store = store
        self._puller = puller
        self._registries = registries
        self._mountpoint = mountpoint

    async def ListImages(  # noqa: N802 - the protocol's name
        self, request: api_pb2.ListImagesRequest, context: Context
    ) -> api_pb2.ListImagesResponse:
        """All images; the filter is ignored, as containerd does."""
        del request, context
        return api_pb2.ListImagesResponse(images=[self._shown(image) for image in self._store.images.values()])

    async def ImageStatus(  # noqa: N802 - the protocol's name
        self, request: api_pb2.ImageStatusRequest, context: Context
    ) -> api_pb2.ImageStatusResponse:
        """One image, or an answer without one."""
        del context
        image = self._store.find(request.image.image)
        return api_pb2.ImageStatusResponse(image=None if image is None else self._shown(image))

    async def PullImage(  # noqa: N802 - the protocol's name
        self, request: api_pb2.PullImageRequest, context: Context
    ) -> api_pb2.PullImageResponse:
        """Download what is not there yet; a client that goes away stops it."""
        image = request.image.image
        try:
            base = self._registries.get(ImageReference.parse(image).domain)
        except InvalidReference:
            base = None  # the puller says so in containerd's words
        try:
            stored = await self._puller.pull(
                image, base=base, username=request.auth.username, password=request.auth.password
            )
        except PullFailed as exc:
            await context.abort(exc.code, exc.text)
            raise  # abort has raised already
        return api_pb2.PullImageResponse(image_ref=stored.id)

    async def RemoveImage(  # noqa: N802 - the protocol's name
        self, request: api_pb2.RemoveImageRequest, context: Context
    ) -> api_pb2.RemoveImageResponse:
        """All names of the image go with it."""
        del context
        self._store.remove(request.image.image)
        return api_pb2.RemoveImageResponse()

    async def ImageFsInfo(  # noqa: N802 - the protocol's name
        self, request: api_pb2.ImageFsInfoRequest, context: Context
    ) -> api_pb2.ImageFsInfoResponse:
        """One file system, which exists."""
        del request, context
        usage = api_pb2.FilesystemUsage(
            fs_id=api_pb2.FilesystemIdentifier(mountpoint=self._mountpoint),
            used_bytes=api_pb2.UInt64Value(value=self._store.used_bytes),
            inodes_used=api_pb2.UInt64Value(value=len(self._store.content)),
        )
        return api_pb2.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])

    def _shown(self, image: StoredImage) -> api_pb2.Image:
        return api_pb2.Image(
            id=image.id,
            repo_tags=sorted(image.tags),
            repo_digests=sorted(image.digests),
            size=self._store.size(image),
        )


class _Runtime:
    """`runtime.v1.RuntimeService`, as far as who is there."""

    async def Version(  # noqa: N802 - the protocol's name
        self, request: api_pb2.VersionRequest, context: Context
    ) -> api_pb2.VersionResponse:
        """Which runtime, and which CRI it speaks."""
        del request, context
        return api_pb2.VersionResponse(
            version="0.1.0", runtime_name="tidegate-double", runtime_version="2.4.2", runtime_api_version="v1"
        )

    async def Status(  # noqa: N802 - the protocol's name
        self, request: api_pb2.StatusRequest, context: Context
    ) -> api_pb2.StatusResponse:
        """Always ready, with no network for pods."""
        del request, context
        conditions = [
            api_pb2.RuntimeCondition(type="RuntimeReady", status=True),
            api_pb2.RuntimeCondition(type="NetworkReady", status=False, reason="NetworkPluginNotReady"),
        ]
        return api_pb2.StatusResponse(status=api_pb2.RuntimeStatus(conditions=conditions))
