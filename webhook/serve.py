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

from tidegate.process.calls import listening_on

KEEP_ALIVE_S = 120
"""Longer than the 90 s for which an API server keeps an idle connection: it, not we, decides when one ends."""
_GRACE_S = 31
"""Past the longest review: one that were cut off would be a 500."""
_START_S = 10.0
_BACKLOG = 4096
_POLL_S = 0.01


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
) -> AsyncIterator[None]:
    """Serve on all addresses while the block runs; requests in flight are answered first. Raises NotListening."""
    server = _Server(
        uvicorn.Config(
            app, port=port, loop="none", http="httptools", ws="none", lifespan="off", access_log=False,
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
