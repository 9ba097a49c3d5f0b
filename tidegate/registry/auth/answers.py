"""A token server's 200 → a token: its text, how long it lives, and whether it grants what was asked. Pure.

Shapes: distribution's spec/auth/token.md and oauth.md. `token` or `access_token`; `expires_in` in seconds, else the
difference of a JWT's `exp` and `iat` (ACR sends no `expires_in`), else 60 s. A JWT is only read, never verified: it
is for the registry, and what it says here shortens our trust in it, never widens it.
"""

import binascii
import math
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate.registry.bounds import TOKEN_CHARACTERS

_DEFAULT_S = 60.0
_REFRESH_S = 3 * 3600.0
"""As ACR documents it, for one that does not say; a longer life is not believed."""
_LONGEST_S = 24 * 3600.0
_PARTS_OF_A_JWT = 3
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_PULLING = frozenset({"pull", "*"})

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class NoToken(ValueError):
    """A 200 without a token in it that could be sent."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token server gave."""

    token: str = field(repr=False)
    lives_s: float
    may_pull: bool | None
    """Whether pull on the scope was granted; None when neither the answer nor the token says."""


def parse_refresh(body: bytes, *, now: float) -> Grant:
    """Read ACR's answer to an exchange at `now` (Unix seconds): a refresh token. Raises NoToken."""
    answer = _object(body)
    token = answer.get("refresh_token") if answer is not None else None
    if not isinstance(token, str) or not token:
        message = "no refresh_token"
        raise NoToken(message)
    if len(token) > TOKEN_CHARACTERS or not _HEADER_SAFE.fullmatch(token):
        message = f"a refresh token of {len(token)} characters that cannot be one"
        raise NoToken(message)
    lives = _jwt_seconds(_claims(token), now=now)
    return Grant(token, min(max(_REFRESH_S if lives is None else lives, 0.0), _REFRESH_S), None)


def parse_grant(body: bytes, *, scope: str, now: float) -> Grant:
    """Read an answer to the request for `scope` at `now` (Unix seconds). Raises NoToken."""
    answer = _object(body)
    if answer is None:
        message = "no JSON object"
        raise NoToken(message)
    token = next((t for t in (answer.get("token"), answer.get("access_token")) if isinstance(t, str) and t), None)
    if token is None:
        message = "neither token nor access_token"
        raise NoToken(message)
    if len(token) > TOKEN_CHARACTERS or not _HEADER_SAFE.fullmatch(token):
        message = f"a token of {len(token)} characters that no header can carry"
        raise NoToken(message)
    claims = _claims(token)
    lives = _seconds(answer.get("expires_in"))
    if lives is None:
        lives = _jwt_seconds(claims, now=now)
    lives = _DEFAULT_S if lives is None else lives
    return Grant(token, min(max(lives, 0.0), _LONGEST_S), _may_pull(answer, claims, scope))


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _claims(token: str) -> dict[str, Any]:
    """The payload of a JWT; empty for an opaque token."""
    parts = token.split(".")
    if len(parts) != _PARTS_OF_A_JWT:
        return {}
    try:
        raw = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return {}
    return _object(raw) or {}


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len("1000000000"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _jwt_seconds(claims: dict[str, Any], *, now: float) -> float | None:
    """What is left by our clock if that makes sense, else its whole life: clocks need not agree."""
    expires = _seconds(claims.get("exp"))
    if expires is None:
        return None
    issued = _seconds(claims.get("iat"))
    if issued is None or now < expires <= now + (expires - issued):
        return expires - now
    return expires - issued


def _may_pull(answer: dict[str, Any], claims: dict[str, Any], scope: str) -> bool | None:
    _, name, _ = scope.split(":")
    granted = answer.get("scope")
    if isinstance(granted, str) and "repository:" in granted:
        entries = [entry.rpartition(":") for entry in granted.split(" ")]
        return any(what == f"repository:{name}" and not _PULLING.isdisjoint(how.split(",")) for what, _, how in entries)
    access = claims.get("access")
    if not isinstance(access, list):
        return None
    return any(_is_pull_on(entry, name) for entry in access)


def _is_pull_on(entry: object, name: str) -> bool:
    if not isinstance(entry, dict) or entry.get("name") != name:
        return False
    actions = entry.get("actions")
    return isinstance(actions, list) and any(action in _PULLING for action in actions if isinstance(action, str))
