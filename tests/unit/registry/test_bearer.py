"""Tokens: asked for as distribution's token.md and oauth.md say, once for all who need one, and never in a loop."""

import asyncio
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from tidegate.registry.errors import NotFound, RegistryError, Throttled, Unauthorized, Unreachable

MANIFEST = "GET /v2/team/app/manifests/v1"
BLOB = "sha256:" + "ab" * 32


async def test_the_first_request_of_a_repository_costs_three_and_the_next_one(registry: Any, client: Any) -> None:
    _, server = await registry()
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
        assert server.lines == [MANIFEST, "GET /token", MANIFEST]
        await replica.manifest("team/app", "v1")
        assert await replica.has_blob("team/app", BLOB)
        assert server.lines[3:] == [MANIFEST, f"HEAD /v2/team/app/blobs/{BLOB}"]
        await replica.manifest("team/other", "v1")
        assert server.lines[5:] == ["GET /token", "GET /v2/team/other/manifests/v1"]
        assert replica.requests == len(server.lines)


async def test_a_shared_token_is_counted_for_who_came_first(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    sent: dict[str, int] = {"first": 0, "second": 0}

    def count(who: str) -> None:
        sent[who] += 1

    async with client(server) as replica:
        await replica.manifest("team/warm", "v1")
        scripted.hold = asyncio.Event()
        first = asyncio.create_task(replica.manifest("team/app", "v1", on_request=lambda: count("first")))
        await scripted.asked.wait()
        second = asyncio.create_task(replica.manifest("team/app", "v1", on_request=lambda: count("second")))
        await asyncio.sleep(0)
        scripted.hold.set()
        await asyncio.gather(first, second)
    assert sent == {"first": 2, "second": 1}


async def test_an_anonymous_token_is_asked_for_by_get_and_carries_nothing(registry: Any, client: Any) -> None:
    _, server = await registry()
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
    asked = server.seen[1]
    assert asked.query == {"service": "reg", "scope": "repository:team/app:pull"}
    assert asked.authorization is None


async def test_with_a_secret_the_token_is_asked_for_by_post(
    registry: Any, client: Any, basic: Any, secret: str
) -> None:
    _, server = await registry()
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST, "POST /token", MANIFEST]
    assert parse_qs(server.seen[1].body.decode()) == {
        "grant_type": ["password"], "service": ["reg"], "client_id": ["tidegate"],
        "scope": ["repository:team/app:pull"], "username": ["ada"], "password": [secret],
    }  # fmt: skip
    assert server.seen[1].authorization is None


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_where_post_is_not_understood_get_with_basic_follows(
    registry: Any, client: Any, basic: Any, secret: str, status: int
) -> None:
    scripted, server = await registry()
    scripted.token_statuses = {"POST": status}
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST, "POST /token", "GET /token", MANIFEST]
    assert server.seen[2].authorization == "Basic " + b64encode(f"ada:{secret}".encode()).decode()
    assert server.seen[2].query == {"service": "reg", "scope": "repository:team/app:pull"}


