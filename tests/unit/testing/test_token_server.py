"""The token server by itself: both flows, and every way in which real ones differ."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from tidegate.testing.registry import Account, Authorization, Kind, TokenRules, TokenServer
from tidegate.testing.registry.tokens import Access, TokenState, parse_scope

Ask = Callable[..., Awaitable[Any]]
PULL = "repository:team/app:pull"
SERVICE = "registry.test"


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    accounts = {"reader": Account(password="made-up", pull=("team/*",))}
    async with TokenServer(accounts, anonymous=Account(password="", pull=("public/*",))) as tokens:
        yield tokens


@pytest.fixture
def get(tokens: TokenServer) -> Callable[..., Awaitable[tuple[int, Any]]]:
    async def get(*scopes: str, user: str = "", password: str = "made-up", **query: str) -> tuple[int, Any]:
        headers = {"Authorization": aiohttp.encode_basic_auth(user, password)} if user else {}
        pairs = [("service", SERVICE), *(("scope", scope) for scope in scopes), *query.items()]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{tokens.realm}?{urlencode(pairs)}", headers=headers) as response,
        ):
            return response.status, await response.json()

    return get


@pytest.fixture
def post(tokens: TokenServer) -> Callable[..., Awaitable[tuple[int, Any]]]:
    async def post(**form: str) -> tuple[int, Any]:
        form = {"grant_type": "password", "service": SERVICE, "client_id": "tests", "scope": PULL} | form
        async with aiohttp.ClientSession() as session, session.post(tokens.realm, data=form) as response:
            return response.status, await response.json()

    return post


Flow = Callable[..., Awaitable[tuple[int, Any]]]


def state(tokens: TokenServer, token: str, repository: str, *actions: str) -> TokenState:
    now = asyncio.get_running_loop().time()
    return tokens.state(token, [Access(repository, actions)], service=SERVICE, now=now)


class TestGet:
    async def test_a_user_gets_what_is_theirs_of_what_was_asked(self, tokens: TokenServer, get: Flow) -> None:
        status, answer = await get(f"{PULL},push repository:secret/app:pull", user="reader")

        assert (status, answer["expires_in"], answer["token"]) == (200, 300, answer["access_token"])
        assert state(tokens, answer["token"], "team/app", "pull") is TokenState.GOOD
        assert state(tokens, answer["token"], "team/app", "pull", "push") is TokenState.INSUFFICIENT
        assert state(tokens, answer["token"], "secret/app", "pull") is TokenState.INSUFFICIENT

    async def test_several_scopes(self, tokens: TokenServer, get: Flow) -> None:
        _, answer = await get(PULL, "repository:team/lib:pull", user="reader")

        for repository in ("team/app", "team/lib"):
            assert state(tokens, answer["token"], repository, "pull") is TokenState.GOOD

    async def test_nobody_gets_what_is_everybodys(self, tokens: TokenServer, get: Flow) -> None:
        _, answer = await get("repository:public/app:pull", PULL)

        assert state(tokens, answer["token"], "public/app", "pull") is TokenState.GOOD
        assert state(tokens, answer["token"], "team/app", "pull") is TokenState.INSUFFICIENT

    async def test_a_server_may_give_nobody_anything(self, tokens: TokenServer, get: Flow) -> None:
        tokens.anonymous = None

        assert (await get(PULL))[0] == 401

    @pytest.mark.parametrize("who", [{"user": "reader", "password": "wrong"}, {"user": "stranger"}])
    async def test_a_wrong_password(self, get: Flow, who: dict[str, str]) -> None:
        assert (await get(PULL, **who))[0] == 401


class TestPost:
    async def test_a_password(self, tokens: TokenServer, post: Flow) -> None:
        status, answer = await post(username="reader", password="made-up")

        assert (status, set(answer)) == (200, {"access_token", "expires_in"})
        assert state(tokens, answer["access_token"], "team/app", "pull") is TokenState.GOOD

    async def test_a_refresh_token(self, tokens: TokenServer, post: Flow) -> None:
        _, first = await post(username="reader", password="made-up", access_type="offline")
        status, second = await post(grant_type="refresh_token", refresh_token=first["refresh_token"])

        assert status == 200
        assert state(tokens, second["access_token"], "team/app", "pull") is TokenState.GOOD

    @pytest.mark.parametrize(
        "form, status",
        [
            pytest.param({"username": "reader", "password": "wrong"}, 401, id="wrong-password"),
            pytest.param({"grant_type": "refresh_token", "refresh_token": "made-up"}, 401, id="unknown-refresh"),
            pytest.param({"grant_type": "magic"}, 400, id="unknown-grant"),
        ],
    )
    async def test_what_is_refused(self, post: Flow, form: dict[str, str], status: int) -> None:
        assert (await post(**form))[0] == status


class TestRules:
    @pytest.mark.parametrize("fields", [("token",), ("access_token",)])
    async def test_where_the_token_is(self, tokens: TokenServer, get: Flow, fields: tuple[str, ...]) -> None:
        tokens.rules = TokenRules(fields=fields, expires_in=None)

        assert set((await get(PULL))[1]) == set(fields)

    async def test_no_post(self, tokens: TokenServer, get: Flow, post: Flow) -> None:
        tokens.rules = TokenRules(post=405)

        assert (await post(username="reader", password="made-up"))[0] == 405
        assert (await get(PULL, user="reader"))[0] == 200

    async def test_out_of_order(self, tokens: TokenServer, get: Flow) -> None:
        tokens.rules = TokenRules(fails=503)

        assert (await get(PULL))[0] == 503

    async def test_a_token_may_die_before_its_time(self, tokens: TokenServer, get: Flow) -> None:
        tokens.rules = TokenRules(expires_in=300, lives_s=0)

        _, answer = await get(PULL, user="reader")

        assert answer["expires_in"] == 300
        assert state(tokens, answer["token"], "team/app", "pull") is TokenState.INVALID

    async def test_all_can_be_revoked(self, tokens: TokenServer, get: Flow) -> None:
        _, answer = await get(PULL, user="reader")

        tokens.revoke()

        assert state(tokens, answer["token"], "team/app", "pull") is TokenState.INVALID

    async def test_a_token_is_for_one_service(self, tokens: TokenServer, get: Flow) -> None:
        _, answer = await get(PULL, user="reader")

        found = tokens.state(answer["token"], [], service="another", now=0.0)

        assert found is TokenState.INVALID


async def test_it_has_a_record_of_its_own(tokens: TokenServer, get: Flow, ask: Ask) -> None:
    await get(PULL, user="reader")
    assert (await ask("GET", f"{tokens.url}/elsewhere")).status == 404

    assert (tokens.record.count(kind=Kind.TOKEN), tokens.record.count(), tokens.issued) == (1, 2, 1)
    assert tokens.record.requests[0].authorization is Authorization.BASIC


@pytest.mark.parametrize(
    "text, access",
    [
        ("repository:team/app:pull", Access("team/app", ("pull",))),
        ("repository:localhost:5000/app:pull,push", Access("localhost:5000/app", ("pull", "push"))),
        ("registry:catalog:*", None),
        ("repository:app", None),
        ("", None),
    ],
)
def test_scopes(text: str, access: Access | None) -> None:
    assert parse_scope(text) == access
