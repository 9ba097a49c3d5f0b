"""Who may do what, and what a registry says to the others: the same on the double and on distribution.

The token server is the double's in both cases; for distribution it signs its tokens.
"""

import json
import re
from typing import Any

import aiohttp
import pytest

from tidegate.testing.images import build_image
from tidegate.testing.push import push_image
from tidegate.testing.registry import (
    TokenRules,
    TokenServer,
)

READER = {"Authorization": aiohttp.encode_basic_auth("reader", "made-up")}
Guarded = Any
"""A URL, its TokenServer, and the service that it calls itself; see conftest."""


def parameters(challenge: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', challenge))


async def ask(http: aiohttp.ClientSession, method: str, url: str, **headers: str) -> tuple[int, str, bytes]:
    async with http.request(method, url, headers=headers, data=b"" if method in {"POST", "PUT"} else None) as response:
        return response.status, response.headers.get("WWW-Authenticate", ""), await response.read()


class TestBasic:
    @pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/manifests/1", "/v2/team/app/tags/list"])
    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param({}, id="none"),
            pytest.param({"Authorization": aiohttp.encode_basic_auth("reader", "wrong")}, id="wrong-password"),
            pytest.param({"Authorization": aiohttp.encode_basic_auth("nobody", "made-up")}, id="unknown-user"),
            pytest.param({"Authorization": "Bearer abc"}, id="another-scheme"),
            pytest.param({"Authorization": "Basic ???"}, id="no-base64"),
        ],
    )
    async def test_who_does_not_get_in(
        self, http: aiohttp.ClientSession, locked: str, path: str, headers: dict[str, str]
    ) -> None:
        status, challenge, body = await ask(http, "GET", f"{locked}{path}", **headers)

        assert (status, challenge) == (401, 'Basic realm="tests"')
        assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"

    async def test_a_head_is_asked_too(self, http: aiohttp.ClientSession, locked: str) -> None:
        status, challenge, body = await ask(http, "HEAD", f"{locked}/v2/team/app/manifests/1")

        assert (status, challenge, body) == (401, 'Basic realm="tests"', b"")

    async def test_who_gets_in(self, http: aiohttp.ClientSession, locked: str) -> None:
        image = build_image()
        await push_image(http, locked, "team/app", image, tag="1", headers=READER)

        status, _, body = await ask(http, "GET", f"{locked}/v2/team/app/manifests/{image.digest}",
                                    Accept=image.media_type, **READER)  # fmt: skip
        assert (status, body) == (200, image.manifest)


async def token(http: aiohttp.ClientSession, tokens: TokenServer, scope: str, user: str = "reader") -> dict[str, str]:
    """By GET, with the user's password."""
    password = tokens.accounts[user].password
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    query = {"service": "registry.test", "scope": scope}
    async with http.get(tokens.realm, params=query, headers=headers) as response:
        return {"Authorization": f"Bearer {(await response.json())['token']}"}


class TestBearer:
    @pytest.mark.parametrize(
        "method, path, scopes",
        [
            pytest.param("GET", "/v2/", set(), id="base"),
            pytest.param("GET", "/v2/team/app/manifests/1", {"repository:team/app:pull"}, id="get"),
            pytest.param("HEAD", "/v2/team/app/manifests/1", {"repository:team/app:pull"}, id="head"),
            pytest.param("PUT", "/v2/team/app/manifests/1", {"repository:team/app:pull,push"}, id="put"),
            pytest.param("DELETE", "/v2/team/app/manifests/1", {"repository:team/app:delete"}, id="delete"),
            pytest.param(
                "POST",
                "/v2/team/app/blobs/uploads/?mount=sha256:abc&from=team/lib",
                {"repository:team/app:pull,push", "repository:team/lib:pull"},
                id="mount",
            ),
        ],
    )
    async def test_the_challenge_says_what_is_needed(
        self, http: aiohttp.ClientSession, guarded: Guarded, method: str, path: str, scopes: set[str]
    ) -> None:
        url, tokens = guarded.url, guarded.tokens

        status, challenge, _ = await ask(http, method, f"{url}{path}")

        assert status == 401
        assert challenge.startswith("Bearer ")
        said = parameters(challenge)
        # distribution writes the actions of one scope in any order, for it keeps them in a Go map.
        said_scopes = {frozenset(re.split("[:,]", scope)) for scope in said.pop("scope", "").split()}
        assert said_scopes == {frozenset(re.split("[:,]", scope)) for scope in scopes}
        assert said == {"realm": tokens.realm, "service": "registry.test"}

    async def test_a_token_with_the_scope_gets_in(self, http: aiohttp.ClientSession, guarded: Guarded) -> None:
        url, tokens = guarded.url, guarded.tokens
        image = build_image()
        writer = await token(http, tokens, "repository:team/app:pull,push", user="writer")
        await push_image(http, url, "team/app", image, tag="1", headers=writer)

        reader = await token(http, tokens, "repository:team/app:pull")
        status, _, body = await ask(http, "GET", f"{url}/v2/team/app/manifests/1", Accept=image.media_type, **reader)

        assert (status, body) == (200, image.manifest)

    async def test_any_token_opens_the_base(self, http: aiohttp.ClientSession, guarded: Guarded) -> None:
        url, tokens = guarded.url, guarded.tokens

        assert (await ask(http, "GET", f"{url}/v2/", **await token(http, tokens, "")))[0] == 200

    @pytest.mark.parametrize(
        "scope",
        [
            pytest.param("repository:team/other:pull", id="another-repository"),
            pytest.param("repository:secret/app:pull", id="not-granted"),
            pytest.param("", id="none"),
            pytest.param("nonsense", id="nonsense"),
        ],
    )
    async def test_a_token_without_the_scope(self, http: aiohttp.ClientSession, guarded: Guarded, scope: str) -> None:
        url, tokens = guarded.url, guarded.tokens
        path = "/v2/secret/app/manifests/1" if "secret" in scope else "/v2/team/app/manifests/1"

        status, challenge, _ = await ask(http, "GET", f"{url}{path}", **await token(http, tokens, scope))

        assert (status, parameters(challenge)["error"]) == (401, "insufficient_scope")

    async def test_a_reader_may_not_write(self, http: aiohttp.ClientSession, guarded: Guarded) -> None:
        url, tokens = guarded.url, guarded.tokens
        reader = await token(http, tokens, "repository:team/app:pull,push")

        status, challenge, _ = await ask(http, "POST", f"{url}/v2/team/app/blobs/uploads/", **reader)

        assert (status, parameters(challenge)["error"]) == (401, "insufficient_scope")

    async def test_no_token_at_all(self, http: aiohttp.ClientSession, guarded: Guarded) -> None:
        url = guarded.url

        status, challenge, _ = await ask(http, "GET", f"{url}/v2/", Authorization="Bearer nonsense")

        assert (status, parameters(challenge)["error"]) == (401, "invalid_token")

    async def test_an_expired_token(self, http: aiohttp.ClientSession, guarded: Guarded) -> None:
        url, tokens = guarded.url, guarded.tokens
        tokens.rules = TokenRules(lives_s=-3600)

        old = await token(http, tokens, "repository:team/app:pull")
        status, challenge, _ = await ask(http, "GET", f"{url}/v2/team/app/manifests/1", **old)

        assert (status, parameters(challenge)["error"]) == (401, "invalid_token")
