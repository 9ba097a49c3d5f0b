"""Who we are at a registry: basic, files that rotate, and several credentials in their order."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tidegate.config.registries import AuthConfig, BasicAuth
from tidegate.registry.errors import NotFound, Unauthorized

MANIFEST = "GET /v2/team/app/manifests/v1"


def guarded(password: str) -> Any:
    good = "Basic " + b64encode(f"ada:{password}".encode()).decode()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == good:
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    return answer


async def test_basic_is_shown_when_it_is_asked_for_and_then_at_once(
    serve: Any, client: Any, basic: Any, secret: str
) -> None:
    server = await serve(guarded(secret))
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
        await replica.manifest("team/app", "v1")
    assert [one.authorization is not None for one in server.seen] == [False, True, True]


async def test_a_wrong_password_is_tried_once(serve: Any, client: Any, basic: Any) -> None:
    server = await serve(guarded("another"))
    async with client(server, auth=(basic,)) as replica:
        for _ in range(3):
            with pytest.raises(Unauthorized):
                await replica.manifest("team/app", "v1")
    assert len(server.seen) == 2


async def test_nobody_has_no_password(serve: Any, client: Any) -> None:
    server = await serve(guarded("x"))
    async with client(server) as replica:
        with pytest.raises(Unauthorized, match="password"):
            await replica.manifest("team/app", "v1")
    assert len(server.seen) == 1


async def test_credentials_are_tried_in_their_order(
    serve: Any, client: Any, anonymous: Any, basic: Any, secret: str
) -> None:
    server = await serve(guarded(secret))
    wrong = AuthConfig(basic=BasicAuth(username="ada", password="stale"))
    async with client(server, auth=(anonymous, wrong, basic)) as replica:
        await replica.manifest("team/app", "v1")
        server.seen.clear()
        await replica.manifest("team/app", "v1")
    assert len(server.seen) == 1  # the refused ones are remembered


async def test_when_all_are_refused_all_are_named(serve: Any, client: Any, anonymous: Any, basic: Any) -> None:
    server = await serve(guarded("another"))
    async with client(server, auth=(anonymous, basic)) as replica:
        with pytest.raises(Unauthorized, match=r"anonymous: .*; basic ada: HTTP 401"):
            await replica.manifest("team/app", "v1")


async def test_what_the_first_may_read_as_absent_is_absent(serve: Any, client: Any, anonymous: Any, basic: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=404)

    server = await serve(answer)
    async with client(server, auth=(anonymous, basic)) as replica:
        with pytest.raises(NotFound):
            await replica.manifest("team/app", "v1")
    assert len(server.seen) == 1


async def test_a_404_without_a_challenge_hides_nothing_from_a_secret(
    serve: Any, client: Any, basic: Any, secret: str
) -> None:
    inner = guarded(secret)

    async def answer(request: web.Request) -> web.Response:
        response: web.Response = await inner(request)
        return web.Response(status=404) if response.status == 401 and request.path != "/v2/" else response

    server = await serve(answer)
    async with client(server, auth=(basic,)) as replica:
        await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST, "GET /v2/", MANIFEST]


async def test_an_open_registry_is_asked_for_a_challenge_once(serve: Any, client: Any, basic: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.path == "/v2/" else 404)

    server = await serve(answer)
    async with client(server, auth=(basic,)) as replica:
        for _ in range(3):
            with pytest.raises(NotFound):
                await replica.manifest("team/app", "v1")
    assert server.lines.count("GET /v2/") == 1
    assert server.saw_no_credential()


@pytest.mark.parametrize(
    "content,password",
    [
        pytest.param(b"s3same", "s3same", id="bare"),
        pytest.param(b"s3same\n", "s3same", id="newline"),
        pytest.param(b"s3same\r\n", "s3same", id="crlf"),
        pytest.param(b" s3same \n\n", " s3same \n", id="only-one-newline"),
        pytest.param("p\u00e4ss\n".encode(), "p\u00e4ss", id="utf-8"),
    ],
)
async def test_a_password_file(serve: Any, client: Any, tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "password").write_bytes(content)
    auth = AuthConfig(basic=BasicAuth(username="ada", passwordFile=str(tmp_path / "password")))
    server = await serve(guarded(password))
    async with client(server, auth=(auth,)) as replica:
        await replica.manifest("team/app", "v1")


async def test_a_password_file_that_is_rotated_counts_at_once(serve: Any, client: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    server = await serve(guarded("old"))
    async with client(server, auth=(AuthConfig(basic=BasicAuth(username="ada", passwordFile=str(file))),)) as replica:
        await replica.manifest("team/app", "v1")
        file.write_text("new\n")
        server.answer = guarded("new")
        await replica.manifest("team/app", "v1")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"a" * 100_000, id="large"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
    ],
)
async def test_a_password_file_that_cannot_be_used(
    serve: Any, client: Any, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    server = await serve(guarded("x"))
    async with client(server, auth=(AuthConfig(basic=BasicAuth(username="ada", passwordFile=str(file))),)) as replica:
        with pytest.raises(Unauthorized, match="passwordFile"):
            await replica.manifest("team/app", "v1")
    assert server.saw_no_credential()
