"""What containerd tells beside CRI, on the same socket: downloads under way, stored manifests, events of images.

CRI knows no progress, and ImageFsInfo no more: its figure is ten seconds old at worst and leaves out what has not been
unpacked. containerd's content service lists each download with its bytes, kubelet's as well as ours. Other runtimes
answer `Unimplemented`, which is NotContainerd here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeVar

import grpc
import grpc.aio

from tidegate.cri import containerd_pb2 as messages
from tidegate.cri.client import CHANNEL, DEFAULT_SOCKET, failure
from tidegate.cri.errors import CriError
from tidegate.reference import Digest, ImageReference, InvalidReference

LIST_STATUSES = "/containerd.services.content.v1.Content/ListStatuses"
READ = "/containerd.services.content.v1.Content/Read"
SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"

NAMESPACE = "k8s.io"
"""Where CRI keeps images in containerd."""

_METADATA = (("containerd-namespace", NAMESPACE),)
_TOPICS = {"/images/create": "create", "/images/update": "update", "/images/delete": "delete"}
_END_S = 1.0
_MOST_MANIFEST_BYTES = 4 << 20

T = TypeVar("T")


class NotContainerd(CriError):
    """The runtime on this socket has no such service."""


@dataclass(frozen=True, slots=True)
class Download:
    """One manifest, config or layer that is coming in, or waits for one of the node's download slots."""

    ref: str
    received: int
    total: int

    @property
    def digest(self) -> str:
        """Of the content: refs are `layer-sha256:…`, `manifest-sha256:…`, `config-sha256:…`."""
        return self.ref.partition("-")[2]


@dataclass(frozen=True, slots=True)
class ImageEvent:
    """One name of an image came (`create`), moved (`update`) or went (`delete`)."""

    kind: str
    name: str


class Containerd:
    """A client of containerd's own services. An async context manager; opening does not connect."""

    def __init__(self, socket: str = DEFAULT_SOCKET, *, timeout_s: float = 10.0) -> None:
        self._socket = socket
        self._timeout_s = timeout_s
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._socket, options=CHANNEL)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def downloads(self) -> Sequence[Download]:
        """All that is under way on the node, whoever asked for it. Raises CriError."""
        call = self._open().unary_unary(
            LIST_STATUSES,
            request_serializer=messages.ListStatusesRequest.SerializeToString,
            response_deserializer=messages.ListStatusesResponse.FromString,
        )
        answer = await _ask(call(messages.ListStatusesRequest(), metadata=_METADATA, timeout=self._timeout_s))
        return [Download(status.ref, status.offset, status.total) for status in answer.statuses]

    async def manifest(self, digest: Digest) -> bytes | None:
        """A manifest that is stored; None when it is not. Raises CriError."""
        call = self._open().unary_stream(
            READ,
            request_serializer=messages.ReadContentRequest.SerializeToString,
            response_deserializer=messages.ReadContentResponse.FromString,
        )
        body = bytearray()
        request = messages.ReadContentRequest(digest=digest, size=0)
        try:
            async for part in call(request, metadata=_METADATA, timeout=self._timeout_s):
                body += part.data
                if len(body) > _MOST_MANIFEST_BYTES:
                    return None
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise _failure(exc) from exc
        return bytes(body)

    async def events(self) -> AsyncIterator[ImageEvent]:
        """Events of images from now on, until the runtime goes: then CriError is raised. Waits without a bound."""
        call = self._open().unary_stream(
            SUBSCRIBE,
            request_serializer=messages.SubscribeRequest.SerializeToString,
            response_deserializer=messages.Envelope.FromString,
        )
        request = messages.SubscribeRequest(filters=[f'namespace=={NAMESPACE},topic~="^/images/"'])
        stream = call(request, metadata=_METADATA)
        try:
            async for envelope in stream:
                kind = _TOPICS.get(envelope.topic)
                if kind is not None:
                    yield ImageEvent(kind, messages.ImageEvent.FromString(envelope.event.value).name)
        except grpc.aio.AioRpcError as exc:
            raise _failure(exc) from exc
        finally:
            stream.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await stream.code()
            await asyncio.sleep(0)  # grpc's own task ends a turn after it has told

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            message = "this client answers inside `async with` only"
            raise RuntimeError(message)
        return self._channel


def registered(image: str) -> str | None:
    """The name under which containerd keeps an image that pods spell like this; None when it is no reference."""
    try:
        reference = ImageReference.parse(image)
    except InvalidReference:
        return None
    if reference.digest is not None:
        return f"{reference.name}@{reference.digest}"
    return f"{reference.name}:{reference.tag or 'latest'}"


async def _ask(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as exc:
        raise _failure(exc) from exc


def _failure(exc: grpc.aio.AioRpcError) -> CriError:
    if exc.code() is grpc.StatusCode.UNIMPLEMENTED:
        return NotContainerd(exc.details() or "no such service")
    return failure(exc)
