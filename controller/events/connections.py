"""Connections to the receiver, which anybody may open: a bounded number, and none that only sits there.

A connection has `IDLE_S` until a whole request is there, and again after each answer; then it is cut off. Bytes that
trickle in buy no time. asyncio gives a TLS connection half a megabyte before its handshake, so those are bounded too:
of too many the oldest is cut off, which an honest sender has long done with.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tidegate.process.calls import listening_on

MOST_CONNECTIONS = 256
MOST_HANDSHAKES = 64
IDLE_S = 10.0
_HANDSHAKE_S = 5.0
_BACKLOG = 128

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Bounded(asyncio.Protocol):
    """Stands between a transport and aiohttp's protocol."""

    def __init__(self, inner: asyncio.Protocol, open_ones: set["_Bounded"], *, idle_s: float) -> None:
        self._inner = inner
        self._open = open_ones
        self._idle_s = idle_s
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._early = bytearray()
        """What came behind a handshake, before anybody was told that it is done."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)
        self._open.add(self)
        self.rest()
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            self._inner.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._open.discard(self)
        self.work()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            self._early += data
        else:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def work(self) -> None:
        """A request is there: what follows has bounds of its own."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def rest(self) -> None:
        """Wait for a request, but not for long."""
        self.work()
        if self in self._open:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self.cut)

    def cut(self) -> None:
        """End it at once."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


@web.middleware
async def minded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tells the connection when it works and when it rests."""
    transport = request.transport
    connection = transport.get_protocol() if transport is not None else None
    if not isinstance(connection, _Bounded):
        return await handler(request)
    connection.work()
    try:
        return await handler(request)
    finally:
        connection.rest()


@asynccontextmanager
async def receiving(
    app: web.Application, *, port: int, tls: ssl.SSLContext | None = None, host: str | None = None,
    most: int = MOST_CONNECTIONS, idle_s: float = IDLE_S,
) -> AsyncIterator[int]:  # fmt: skip
    """Serve while the context lasts, connections over `most` are closed at once. Yields the port. Raises NotListening.

    `app` has `minded` among its middlewares.
    """
    open_ones: set[_Bounded] = set()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=idle_s)
    await runner.setup()

    def connected() -> asyncio.Protocol:
        if len(open_ones) >= most or runner.server is None:
            return _Refused()
        return _Bounded(runner.server(), open_ones, idle_s=idle_s)

    handshakes = _Handshakes(tls, connected) if tls is not None else None

    try:
        with listening_on(port):
            server = await asyncio.get_running_loop().create_server(
                connected if handshakes is None else handshakes.door, host, port, backlog=_BACKLOG
            )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            if handshakes is not None:
                handshakes.end()
    finally:
        await runner.cleanup()
        for connection in tuple(open_ones):
            connection.cut()


class _Handshakes:
    """Lets connections in when they have shaken hands."""

    def __init__(self, tls: ssl.SSLContext, connected: Callable[[], asyncio.Protocol]) -> None:
        self._tls = tls
        self._connected = connected
        self._shaking: dict[asyncio.Task[None], asyncio.Transport] = {}
        """Oldest first."""

    def door(self) -> asyncio.Protocol:
        """Of a connection that was just accepted."""
        return _Door(self.begin)

    def begin(self, transport: asyncio.Transport) -> None:
        transport.pause_reading()
        while len(self._shaking) >= MOST_HANDSHAKES:
            self._cut(next(iter(self._shaking)))
        task = asyncio.create_task(self._shake(transport))
        self._shaking[task] = transport
        task.add_done_callback(self._forget)

    def end(self) -> None:
        for task in tuple(self._shaking):
            self._cut(task)

    def _cut(self, task: asyncio.Task[None]) -> None:
        """Also one that has not begun yet."""
        self._shaking.pop(task).abort()
        task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._shaking.pop(task, None)

    async def _shake(self, transport: asyncio.Transport) -> None:
        protocol = self._connected()
        shaken = None
        try:
            shaken = await asyncio.get_running_loop().start_tls(
                transport, protocol, self._tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE_S
            )
        except OSError:  # of ssl, too, and of time
            return
        finally:
            if shaken is None:
                transport.abort()
        if shaken is not None and not shaken.is_closing():
            protocol.connection_made(shaken)


class _Door(asyncio.Protocol):
    """Of a connection whose handshake is still to come."""

    def __init__(self, begin: Callable[[asyncio.Transport], None]) -> None:
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._begin(transport)


class _Refused(asyncio.Protocol):
    """Of a connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()
