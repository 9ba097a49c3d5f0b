"""Two uvicorn servers in one loop: reviews over TLS, metrics beside them; and how they end."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate.process.calls import listening_on

KEEP_ALIVE_S = 120
"""Longer than the 90 s for which an API server keeps an idle connection: it, not we, decides when one ends."""
HEADERS_S = 10.0
"""So long a connection may take to say what it wants, from when it is open or has begun to speak."""
_GRACE_S = 31
"""Past the longest review: one that were cut off would be a 500."""
_START_S = 10.0
_BACKLOG = 4096
_POLL_S = 0.01


class _Timely(HttpToolsProtocol):
    """Cuts a connection that says nothing, or does not finish its headers; bodies and answers have bounds of theirs."""

    headers_s = HEADERS_S
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._arm()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _arm(self) -> None:
        self._disarm()
        self._limit = self.loop.call_later(self.headers_s, self._cut)

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _cut(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()


class _Server(uvicorn.Server):
    """Leaves signals to the composition root."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: Any,  # noqa: ANN401 - an ASGI application
    *,
    port: int,
    tls: ssl.SSLContext | None = None,
    headers_s: float = HEADERS_S,
) -> AsyncIterator[None]:
    """Serve on all addresses while the block runs; requests in flight are answered first. Raises NotListening."""
    timely = type("Timely", (_Timely,), {"headers_s": headers_s})
    server = _Server(
        uvicorn.Config(
            app, port=port, loop="none", http=timely, ws="none", lifespan="off", access_log=False,
            log_config=None, proxy_headers=False, server_header=False, date_header=False, backlog=_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=_GRACE_S,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        )
    )  # fmt: skip
    with listening_on(port):  # here, as uvicorn would write its own line and leave by SystemExit
        listener = _listener(port)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"serve {port}")
    try:
        async with asyncio.timeout(_START_S):
            while not server.started:
                if task.done():
                    await task
                await asyncio.sleep(_POLL_S)
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


def _listener(port: int) -> socket.socket:
    """All addresses of both families; on a machine without IPv6, of IPv4."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as exc:
            if exc.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:  # switched off, not taken
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)
