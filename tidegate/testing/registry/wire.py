"""Sockets for the doubles: one listener on loopback, and replies that may be slow, endless or cut short."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Final, NoReturn, Self

from aiohttp import web

from tidegate.testing.registry.limits import Pacer
from tidegate.testing.registry.records import Record, Request, authorization_of, kind_of

SHUTDOWN_S: Final = 0.02
"""Seconds that an answer in flight gets when a double is closed; a stalled one never ends by itself."""
SHORTEST_SLEEP_S: Final = 0.002
"""Shorter delays are left to add up: timers for less cost more than they are exact."""
CHUNK: Final = 1 << 16
"""Bytes that are written at once: small enough to share a wire fairly, large enough to cost little."""
_SPACES: Final = b" " * CHUNK
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie"})

Handler = Callable[[web.BaseRequest, Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer before it is sent. HEAD gets the same headers and no body."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    padding: int = 0
    """Spaces after the body."""
    chunked: bool = False
    paced: bool = False
    """Whether the body counts against the bandwidth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """What happens to a body on its way: after so many bytes it stalls, or the connection is reset."""

    stall_after: int | None = None
    cut_after: int | None = None

    @property
    def limit(self) -> int | None:
        """Bytes of the body that are sent at all; none: the whole."""
        return min((after for after in (self.stall_after, self.cut_after) if after is not None), default=None)


SOUND: Final = Breakage()


class Listener:
    """A server on one address; refused when reopened. `handler` gets each request with its place in the record."""

    def __init__(
        self, handler: Handler, record: Record, *, host: str, port: int, ssl_context: ssl.SSLContext | None
    ) -> None:
        self.record = record
        self._handler = handler
        self._host, self._port, self._ssl = host, port, ssl_context
        self._runner: web.ServerRunner | None = None

    @property
    def netloc(self) -> str:
        """`host:port` as it was bound."""
        if self._runner is None or not self._runner.addresses:
            message = "not listening: use it as `async with`"
            raise RuntimeError(message)
        return f"{self._host}:{self._runner.addresses[0][1]}"

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{'http' if self._ssl is None else 'https'}://{self.netloc}"

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            message = "was listening already: make a new one"
            raise RuntimeError(message)
        # Cancelled when the client goes: that is what ends a stalled answer.
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        seen = Request(
            method=request.method,
            path=request.path,
            query=request.query_string,
            kind=kind_of(request.path),
            at=loop.time(),
            authorization=authorization_of(request.headers.get("Authorization")),
            headers={name.lower(): value for name, value in request.headers.items()
                     if name.lower() not in _SECRET_HEADERS},
            peer=_peer(request),
        )  # fmt: skip
        self.record.arrive(seen)
        try:
            return await self._handler(request, seen)
        finally:
            self.record.leave(seen, now=loop.time())


def _peer(request: web.BaseRequest) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{peer[0]}:{peer[1]}" if peer else ""


async def send(
    request: web.BaseRequest,
    seen: Request,
    reply: Reply,
    *,
    pacer: Pacer | None = None,
    breakage: Breakage = SOUND,
) -> web.StreamResponse:
    """Answers, as slowly and as far as told."""
    seen.status = reply.status
    if request.method == "HEAD":
        return _head(reply)
    if reply.padding or reply.chunked or breakage != SOUND or (reply.paced and pacer is not None):
        return await _stream(request, seen, reply, pacer=pacer if reply.paced else None, breakage=breakage)
    seen.sent = len(reply.body)
    return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


async def silence() -> NoReturn:
    """Nothing for ever; ends by cancellation, when the client goes or the double is closed."""
    await asyncio.Event().wait()
    message = "nobody ends a silence"
    raise AssertionError(message)


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """The connection is gone, without a farewell; the response is for the framework, which cannot send it."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _head(reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if not reply.chunked:
        response.content_length = len(reply.body) + reply.padding
    return response


async def _stream(
    request: web.BaseRequest, seen: Request, reply: Reply, *, pacer: Pacer | None, breakage: Breakage
) -> web.StreamResponse:
    response = _head(reply)
    if reply.chunked:
        response.enable_chunked_encoding()
    clock = asyncio.get_running_loop().time
    try:
        await response.prepare(request)
        for chunk in _chunks(reply, breakage.limit):
            if pacer is not None and (delay := pacer.delay(len(chunk), clock())) >= SHORTEST_SLEEP_S:
                await asyncio.sleep(delay)
            await response.write(chunk)
            seen.sent += len(chunk)
        if breakage.stall_after is not None:
            await silence()
        if breakage.cut_after is not None:
            reset(request)
    except ConnectionError:
        # The client went before the end; the record says how much it got.
        reset(request)
    return response


def _chunks(reply: Reply, limit: int | None) -> Iterator[memoryview]:
    left = len(reply.body) + reply.padding if limit is None else limit
    body, spaces = memoryview(reply.body), memoryview(_SPACES)
    for offset in range(0, len(body), CHUNK):
        if left <= 0:
            return
        chunk = body[offset : offset + min(CHUNK, left)]
        left -= len(chunk)
        yield chunk
    padding = min(reply.padding, left)
    while padding > 0:
        yield spaces[:padding]
        padding -= CHUNK
