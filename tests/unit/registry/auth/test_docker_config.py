"""Docker config files: what counts in them, and that a changed one is read again."""

import json
import os
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tidegate.config.registries import AuthConfig, DockerConfigAuth
from tidegate.registry.auth.docker_config import DockerConfigSource, UnusableFile, parse_docker_config
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.errors import Unauthorized

IMAGE = "r.example/team/app"
SECRET = "s3same-open"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(tmp_path: Path, clock: Clock) -> DockerConfigSource:
    return DockerConfigSource(place=0, file=str(tmp_path / "config.json"), clock=clock, timeout_s=1.0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], None]:
    """Replaces the file, as Kubernetes does with what it mounts."""

    def write(password: str) -> None:
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps({"auths": {"r.example": {"username": "ada", "password": password}}}))
        os.replace(fresh, tmp_path / "config.json")  # noqa: PTH105 - that it is one rename is the point

    return write


@pytest.mark.parametrize(
    "document, found",
    [
        pytest.param({"auths": {"r.example": {"username": "u", "password": "p"}}}, [("u", "p")], id="plain"),
        pytest.param({"auths": {"r.example": {"auth": encoded("u:p")}}}, [("u", "p")], id="auth"),
        pytest.param({"auths": {"r.example": {"auth": encoded("u:p").rstrip("=")}}}, [("u", "p")], id="unpadded"),
        pytest.param({"auths": {"r.example": {"auth": encoded("u:p:q")}}}, [("u", "p:q")], id="colon-in-a-password"),
        pytest.param(
            {"auths": {"r.example": {"username": "x", "password": "y", "auth": encoded("u:p")}}}, [("u", "p")],
            id="auth-wins",
        ),
        pytest.param({"auths": {"r.example": {"username": "u", "email": "e"}}}, [("u", "")], id="no-password"),
        pytest.param({"auths": {"r.example": {}}}, [], id="left-to-a-helper"),
        pytest.param({"auths": {"r.example": {"identitytoken": "t"}}}, [], id="identity-token"),
        pytest.param({"auths": {"r.example": {"username": None, "auth": ""}}}, [], id="null"),
        pytest.param({"credHelpers": {"r.example": "sh"}}, [], id="helpers-only"),
        pytest.param({"auths": None, "credsStore": "sh"}, [], id="store-only"),
        pytest.param({"r.example": {"username": "u", "password": "p"}}, [("u", "p")], id="dockercfg"),
        pytest.param({}, [], id="empty"),
        pytest.param({"auths": []}, [], id="empty-of-another-kind"),
        pytest.param(
            {"auths": {"r.example": {"auth": encoded("a:1")}, "r.example/team": {"auth": encoded("b:2")}}},
            [("b", "2"), ("a", "1")],
            id="all-that-match",
        ),
    ],
)  # fmt: skip
def test_what_counts(document: dict[str, Any], found: list[tuple[str, str]]) -> None:
    keyring = parse_docker_config(json.dumps(document).encode())
    assert [(who.username, who.password) for _, who in keyring.lookup(IMAGE)] == found


