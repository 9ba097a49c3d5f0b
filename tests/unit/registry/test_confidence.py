"""No host sees a credential that is not meant for it. What the other host saw is the witness."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.errors import RegistryError, Unauthorized

BLOB = "sha256:" + "ab" * 32


def bearer(realm: str) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer tok":
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    return answer


async def gives(_: web.Request) -> web.Response:
    return web.json_response({"token": "tok"})


@pytest.fixture
def tls(ca_file: str) -> dict[str, Any]:
    return {"replica": {"caFile": ca_file}}


async def test_a_foreign_realm_gets_nothing(serve: Any, client: Any, basic: Any, tls: Any) -> None:
    other = await serve(gives, host="localhost", tls=True)
    server = await serve(bearer(f"{other.url}/token"), tls=True)
    async with client(server, auth=(basic,), **tls) as replica:
        with pytest.raises(Unauthorized, match=r"localhost.*tokenHosts"):
            await replica.manifest("team/app", "v1")
    assert other.seen == []


async def test_a_foreign_realm_that_is_listed_gets_the_credential(
    serve: Any, client: Any, basic: Any, secret: str, tls: Any
) -> None:
    other = await serve(gives, host="localhost", tls=True)
    server = await serve(bearer(f"{other.url}/token"), tls=True)
    async with client(server, auth=(basic,), token_hosts=("LOCALHOST.",), **tls) as replica:
        await replica.manifest("team/app", "v1")
    assert secret in other.seen[0].whole()
    assert secret not in " ".join(one.whole() for one in server.seen)


async def test_a_realm_on_another_port_of_the_same_host_gets_the_credential(
    serve: Any, client: Any, basic: Any, secret: str, tls: Any
) -> None:
    other = await serve(gives, tls=True)
    server = await serve(bearer(f"{other.url}/token"), tls=True)
    async with client(server, auth=(basic,), **tls) as replica:
        await replica.manifest("team/app", "v1")
    assert secret in other.seen[0].whole()


async def test_a_foreign_realm_is_asked_anonymously_with_nothing_in_it(
    serve: Any, client: Any, anonymous: Any, basic: Any, tls: Any
) -> None:
    other = await serve(gives, host="localhost", tls=True)
    server = await serve(bearer(f"{other.url}/token"), tls=True)
    async with client(server, auth=(basic, anonymous), **tls) as replica:
        await replica.manifest("team/app", "v1")
    assert len(other.seen) == 1
    assert other.saw_no_credential()


async def test_a_remote_registry_may_not_have_us_knock_on_inner_doors(serve: Any, client: Any, tls: Any) -> None:
    server = await serve(bearer("https://169.254.169.254/latest/api/token"), tls=True)
    async with client(server, **tls) as replica:
        with pytest.raises(Unauthorized, match="inner address"):
            await replica.manifest("team/app", "v1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_realm_passes_a_credential_on_by_redirecting(serve: Any, client: Any, basic: Any, status: int) -> None:
    other = await serve(gives, host="localhost")

    async def redirects(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(status=status, headers={"Location": f"{other.url}/token"})
        return await bearer(f"{server.url}/token")(request)

    server = await serve(redirects)
    async with client(server, auth=(basic,)) as replica:
        with pytest.raises(Unauthorized, match="redirects"):
            await replica.manifest("team/app", "v1")
    assert other.seen == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another-host", "another-port"])
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_no_redirect_carries_a_credential(serve: Any, client: Any, basic: Any, host: str, scheme: str) -> None:
    async def stores(_: web.Request) -> web.Response:
        return web.Response(body=b"{}")

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return await gives(request)
        if "Authorization" in request.headers:
            return web.Response(status=307, headers={"Location": f"{other.url}/stored"})
        return web.Response(status=401, headers={"WWW-Authenticate": f'{scheme} realm="{server.url}/token"'})

    other = await serve(stores, host=host)
    server = await serve(answer)
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
        assert await replica.has_blob("team/app", BLOB)
    assert other.lines == ["GET /stored", "HEAD /stored"]
    assert other.saw_no_credential()
    assert "tok" not in " ".join(one.headers.get("Authorization", "") for one in other.seen)


async def test_no_redirect_carries_a_credential_back_to_the_same_server(serve: Any, client: Any, basic: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/stored":
            return web.Response(body=b"{}")
        if "Authorization" in request.headers:
            return web.Response(status=307, headers={"Location": "/stored"})
        return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})

    server = await serve(answer)
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
    assert server.seen[-1].path == "/stored"
    assert server.seen[-1].authorization is None


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_a_challenge_where_a_redirect_led_is_not_answered(
    serve: Any, client: Any, basic: Any, scheme: str
) -> None:
    async def asks(_: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": f'{scheme} realm="{other.url}/token"'})

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"{other.url}/stored"})

    other = await serve(asks, host="localhost")
    server = await serve(answer)
    async with client(server, auth=(basic,)) as replica:
        with pytest.raises(Unauthorized, match="localhost"):
            await replica.manifest("team/app", "v1")
    assert other.lines == ["GET /stored"]
    assert other.saw_no_credential()


@pytest.mark.parametrize("path", ["/token", "/v2/"], ids=["token-server", "registry"])
async def test_a_server_that_echoes_is_not_quoted(serve: Any, client: Any, basic: Any, secret: str, path: str) -> None:
    async def echoes(request: web.Request) -> web.Response:
        said = f"{request.headers.get('Authorization', '')} {secret}"
        if "Authorization" not in request.headers and request.path.startswith("/v2/"):
            scheme = f'Bearer realm="{server.url}/token"' if path == "/token" else "Basic"
            return web.Response(status=401, headers={"WWW-Authenticate": scheme})
        return web.json_response({"errors": [{"code": "DENIED", "message": said}]}, status=403)

    server = await serve(echoes)
    async with client(server, auth=(basic,)) as replica:
        with pytest.raises(RegistryError) as caught:
            await replica.manifest("team/app", "v1")
    assert secret not in str(caught.value)


async def test_a_certificate_of_a_stranger_ends_it_before_anything_is_said(
    serve: Any, client: Any, basic: Any, ca_file: str
) -> None:
    server = await serve(gives, tls=True)
    async with client(server, auth=(basic,)) as replica:  # the system's roots, which do not know this CA
        with pytest.raises(RegistryError) as caught:
            await replica.manifest("team/app", "v1")
    assert getattr(caught.value, "step", None) == "tls"
    assert server.seen == []
    async with client(server, replica={"caFile": ca_file}) as replica:
        await replica.manifest("team/app", "v1")
