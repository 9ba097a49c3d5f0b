"""Whether a replica answers at all: one request, whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.bounds import Timeouts
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import Throttled, Unreachable

Serve = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 401, 403, 404, 405])
async def test_any_answer_will_do(serve: Serve, client: Callable[..., ReplicaClient], status: int) -> None:
    headers = {"Location": "https://elsewhere.example/", "WWW-Authenticate": 'Bearer realm="https://t.example/"'}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    server = await serve(answer)
    async with client(server) as west:
        await west.ping()
    assert server.lines == ["GET /v2/"]
    assert server.seen[0].authorization is None


@pytest.mark.parametrize(
    "status, error", [(408, Unreachable), (429, Throttled), (500, Unreachable), (503, Unreachable)],
)  # fmt: skip
async def test_one_request_whatever_it_says(
    serve: Serve, client: Callable[..., ReplicaClient], status: int, error: type[Exception]
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    server = await serve(answer)
    sent: list[None] = []
    async with client(server) as west:
        with pytest.raises(error):
            await west.ping(on_request=lambda: sent.append(None))
        if error is Throttled:
            assert west.pause_left_s() > 0
    assert server.lines == ["GET /v2/"]
    assert len(sent) == 1


async def test_silence_is_bounded(serve: Serve, client: Callable[..., ReplicaClient], stalled: Any) -> None:
    server = await serve(stalled)
    async with client(server, timeouts=Timeouts(ping_s=0.03)) as west:
        with pytest.raises(Unreachable, match=r"no answer within 0\.03 s"):
            await west.ping()


@pytest.fixture
def stalled() -> Any:
    async def answer(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    return answer
