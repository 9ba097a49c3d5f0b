"""Registries that would have an Entra token, and token endpoints of ACR that lie. The identity itself is sound."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.bounds import Timeouts
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import RegistryError, Unauthorized
from tidegate.testing.clouds import AcrTokens, EntraDouble, TokenService
from tidegate.testing.images import build_image
from tidegate.testing.registry import BearerGuard, RegistryDouble
from tidegate.testing.registry.wire import Reply

IMAGE = build_image(layers=1)
QUICK = Timeouts(total_s=2.0, retry_pause_s=0.0, identity_s=1.0)
IMPATIENT = Timeouts(total_s=0.3, retry_pause_s=0.0, identity_s=0.2)
JSON = {"Content-Type": "application/json"}

REALMS = [
    "http://localhost:{foreign}/oauth2/token",
    "http://LOCALHOST:{foreign}/oauth2/token",
    "http://localhost.:{foreign}/oauth2/token",
    "http://localhost:{foreign}/oauth2/exchange",
    "http://localhost:{foreign}",
    "http://a.localhost:{foreign}/oauth2/token",
    "http://127.0.0.2:{foreign}/oauth2/token",
    "http://127.1:{foreign}/oauth2/token",
    "http://2130706433:{foreign}/oauth2/token",
    "http://0x7f.1:{foreign}/oauth2/token",
    "http://0:{foreign}/oauth2/token",
    "http://0.0.0.0:{foreign}/oauth2/token",
    "http://[::1]:{foreign}/oauth2/token",
    "http://[::ffff:127.0.0.1]:{foreign}/oauth2/token",
    "http://127.0.0.1:{own}@localhost:{foreign}/oauth2/token",
    "http://127.0.0.1@localhost:{foreign}/oauth2/token",
    "http://user:password@127.0.0.1:{foreign}/oauth2/token",
    "http://127.0.0.1.localhost:{foreign}/oauth2/token",
    "http://localhost:{foreign}/127.0.0.1:{own}/oauth2/token",
    "http://localhost:{foreign}#@127.0.0.1:{own}/oauth2/token",
    "http://localhost:{foreign}?@127.0.0.1:{own}/oauth2/token",
    "http://localhost:{foreign}\\\\@127.0.0.1:{own}/oauth2/token",
    "https://localhost:{foreign}/oauth2/token",
    "https://login.microsoftonline.com.evil.example/oauth2/token",
    "https://myregistry.azurecr.io.evil.example/oauth2/token",
    "https://evil.example/oauth2/token",
    "https://169.254.169.254/metadata/identity/oauth2/token",
    "http://169.254.169.254/metadata/identity/oauth2/token",
    "http://[fe80::1]/oauth2/token",
    "http://10.0.0.1/oauth2/token",
    "http://kubernetes.default.svc/oauth2/token",
    "//localhost:{foreign}/oauth2/token",
    "localhost:{foreign}/oauth2/token",
    "/oauth2/token",
    "",
    " ",
    "ftp://localhost:{foreign}/oauth2/token",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "unix:///run/containerd/containerd.sock",
    "http://",
    "http://:80/",
    "http://localhost:99999999/oauth2/token",
    "http://localhost:{foreign}:80/oauth2/token",
    "http://%6cocalhost:{foreign}/oauth2/token",
    "http://l\u00f6calhost:{foreign}/oauth2/token",
    "http://localhost:{foreign}/" + "a" * 5000,
]


def reply(document: Any, status: int = 200, **headers: str) -> Reply:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Reply(status=status, body=body, headers=JSON | headers)


LIES: dict[str, Callable[[str], Reply]] = {
    "nothing": lambda _: reply(b""),
    "no JSON": lambda _: reply(b"<html>"),
    "half of it": lambda _: reply(b'{"refresh_token": "a'),
    "null": lambda _: reply(None),
    "a list": lambda _: reply([{"refresh_token": "a"}]),
    "an empty object": lambda _: reply({}),
    "nested deeply": lambda _: reply(b"[" * 20_000),
    "no UTF-8": lambda _: reply(b'{"refresh_token": "\xff", "access_token": "\xff"}'),
    "null for a token": lambda _: reply({"refresh_token": None, "access_token": None}),
    "a number for a token": lambda _: reply({"refresh_token": 1, "access_token": 1}),
    "an object for a token": lambda _: reply({"refresh_token": {}, "access_token": {}}),
    "an empty token": lambda _: reply({"refresh_token": "", "access_token": ""}),
    "a line in a token": lambda _: reply({"refresh_token": "a\r\nX: b", "access_token": "a\r\nX: b"}),
    "a space in a token": lambda _: reply({"refresh_token": "a b", "access_token": "a b"}),
    "an endless token": lambda _: reply({"refresh_token": "x" * 20_000, "access_token": "x" * 20_000}),
    "a token under a wrong name": lambda _: reply({"id_token": "abc"}),
    "a huge answer": lambda _: Reply(status=200, headers=JSON, body=b"{", padding=1 << 22),
    "a huge refusal": lambda _: Reply(status=401, headers=JSON, body=b"{", padding=1 << 22),
    "redirected": lambda foreign: reply({}, 302, Location=f"{foreign}/steal"),
    "redirected with its body": lambda foreign: reply({}, 307, Location=f"{foreign}/steal"),
    "redirected for ever": lambda foreign: reply({}, 308, Location=f"{foreign}/steal"),
    "asked for a credential": lambda foreign: reply({}, 401, **{"WWW-Authenticate": f'Bearer realm="{foreign}/t"'}),
    "bad request": lambda _: reply({}, 400),
    "refused": lambda _: reply({}, 401),
    "forbidden": lambda _: reply({}, 403),
    "not there": lambda _: reply({}, 404),
    "throttled": lambda _: reply({}, 429, **{"Retry-After": "3600"}),
    "broken": lambda _: reply({}, 500),
    "away": lambda _: reply({}, 503),
}  # fmt: skip


@pytest.fixture
def gate(client: Any, azure_auth: Any) -> Callable[..., ReplicaClient]:
    """A client with the managed identity, not yet opened."""
    return lambda server, timeouts=QUICK: client(server, auth=(azure_auth(),), timeouts=timeouts)


@pytest.fixture
async def foreign() -> AsyncIterator[TokenService]:
    async with TokenService(host="localhost") as double:
        double.lies = reply({"refresh_token": "stolen", "access_token": "stolen", "token": "stolen"})
        yield double


def astray(foreign: TokenService, imds: EntraDouble, acr: AcrTokens | None = None) -> list[str]:
    """Secrets that reached the foreign host."""
    seen = "".join(took.whole() for took in foreign.took)
    return [secret for secret in imds.made + (acr.made if acr else []) if secret in seen]


@pytest.mark.parametrize("realm", REALMS)
async def test_a_realm_that_is_not_the_registrys_gets_no_token(
    realm: str, imds: EntraDouble, foreign: TokenService, serve: Any, gate: Any
) -> None:
    async def challenging(request: web.Request) -> web.Response:
        place = realm.format(foreign=foreign.port, own=request.url.port)
        challenge = f'Bearer realm="{place}",service="myregistry.azurecr.io"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    server = await serve(challenging)
    began = asyncio.get_running_loop().time()
    async with gate(server) as replica:
        with pytest.raises(RegistryError):
            await replica.manifest("team/app", "1")
    assert asyncio.get_running_loop().time() - began < 2.5
    assert astray(foreign, imds) == []
    assert not any("grant_type" in took.whole() for took in foreign.took)
    assert not any("grant_type" in seen.whole() or seen.authorization for seen in server.seen)


@pytest.fixture
async def acr(imds: EntraDouble, silence: Any) -> AsyncIterator[tuple[AcrTokens, RegistryDouble, list[str]]]:
    tokens = silence.watch(AcrTokens(imds.made))
    async with tokens, RegistryDouble(guard=BearerGuard(tokens)) as registry:
        registry.put("team/app", IMAGE, tag="1")
        yield tokens, registry, imds.made


async def refused(replica: ReplicaClient) -> RegistryError:
    began = asyncio.get_running_loop().time()
    with pytest.raises(RegistryError) as caught:
        await replica.manifest("team/app", "1")
    assert asyncio.get_running_loop().time() - began < 2.5
    return caught.value


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("path", ["/oauth2/exchange", "/oauth2/token"])
async def test_a_lie(
    path: str, lie: Any, acr: tuple[AcrTokens, RegistryDouble, list[str]], foreign: TokenService, gate: Any
) -> None:
    tokens, registry, entra = acr
    tokens.lies[path] = lie(foreign.url)
    async with gate(registry.url) as replica:
        for _ in range(3):
            error = await refused(replica)
            assert not any(secret in error.detail for secret in entra + tokens.made)
    assert foreign.took == []
    assert len(tokens.record.matching(f"^{path}$")) <= 3
    assert len(tokens.exchanges) <= 1


async def test_a_registry_that_refuses_every_token_is_asked_no_more_than_twice_a_call(
    imds: EntraDouble, serve: Any, gate: Any
) -> None:
    async def greedy(request: web.Request) -> web.Response:
        match request.path:
            case "/oauth2/exchange":
                return web.json_response({"refresh_token": "r"})
            case "/oauth2/token":
                return web.json_response({"access_token": "a"})
            case _:
                realm = f"http://{request.host}/oauth2/token"
                return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    server = await serve(greedy)
    async with gate(server) as replica:
        for _ in range(10):
            with pytest.raises(Unauthorized):
                await replica.manifest("team/app", "1")
    assert server.lines.count("POST /oauth2/exchange") == 1
    assert server.lines.count("POST /oauth2/token") <= 2
    assert len(imds.took) == 1


@pytest.mark.parametrize("silent", ["/oauth2/exchange", "/oauth2/token"])
async def test_an_endpoint_that_says_nothing(silent: str, imds: EntraDouble, serve: Any, gate: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == silent:
            await asyncio.Event().wait()
        if request.path == "/oauth2/exchange":
            return web.json_response({"refresh_token": "r"})
        realm = f"http://{request.host}/oauth2/token"
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    server = await serve(answer)
    async with gate(server, IMPATIENT) as replica:
        await refused(replica)
    assert len(imds.took) == 1
