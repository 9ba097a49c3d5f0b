"""The images of one node, through its runtime's CRI v1 socket.

The one module that speaks to the generated stubs on the client's side. Every call is bounded; cancelling the task that
awaits one aborts it at the runtime too, which for a pull stops its downloads.
"""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from tidegate.cri import api_pb2, api_pb2_grpc
from tidegate.cri.errors import CriError, PullError, RuntimeUnavailable, classify

_GENERATED: Any = api_pb2_grpc  # has no types

DEFAULT_SOCKET = "unix:///run/containerd/containerd.sock"

_MOST_BYTES = 16 << 20
"""Of one answer, as kubelet allows: containerd lists all images of a node in a single message."""

CHANNEL = (
    ("grpc.max_receive_message_length", _MOST_BYTES),
    ("grpc.enable_http_proxy", 0),
    # A runtime restarts in a second; gRPC would else wait up to two minutes before it knocks again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credential:
    """Who to be at a registry. `server`: a URL with scheme that the credential is meant for; empty: any host."""

    username: str
    password: str = field(repr=False)
    server: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """What answers on the socket."""

    name: str
    version: str
    api_version: str


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image that the runtime holds, under all names that it knows for it."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class ImageFilesystem:
    """Where images lie, and what they take there. The capacity is statvfs's to tell: CRI has no field for it."""

    mountpoint: str
    used_bytes: int
    inodes_used: int


class _State(StrEnum):
    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class CriImages:
    """A client of CRI's image service. An async context manager, opened once.

    `socket` is a gRPC address like `unix:///run/containerd/containerd.sock`; `timeout_s` bounds every call but a pull,
    which names its own. Opening does not connect: the first call does, and raises RuntimeUnavailable if nobody answers.
    """

    def __init__(self, socket: str = DEFAULT_SOCKET, *, timeout_s: float = 10.0) -> None:
        self.socket = socket
        self._timeout_s = timeout_s
        self._state = _State.NEW
        self._channel: grpc.aio.Channel | None = None
        self._images: Any = None
        self._runtime: Any = None

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            message = f"this CRI client is {self._state}: make a new one"
            raise RuntimeError(message)
        self._channel = grpc.aio.insecure_channel(self.socket, options=CHANNEL)
        self._images = _GENERATED.ImageServiceStub(self._channel)
        self._runtime = _GENERATED.RuntimeServiceStub(self._channel)
        self._state = _State.OPEN
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._state = _State.CLOSED
        if self._channel is not None:
            await self._channel.close()

    async def present(self, image: str) -> bool:
        """Whether the runtime has an image under exactly this string, as kubelet asks. Raises CriError."""
        request = api_pb2.ImageStatusRequest(image=api_pb2.ImageSpec(image=image))
        answer = await self._ask(self._open(self._images).ImageStatus(request, timeout=self._timeout_s))
        return bool(answer.HasField("image") and answer.image.id)

    async def pull(self, image: str, auth: Credential | None = None, *, timeout: float) -> str:  # noqa: ASYNC109 it is the RPC's own deadline, which the runtime is told
        """Pull an image; its reference as the runtime returns it, which is not always its id. Raises PullError.

        `timeout` (seconds) travels with the call: when it has passed, the runtime stops too.
        """
        request = api_pb2.PullImageRequest(image=api_pb2.ImageSpec(image=image), auth=_auth(auth))
        with _as_pull_errors():
            answer = await self._open(self._images).PullImage(request, timeout=timeout)
        return str(answer.image_ref)

    async def remove(self, image: str) -> None:
        """Remove an image *with all its tags and digests*; one that is not there is no error. Raises CriError."""
        request = api_pb2.RemoveImageRequest(image=api_pb2.ImageSpec(image=image))
        await self._ask(self._open(self._images).RemoveImage(request, timeout=self._timeout_s))

    async def images(self) -> Sequence[StoredImage]:
        """All images of the node. Raises CriError."""
        answer = await self._ask(
            self._open(self._images).ListImages(api_pb2.ListImagesRequest(), timeout=self._timeout_s)
        )
        return [StoredImage(i.id, tuple(i.repo_tags), tuple(i.repo_digests), i.size) for i in answer.images]

    async def image_fs(self) -> Sequence[ImageFilesystem]:
        """The file systems that hold images: with containerd one. Raises CriError."""
        answer = await self._ask(
            self._open(self._images).ImageFsInfo(api_pb2.ImageFsInfoRequest(), timeout=self._timeout_s)
        )
        return [
            ImageFilesystem(usage.fs_id.mountpoint, usage.used_bytes.value, usage.inodes_used.value)
            for usage in answer.image_filesystems
        ]

    async def version(self) -> RuntimeVersion:
        """Who answers. Raises CriError."""
        answer = await self._ask(
            self._open(self._runtime).Version(api_pb2.VersionRequest(version="v1"), timeout=self._timeout_s)
        )
        return RuntimeVersion(answer.runtime_name, answer.runtime_version, answer.runtime_api_version)

    async def ready(self) -> bool:
        """Whether the runtime itself is ready; pulls do not need its pod network. Raises CriError."""
        answer = await self._ask(self._open(self._runtime).Status(api_pb2.StatusRequest(), timeout=self._timeout_s))
        return any(c.type == "RuntimeReady" and c.status for c in answer.status.conditions)

    def _open(self, stub: Any) -> Any:  # noqa: ANN401 the generated stubs have no types
        if self._state is not _State.OPEN:
            message = f"this CRI client is {self._state}: it answers inside `async with` only"
            raise RuntimeError(message)
        return stub

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            raise failure(exc) from exc


@contextmanager
def _as_pull_errors() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as exc:
        raise PullError(classify(exc.code(), exc.details() or ""), _words(exc)) from exc


def failure(exc: grpc.aio.AioRpcError) -> CriError:
    """What a failed call that is no pull means."""
    kind = RuntimeUnavailable if exc.code() in _AWAY else CriError
    return kind(_words(exc))


def _words(exc: grpc.aio.AioRpcError) -> str:
    return exc.details() or f"the runtime answered {exc.code().name} and no word"


def _auth(credential: Credential | None) -> Any:  # noqa: ANN401 the generated messages have no types
    if credential is None:
        return None
    return api_pb2.AuthConfig(
        username=credential.username, password=credential.password, server_address=credential.server
    )
