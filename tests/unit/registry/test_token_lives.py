"""A token's life: renewed in time, replaced once when it is refused, and a refusal remembered for a moment."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.bounds import Timeouts
from tidegate.registry.errors import Unauthorized, Unreachable

MANIFEST = "GET /v2/team/app/manifests/v1"


async def test_a_token_is_renewed_when_it_has_run_out(registry: Any, client: Any) -> None:
    _, server = await registry(token="t{n}", expires_in=0)
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
        await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST, "GET /token", MANIFEST, "GET /token", MANIFEST]


async def test_a_token_is_renewed_a_little_before_it_runs_out(registry: Any, client: Any) -> None:
    _, server = await registry(token="t{n}", expires_in=0.4)
    async with client(server) as replica:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await replica.manifest("team/app", "v1")
        while server.lines.count("GET /token") == 1:
            await asyncio.sleep(0.005)
            await replica.manifest("team/app", "v1")
        renewed = loop.time() - began
    assert renewed > 0.3
    assert server.lines[-2:] == ["GET /token", MANIFEST]  # no request with a token that had run out


@pytest.mark.parametrize("refusal", [401, 400], ids=["401", "400-without-a-challenge"])
async def test_a_token_that_is_revoked_is_replaced_once(registry: Any, client: Any, refusal: int) -> None:
    scripted, server = await registry()
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
        scripted.given.append("another")
        scripted.refusal = refusal
        await replica.manifest("team/app", "v1")
    assert server.lines[3:] == [MANIFEST, "GET /token", MANIFEST]


async def test_an_honest_token_that_is_refused_is_not_tried_again(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    scripted.good = False
    async with client(server) as replica:
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
        assert server.lines == [MANIFEST, "GET /token", MANIFEST]
        with pytest.raises(Unauthorized, match="401"):
            await replica.manifest("team/app", "v1")
        assert len(server.lines) == 3  # remembered
        with pytest.raises(Unauthorized):
            await replica.manifest("team/other", "v1")
        assert len(server.lines) > 3  # of this scope alone


async def test_a_refusal_is_remembered_for_a_moment_only(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    scripted.good = False
    async with client(server, timeouts=Timeouts(refusal_s=0.02)) as replica:
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
        scripted.good = True
        await asyncio.sleep(0.03)
        await replica.manifest("team/app", "v1")


async def test_a_registry_that_moves_its_realm_is_followed(registry: Any, client: Any, serve: Any) -> None:
    scripted, server = await registry()

    async def give(_: web.Request) -> web.Response:
        scripted.given.append("from-elsewhere")
        return web.json_response({"token": "from-elsewhere"})

    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
        elsewhere = await serve(give)
        scripted.realm, scripted.given = f"{elsewhere.url}/token", ["x"]
        await replica.manifest("team/app", "v1")
        await replica.manifest("team/app", "v1")
    assert len(elsewhere.seen) == 1


async def test_a_realm_that_is_gone_is_not_remembered(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    async with client(server) as replica:
        scripted.realm = "http://127.0.0.1:1/token"
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1")
        scripted.realm = ""
        with pytest.raises(Unreachable):  # what the first challenge said, once
            await replica.manifest("team/app", "v1")
        await replica.manifest("team/app", "v1")


async def test_a_second_private_repository_is_refused_without_asking_for_its_token_twice(
    registry: Any, client: Any
) -> None:
    scripted, server = await registry()
    scripted.token_statuses = {"GET": 403}
    async with client(server) as replica:
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
        server.seen.clear()
        with pytest.raises(Unauthorized, match="token realm refused"):
            await replica.manifest("team/other", "v1")
    assert server.lines == ["GET /token", "GET /v2/team/other/manifests/v1"]


async def test_a_realm_that_turns_away_a_known_repository_is_asked_about_anew(registry: Any, client: Any) -> None:
    scripted, server = await registry(token="t{n}", expires_in=0)
    async with client(server, timeouts=Timeouts(refusal_s=0.01)) as replica:
        await replica.manifest("team/app", "v1")
        scripted.token_statuses = {"GET": 401}
        server.seen.clear()
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
        assert server.lines == ["GET /token"]
        scripted.token_statuses = {}
        server.seen.clear()
        await asyncio.sleep(0.02)
        await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST, "GET /token", MANIFEST]