@pytest.mark.parametrize(
    "raw, words",
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"\xff", "not JSON", id="binary"),
        pytest.param(b"[" * 100_000, "not JSON", id="deep"),
        pytest.param(b"[]", "not a JSON object", id="list"),
        pytest.param(b'{"auths": ["x"]}', "auths: not an object", id="auths"),
        pytest.param(b'{"r.example": "s3same-open"}', "'r.example': not an object", id="entry"),
        pytest.param(b'{"auths": {"r": {"username": 1}}}', "'r': username is not text", id="number"),
        pytest.param(b'{"auths": {"r": {"auth": "s3same-open"}}}', "'r': auth is not base64", id="no-base64"),
        pytest.param(b'{"auths": {"r": {"auth": "czNzYW1lLW9wZW4="}}}', "'r': auth is not base64", id="no-colon"),
        pytest.param(b'{"auths": {"r": {"auth": "/////w=="}}}', "'r': auth is not base64", id="no-utf-8"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_values(raw: bytes, words: str) -> None:
    with pytest.raises(UnusableFile) as caught:
        parse_docker_config(raw)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_changed_file_is_read_again(
    source: DockerConfigSource, clock: Clock, write: Callable[[str], None]
) -> None:
    write("old")
    (old,) = await source.credentials(IMAGE)
    write("new")
    assert await source.credentials(IMAGE) == (old,)  # looked at a moment ago
    clock.now += 1.0
    (new,) = await source.credentials(IMAGE)
    assert (old.password, new.password) == ("old", "new")
    assert old.key != new.key


async def test_an_unchanged_file_is_not_read_again(
    source: DockerConfigSource, clock: Clock, write: Callable[[str], None], tmp_path: Path
) -> None:
    write("same")
    before = await source.credentials(IMAGE)
    status = (tmp_path / "config.json").stat()
    (tmp_path / "config.json").write_text("x" * status.st_size)
    os.utime(tmp_path / "config.json", ns=(status.st_atime_ns, status.st_mtime_ns))
    clock.now += 60.0
    assert await source.credentials(IMAGE) == before


async def test_a_file_may_come_later_and_break_and_mend(
    source: DockerConfigSource, clock: Clock, write: Callable[[str], None], tmp_path: Path
) -> None:
    with pytest.raises(NoCredential, match="No such file"):
        await source.credentials(IMAGE)
    for content in ("{", "x" * (2**20 + 1)):
        (tmp_path / "config.json").write_text(content)
        clock.now += 1.0
        with pytest.raises(NoCredential, match=r"not JSON|larger than"):
            await source.credentials(IMAGE)
    write("whole")
    clock.now += 1.0
    assert [who.password for who in await source.credentials(IMAGE)] == ["whole"]


def guarded(user: str, password: str) -> Any:
    good = "Basic " + encoded(f"{user}:{password}")

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == good:
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    return answer


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[[dict[str, str]], AuthConfig]:
    def file_of(auths: dict[str, str]) -> AuthConfig:
        path = tmp_path / "auths.json"
        path.write_text(json.dumps({"auths": {key: {"auth": encoded(who)} for key, who in auths.items()}}))
        return AuthConfig(dockerConfig=DockerConfigAuth(file=str(path)))

    return file_of


async def test_the_reference_chooses_and_the_replica_is_shown_it(serve: Any, client: Any, file_of: Any) -> None:
    server = await serve(guarded("ada", SECRET))
    auth = file_of({"registry.example/team": f"ada:{SECRET}", "127.0.0.1": "eve:other"})
    async with client(server, auth=(auth,), replica={"repository": "mirror/{path}"}) as replica:
        await replica.manifest("team/app", "v1")
    assert server.seen[-1].line == "GET /v2/mirror/team/app/manifests/v1"
    assert len(server.seen) == 2


async def test_all_that_match_are_tried_in_their_order(serve: Any, client: Any, file_of: Any) -> None:
    server = await serve(guarded("ada", SECRET))
    auth = file_of({"registry.example": f"ada:{SECRET}", "registry.example/team": "bob:stale"})
    async with client(server, auth=(auth,)) as replica:
        await replica.manifest("team/app", "v1")
        server.seen.clear()
        await replica.manifest("team/app", "v1")
    assert len(server.seen) == 1  # the refused one is remembered


async def test_another_entry_of_auth_follows_one_that_has_nothing(
    serve: Any, client: Any, file_of: Any, basic: AuthConfig, secret: str
) -> None:
    server = await serve(guarded("ada", secret))
    async with client(server, auth=(file_of({"other.example": "bob:x"}), basic)) as replica:
        await replica.manifest("team/app", "v1")


async def test_every_refusal_is_named_and_no_secret_is(serve: Any, client: Any, file_of: Any, tmp_path: Path) -> None:
    server = await serve(guarded("ada", "another"))
    missing = AuthConfig(dockerConfig=DockerConfigAuth(file=str(tmp_path / "missing")))
    async with client(server, auth=(missing, file_of({"registry.example": f"ada:{SECRET}"}))) as replica:
        with pytest.raises(Unauthorized) as caught:
            await replica.manifest("team/app", "v1")
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
    assert "No such file" in caught.value.detail
    assert "dockerConfig registry.example: HTTP 401" in caught.value.detail
    assert SECRET not in repr(caught.value)
    assert encoded(f"ada:{SECRET}") not in repr(caught.value)


async def test_a_rotated_password_counts_although_the_old_one_was_refused(
    serve: Any, client: Any, file_of: Any
) -> None:
    server = await serve(guarded("ada", "new"))
    first = file_of({"registry.example": "ada:old"})
    async with client(server, auth=(first,)) as replica:
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "v1")
        file_of({"registry.example": "ada:new"})
        replica._sources[0]._looked = None  # a second has passed
        await replica.manifest("team/app", "v1")


async def test_nothing_shows_a_secret_when_it_is_shown(
    source: DockerConfigSource, write: Callable[[str], None]
) -> None:
    write(SECRET)
    found = await source.credentials(IMAGE)
    shown = f"{found!r} {found[0].key!r} {found[0].label} {source.__dict__!r} {parse_docker_config(b'{}').__dict__!r}"
    assert SECRET not in shown


class TokenRegistry:
    """A registry that wants tokens of a realm of its own; a token is the password that it was given for."""

    def __init__(self) -> None:
        self.realm = ""
        self.exchanges: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            self.exchanges.append(str((await request.post())["password"]))
            return web.json_response({"token": f"token-of-{self.exchanges[-1]}", "expires_in": 300})
        if request.headers.get("Authorization", "").startswith("Bearer token-of-"):
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{self.realm}",service="r"'})


async def test_a_token_is_kept_for_as_long_as_its_password_is_the_same(serve: Any, client: Any, file_of: Any) -> None:
    registry = TokenRegistry()
    server = await serve(registry)
    registry.realm = f"{server.url}/token"
    async with client(server, auth=(file_of({"registry.example": "ada:old"}),)) as replica:
        for password in ("old", "new"):
            file_of({"registry.example": f"ada:{password}"})
            replica._sources[0]._looked = None  # a second has passed
            await replica.manifest("team/app", "v1")
            await replica.manifest("team/app", "v1")
    assert registry.exchanges == ["old", "new"]


async def test_a_realm_elsewhere_is_shown_nothing(serve: Any, client: Any, file_of: Any) -> None:
    registry = TokenRegistry()
    server, elsewhere = await serve(registry), await serve(registry, host="localhost")
    registry.realm = f"{elsewhere.url}/token"
    async with client(server, auth=(file_of({"registry.example": f"ada:{SECRET}"}),)) as replica:
        with pytest.raises(Unauthorized, match="tokenHosts"):
            await replica.manifest("team/app", "v1")
    assert elsewhere.seen == []
