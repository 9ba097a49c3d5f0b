"""The watch protocol: a stream of JSON lines `{"type", "object"}` that may end, break, stall or turn into an error.

aiohttp's own line reader gives up beyond 64 kB, which a single object exceeds; so lines are cut here, under a bound.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import aiohttp
import msgspec
import structlog

from tidegate.kube.errors import Status, Unavailable, as_kube_errors, from_status
from tidegate.kube.resources import HasMetadata, Resource

log = structlog.get_logger()

T = TypeVar("T", bound=HasMetadata)

_MOST_LINE_BYTES = 16 << 20
"""etcd takes 1.5 MiB an object; JSON may be some times larger than what is stored."""


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One change. `object` is None for bookmarks; of a DELETED object it is the last state."""

    type: EventType
    resource_version: str
    object: T | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Bounds of one watch, in seconds."""

    server_s: float = 240.0
    """The server is asked to end the stream after this. A server that hangs is not noticed before: a collection where
    nothing happens is silent for minutes (kube-apiserver 1.36: 120 s to the first bookmark, then one a minute), so
    silence proves nothing."""
    slack_s: float = 20.0
    """How much later than that it may end; then it has failed."""
    open_s: float = 30.0
    """How long the server may take to begin."""


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _Version = _Version()


_LINES = msgspec.json.Decoder(_Line)
_VERSIONS = msgspec.json.Decoder(_Versioned)
_STATUSES = msgspec.json.Decoder(Status)


async def events(
    opening: AbstractAsyncContextManager[aiohttp.ClientResponse],
    *,
    resource: Resource[T],
    decoder: msgspec.json.Decoder[T],
    watching: Watching,
) -> AsyncGenerator[WatchEvent[T], None]:
    """Open the stream and yield its events; an ERROR event is raised as the error it means."""
    with as_kube_errors(f"watch {resource.plural}"):
        async with asyncio.timeout(watching.open_s) as limit, opening as response:
            limit.reschedule(None)
            last = asyncio.get_running_loop().time() + watching.server_s + watching.slack_s
            try:
                async for line in _lines(response, last=last):
                    event = _decode(line, resource=resource, decoder=decoder)
                    if event is not None:
                        yield event
            finally:
                _hang_up(response)


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Leave a stream that goes on: a TLS goodbye would wait half a minute for a server that may not answer."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()


def _decode(line: bytes, *, resource: Resource[T], decoder: msgspec.json.Decoder[T]) -> WatchEvent[T] | None:
    """One line's event; None for an object that does not decode, which is logged and passed over."""
    wire = _LINES.decode(line)
    if wire.type == "ERROR":
        raise from_status(_STATUSES.decode(wire.object))
    version = _VERSIONS.decode(wire.object).metadata.resource_version
    try:
        kind = EventType(wire.type)
    except ValueError:
        log.warning("kube.event_unknown", resource=resource.plural, type=wire.type[:32])
        return None
    if kind is EventType.BOOKMARK:
        return WatchEvent(kind, version, None)
    try:
        return WatchEvent(kind, version, resource.kept(decoder.decode(wire.object)))
    except msgspec.MsgspecError as exc:
        log.warning("kube.object_undecodable", resource=resource.plural, error=str(exc)[:256])
        return None


async def _lines(response: aiohttp.ClientResponse, *, last: float) -> AsyncIterator[bytes]:
    """Cut the stream into lines until `last` (loop time); what follows the last newline of a broken one is dropped."""
    rest = bytearray()
    while True:
        async with asyncio.timeout_at(last):
            chunk = await response.content.readany()
        if not chunk:
            return
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            rest += chunk[start:end]
            if rest:
                yield bytes(rest)
            rest.clear()
            start = end + 1
        rest += chunk[start:]
        if len(rest) > _MOST_LINE_BYTES:
            message = f"a line of more than {_MOST_LINE_BYTES} bytes"
            raise Unavailable(message)
