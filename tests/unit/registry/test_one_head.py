"""One HEAD of a manifest, and pauses that others were told of."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import NotFound, RegistryError, Throttled, Unreachable

Serve = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize(
    "status, error", [(200, None), (404, NotFound), (429, Throttled), (503, Unreachable)],
)  # fmt: skip
async def test_it_is_one_request_whatever_it_says(
    serve: Serve, client: Callable[..., ReplicaClient], status: int, error: type[RegistryError] | None
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "30"})

    server = await serve(answer)
    async with client(server) as west:
        if error is None:
            await west.has_manifest("team/app", "1")
        else:
            with pytest.raises(error) as raised:
                await west.has_manifest("team/app", "1")
            if isinstance(raised.value, Throttled):
                assert raised.value.retry_after_s == 30
                assert west.pause_left_s() > 29
    assert server.lines == ["HEAD /v2/team/app/manifests/1"]


async def test_a_pause_that_others_were_told_of_counts(serve: Serve, client: Callable[..., ReplicaClient]) -> None:
    server = await serve(lambda _: None)
    async with client(server) as west:
        west.pause(40)
        assert 39 < west.pause_left_s() <= 40
        with pytest.raises(Throttled):
            await west.has_manifest("team/app", "1")
    west.pause(40)
    assert (server.lines, west.pause_left_s()) == ([], 0.0)
