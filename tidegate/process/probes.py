"""The small server beside the work: `/livez`, `/readyz`, `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from tidegate.process.calls import listening_on
from tidegate.process.notes import verbose


def create_app(
    registry: CollectorRegistry, *, ready: asyncio.Event, notes: Mapping[str, str] = MappingProxyType({})
) -> web.Application:
    """Alive while it answers at all; ready once `ready` is set, and from then on. `notes` are for `?verbose`."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(request: web.Request) -> web.Response:
        if ready.is_set():
            return web.Response(text="ok" if "verbose" not in request.query else f"{verbose(notes)}ok")
        return web.Response(text="not synced yet", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


@asynccontextmanager
async def served(app: web.Application, *, port: int, host: str | None = None) -> AsyncIterator[int]:
    """Serve on all addresses (or `host`) while the context lasts; yields the port, which 0 lets the system choose.

    Raises NotListening.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        with listening_on(port):
            await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
