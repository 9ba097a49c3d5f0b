"""What token servers answer, and what of it can be used."""

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.registry.auth.answers import NoToken, parse_grant

SCOPE = "repository:team/app:pull"
NOW = 1_800_000_000.0


def jwt(claims: object) -> str:
    payload = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def access(name: str, *actions: str) -> str:
    return jwt({"access": [{"type": "repository", "name": name, "actions": list(actions)}]})


@pytest.mark.parametrize(
    "answer,lives",
    [
        pytest.param({"token": "t"}, 60.0, id="nothing-said-is-a-minute"),
        pytest.param({"access_token": "t", "expires_in": 300}, 300.0, id="access-token"),
        pytest.param({"token": "t", "access_token": "u", "expires_in": 300}, 300.0, id="both"),
        pytest.param({"token": "", "access_token": "t"}, 60.0, id="empty-token"),
        pytest.param({"token": None, "access_token": "t"}, 60.0, id="null-token"),
        pytest.param({"token": "t", "expires_in": "300"}, 300.0, id="seconds-as-text"),
        pytest.param({"token": "t", "expires_in": 1.5}, 1.5, id="fraction"),
        pytest.param({"token": "t", "expires_in": -5}, 0.0, id="negative"),
        pytest.param({"token": "t", "expires_in": 10**300}, 86400.0, id="for-ever"),
        pytest.param({"token": "t", "expires_in": True}, 60.0, id="boolean"),
        pytest.param({"token": "t", "expires_in": [1]}, 60.0, id="list"),
        pytest.param({"token": jwt({"exp": NOW + 4500, "iat": NOW})}, 4500.0, id="jwt"),
        pytest.param({"token": jwt({"exp": NOW + 4500})}, 4500.0, id="jwt-without-iat"),
        pytest.param({"token": jwt({"exp": NOW + 60, "iat": NOW - 4440})}, 60.0, id="jwt-half-spent"),
        pytest.param({"token": jwt({"exp": NOW - 900, "iat": NOW - 5400})}, 4500.0, id="jwt-clock-behind-ours"),
        pytest.param({"token": jwt({"exp": NOW + 9000, "iat": NOW + 4500})}, 4500.0, id="jwt-clock-ahead-of-ours"),
        pytest.param({"token": jwt({"exp": NOW - 900})}, 0.0, id="jwt-expired"),
        pytest.param({"token": jwt({"exp": "soon"})}, 60.0, id="jwt-with-a-word"),
        pytest.param({"token": jwt(["exp"])}, 60.0, id="jwt-of-a-list"),
        pytest.param({"token": "e30.!!!.sig"}, 60.0, id="no-jwt"),
        pytest.param({"token": "e30.a.sig"}, 60.0, id="no-base64"),
        pytest.param({"token": "t", "expires_in": 10**400}, 60.0, id="no-number-that-fits"),
        pytest.param({"token": jwt({"exp": NOW + 4500}), "expires_in": 30}, 30.0, id="expires-in-before-jwt"),
    ],
)
def test_how_long_a_token_lives(answer: dict[str, object], lives: float) -> None:
    assert parse_grant(json.dumps(answer).encode(), scope=SCOPE, now=NOW).lives_s == pytest.approx(lives)


@pytest.mark.parametrize(
    "answer,may_pull",
    [
        pytest.param({"token": "opaque"}, None, id="opaque"),
        pytest.param({"token": access("team/app", "pull")}, True, id="jwt-pull"),
        pytest.param({"token": access("team/app", "push", "pull")}, True, id="jwt-push-and-pull"),
        pytest.param({"token": access("team/app", "*")}, True, id="jwt-all"),
        pytest.param({"token": access("team/app", "push")}, False, id="jwt-push"),
        pytest.param({"token": access("team/other", "pull")}, False, id="jwt-another-repository"),
        pytest.param({"token": jwt({"access": []})}, False, id="jwt-nothing"),
        pytest.param({"token": jwt({"access": None})}, None, id="jwt-null"),
        pytest.param({"token": jwt({"access": [1, {"name": "team/app", "actions": "pull"}]})}, False, id="jwt-odd"),
        pytest.param({"token": "t", "scope": "repository:team/app:pull"}, True, id="scope-pull"),
        pytest.param({"token": "t", "scope": "repository:a:pull repository:team/app:push,pull"}, True, id="scopes"),
        pytest.param({"token": "t", "scope": "repository:team/app:push"}, False, id="scope-push"),
        pytest.param({"token": "t", "scope": "openid"}, None, id="scope-of-something-else"),
        pytest.param({"token": "t", "scope": 5}, None, id="scope-a-number"),
    ],
)
def test_whether_pull_was_granted(answer: dict[str, object], *, may_pull: bool | None) -> None:
    assert parse_grant(json.dumps(answer).encode(), scope=SCOPE, now=NOW).may_pull is may_pull


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>sign in</html>", id="html"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="no-token"),
        pytest.param(b'{"token": ""}', id="empty-token"),
        pytest.param(b'{"token": 5}', id="number"),
        pytest.param(b'{"token": "a\\r\\nX-Evil: 1"}', id="header-injection"),
        pytest.param(b'{"token": "a b"}', id="space"),
        pytest.param('{"token": "\u00e9"}'.encode(), id="not-ascii"),
        pytest.param(b'{"token": "' + b"a" * 20_000 + b'"}', id="longer-than-a-header"),
        pytest.param(b'{"a":' * 5000, id="deep"),
        pytest.param(b'\xff{"token": "t"}', id="not-utf-8"),
    ],
)
def test_no_token(body: bytes) -> None:
    with pytest.raises(NoToken):
        parse_grant(body, scope=SCOPE, now=NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["access", "name", "exp", "iat",
                                                                                "actions"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["expires_in", "scope", "issued_at"]), JSON), JSON)
def test_any_answer_with_a_token_gives_a_bounded_life(answer: dict[str, object], claims: object) -> None:
    body = json.dumps({**answer, "token": jwt(claims)}).encode()
    try:
        grant = parse_grant(body, scope=SCOPE, now=NOW)
    except NoToken:
        return
    assert 0 <= grant.lives_s <= 86400


def test_a_token_is_never_shown() -> None:
    assert "s3cret" not in repr(parse_grant(b'{"token": "s3cret"}', scope=SCOPE, now=NOW))