@pytest.mark.parametrize(
    "statuses,error,lines",
    [
        pytest.param({"POST": 403}, Unauthorized, ["POST"], id="403-ends-it"),
        pytest.param({"POST": 422}, Unauthorized, ["POST"], id="422-ends-it"),
        pytest.param({"POST": 401, "GET": 401}, Unauthorized, ["POST", "GET"], id="both-401"),
        pytest.param({"POST": 404, "GET": 404}, Unauthorized, ["POST", "GET"], id="no-such-realm"),
        pytest.param({"POST": 302}, Unauthorized, ["POST"], id="redirect"),
        pytest.param({"POST": 429}, Throttled, ["POST"], id="429"),
        pytest.param({"POST": 500}, Unreachable, ["POST"], id="500-is-not-posted-again"),
        pytest.param({"POST": 401, "GET": 500}, Unreachable, ["POST", "GET", "GET"], id="500-is-got-again-once"),
        pytest.param({"POST": 204}, Unreachable, ["POST"], id="204"),
    ],
)
async def test_token_servers_that_refuse(
    registry: Any, client: Any, basic: Any, *, statuses: dict[str, int], error: type[RegistryError], lines: list[str]
) -> None:
    scripted, server = await registry()
    scripted.token_statuses = statuses
    scripted.token_headers = {"Retry-After": "30"} if 429 in statuses.values() else {"Location": "/token"}
    async with client(server, auth=(basic,)) as replica:
        with pytest.raises(error):
            await replica.manifest("team/app", "v1")
    assert [one.method for one in server.seen[1:]] == lines


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>sign in", id="html"),
        pytest.param(b"{}", id="no-token"),
        pytest.param(b'{"token":"a\\nb"}', id="no-header"),
        pytest.param(b'{"token":"' + b"a" * 70_000 + b'"}', id="long"),
    ],
)
async def test_token_servers_that_talk_nonsense(serve: Any, client: Any, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(body=body)
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(RegistryError) as caught:
            await replica.manifest("team/app", "v1")
    assert not isinstance(caught.value, NotFound)


async def test_a_hundred_callers_cost_one_token(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    async with client(server) as replica:
        await replica.manifest("team/warm", "v1")
        server.seen.clear()
        scripted.hold = asyncio.Event()
        waiting = [asyncio.create_task(replica.manifest("team/app", "v1")) for _ in range(100)]
        await scripted.asked.wait()
        scripted.hold.set()
        await asyncio.gather(*waiting)
    assert server.lines.count("GET /token") == 1
    assert server.lines.count(MANIFEST) == 100


async def test_a_caller_that_leaves_does_not_take_the_token_along(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    async with client(server) as replica:
        await replica.manifest("team/warm", "v1")
        server.seen.clear()
        scripted.hold = asyncio.Event()
        first = asyncio.create_task(replica.manifest("team/app", "v1"))
        await scripted.asked.wait()
        others = [asyncio.create_task(replica.manifest("team/app", "v1")) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        scripted.hold.set()
        await asyncio.gather(*others)
    assert first.cancelled()
    assert server.lines.count("GET /token") == 1


async def test_a_404_with_a_token_is_absence(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    scripted.found = 404
    async with client(server) as replica:
        with pytest.raises(NotFound):
            await replica.manifest("team/app", "v1")
        assert await replica.has_blob("team/app", BLOB) is False


async def test_a_404_with_a_token_that_grants_nothing_is_no_absence(registry: Any, client: Any) -> None:
    claims = urlsafe_b64encode(json.dumps({"access": []}).encode()).decode().rstrip("=")
    scripted, server = await registry(token=f"e30.{claims}.sig")
    scripted.found = 404
    async with client(server) as replica:
        with pytest.raises(Unauthorized, match="no proof of absence"):
            await replica.has_blob("team/app", BLOB)


async def test_the_scope_of_a_challenge_is_not_followed(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": "t"})
        if request.headers.get("Authorization"):
            return web.Response(body=b"{}")
        scope = "repository:payroll/db:pull,push,delete registry:catalog:*"
        return web.Response(
            status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token",scope="{scope}"'}
        )

    server = await serve(answer)
    async with client(server, replica={"repository": "mirror/{path}"}) as replica:
        await replica.manifest("team/app", "v1")
    assert server.seen[1].query == {"scope": "repository:mirror/team/app:pull"}


async def test_a_realm_keeps_its_own_query_but_not_our_names(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": "t"})
        if request.headers.get("Authorization"):
            return web.Response(body=b"{}")
        realm = f"{server.url}/token?tenant=a%26b&scope=repository:x:push"
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s&t=u"'})

    server = await serve(answer)
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
    assert server.seen[1].query == {"tenant": "a&b", "service": "s&t=u", "scope": "repository:team/app:pull"}


async def test_a_public_repository_beside_private_ones_is_read_without_a_token(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(status=401)
        if "/public/" in request.path:
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Unauthorized):
            await replica.manifest("private/app", "v1")
        await replica.manifest("public/app", "v1")
        server.seen.clear()
        await replica.manifest("public/app", "v1")
    assert server.lines == ["GET /v2/public/app/manifests/v1"]


async def test_a_refused_blob_costs_one_token_and_one_look_by_get(registry: Any, client: Any) -> None:
    scripted, server = await registry()
    scripted.good = False
    async with client(server) as replica:
        with pytest.raises(Unauthorized):
            await replica.has_blob("team/app", BLOB)
    head, get = f"HEAD /v2/team/app/blobs/{BLOB}", f"GET /v2/team/app/blobs/{BLOB}"
    assert server.lines == [head, "GET /token", head, get]
