"""A token server of the kind that registries send their clients to, with its own URL and its own record.

Protocol: distribution's spec/auth/token.md (GET) and oauth.md (POST). Tokens are opaque and known to the registry
that shares this object. Grants are intersections: a token is given for what may be done of what was asked.
"""

import asyncio
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import parse_qs

from aiohttp import web

from tidegate.testing.registry.credentials import basic_credential, same_secret
from tidegate.testing.registry.records import Record, Request
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.wire import Listener, Reply, send

MAX_TOKENS: Final = 10_000
"""Live tokens; the oldest is forgotten first."""
MAX_FORM: Final = 1 << 16
DEFAULT_EXPIRY_S: Final = 60
"""The protocol's own default where an answer names none."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Access:
    """Actions on one repository, as a scope spells them."""

    repository: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(self.actions)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the token server; patterns are of the shell's kind and match repositories."""

    password: str
    pull: tuple[str, ...] = ("*",)
    push: tuple[str, ...] = ()

    def may(self, repository: str, action: str) -> bool:
        """Whether an action on a repository is granted."""
        patterns = {"pull": (*self.pull, *self.push), "push": self.push, "delete": self.push}.get(action, ())
        return any(fnmatchcase(repository, pattern) for pattern in patterns)


ANYBODY: Final = Account(password="")
"""Pulls everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """How the token server behaves; replaced at run time."""

    expires_in: int | None = 300
    """Seconds as the answer says; none: it says nothing, and tokens live 60 s."""
    lives_s: float | None = None
    """How long tokens really live, where that is not what the answer says."""
    fields: tuple[str, ...] = ("token", "access_token")
    """Where GET answers put the token; either is legal."""
    post: int | None = None
    """The status that POST is refused with: 404 or 405 where only GET exists."""
    fails: int | None = None
    """The status that everything is refused with."""
    offline: bool = True
    """Whether refresh tokens are given to those who ask."""


class TokenState(StrEnum):
    """What a registry says of a token; the values are those of RFC 6750."""

    GOOD = "good"
    INVALID = "invalid_token"
    INSUFFICIENT = "insufficient_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says, for those who write tokens that a real registry reads."""

    user: str
    access: tuple[Access, ...]
    service: str
    lives_s: float


UNSPOKEN = "unspoken-"
"""Every token of the double begins so: whoever finds that in a log has found a secret in it."""


def opaque(claims: Claims) -> str:
    """A token that says nothing; the double knows it by heart."""
    del claims
    return f"{UNSPOKEN}{secrets.token_urlsafe(24)}"


@dataclass(frozen=True, slots=True)
class _Token:
    grants: frozenset[tuple[str, str]]
    service: str
    dies_at: float


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a request for a token says, GET and POST alike."""

    account: Account | None
    user: str
    refused: str = ""
    status: int = HTTPStatus.UNAUTHORIZED
    scopes: tuple[str, ...] = ()
    service: str = ""
    offline: bool = False


class TokenServer:
    """`async with TokenServer(accounts) as tokens: RegistryDouble(guard=BearerGuard(tokens))`.

    `anonymous` is what may be done without a credential; none: nothing, a 401. `mint` writes the tokens: with one
    that signs them as distribution wants it, this server serves a real registry.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account] | None = None,
        *,
        anonymous: Account | None = ANYBODY,
        rules: TokenRules | None = None,
        mint: Callable[[Claims], str] = opaque,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.accounts = dict(accounts or {})
        self.anonymous = anonymous
        self.rules = rules or TokenRules()
        self.record = Record()
        self.issued = 0
        self._mint = mint
        self._tokens: OrderedDict[str, _Token] = OrderedDict()
        self._refresh: OrderedDict[str, str] = OrderedDict()
        self._listener = Listener(self._handle, self.record, host=host, port=port, ssl_context=ssl_context)

    @property
    def url(self) -> str:
        """The base URL."""
        return self._listener.url

    @property
    def realm(self) -> str:
        """Where challenges send their readers."""
        return f"{self.url}/token"

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)

    def revoke(self) -> None:
        """Every token given so far is invalid from now on."""
        self._tokens.clear()

    def state(self, token: str, access: Sequence[Access], *, service: str, now: float) -> TokenState:
        """What a registry finds when it looks at a token."""
        known = self._tokens.get(token)
        if known is None or known.dies_at <= now or known.service != service:
            return TokenState.INVALID
        needed = {(one.repository, action) for one in access for action in one.actions}
        return TokenState.GOOD if needed <= known.grants else TokenState.INSUFFICIENT

    async def _handle(self, request: web.BaseRequest, seen: Request) -> web.StreamResponse:
        form = parse_qs((await request.content.read(MAX_FORM)).decode("utf-8", "replace"))
        return await send(request, seen, self._answer(request, form))

    def _answer(self, request: web.BaseRequest, form: Mapping[str, list[str]]) -> Reply:
        if self.rules.fails is not None:
            return json_reply({"details": "out of order"}, status=self.rules.fails)
        match request.path, request.method:
            case "/token", "GET":
                ask = self._ask_get(request)
            case "/token", "POST" if self.rules.post is None:
                ask = self._ask_post(form)
            case "/token", "POST":
                return json_reply({"details": "no POST here"}, status=self.rules.post or 0)
            case _:
                return json_reply({"details": "not here"}, status=HTTPStatus.NOT_FOUND)
        if ask.account is None:
            return json_reply({"details": ask.refused or "incorrect username or password"}, status=ask.status)
        return json_reply(self._grant(ask, ask.account, fields=self.rules.fields if not form else ("access_token",)))

    def _ask_get(self, request: web.BaseRequest) -> _Ask:
        given = basic_credential(request.headers.get("Authorization"))
        if given is None:
            user, account = "", self.anonymous
        else:
            user, account = given[0], self._account(*given)
        return _Ask(
            account=account,
            user=user,
            scopes=tuple(scope for value in request.query.getall("scope", []) for scope in value.split()),
            service=request.query.get("service", ""),
            offline=request.query.get("offline_token") == "true",
        )

    def _ask_post(self, form: Mapping[str, list[str]]) -> _Ask:
        def one(name: str) -> str:
            return form.get(name, [""])[0]

        if one("grant_type") == "refresh_token":
            user = self._refresh.get(one("refresh_token"), "")
            account = self.accounts.get(user)
        elif one("grant_type") == "password":
            user = one("username")
            account = self._account(user, one("password"))
        else:
            return _Ask(account=None, user="", refused="unsupported grant_type", status=HTTPStatus.BAD_REQUEST)
        return _Ask(
            account=account,
            user=user,
            scopes=tuple(one("scope").split()),
            service=one("service"),
            offline=one("access_type") == "offline",
        )

    def _account(self, user: str, password: str) -> Account | None:
        account = self.accounts.get(user)
        return account if account is not None and same_secret(account.password, password) else None

    def _grant(self, ask: _Ask, account: Account, *, fields: Sequence[str]) -> dict[str, str | int]:
        granted = tuple(
            Access(asked.repository, actions)
            for asked in map(parse_scope, ask.scopes)
            if asked is not None
            and (actions := tuple(action for action in asked.actions if account.may(asked.repository, action)))
        )
        rules = self.rules
        life = rules.lives_s if rules.lives_s is not None else (rules.expires_in or DEFAULT_EXPIRY_S)
        dies_at = asyncio.get_running_loop().time() + life
        token = self._mint(Claims(user=ask.user, access=granted, service=ask.service, lives_s=life))
        grants = frozenset((access.repository, action) for access in granted for action in access.actions)
        _remember(self._tokens, token, _Token(grants, ask.service, dies_at))
        self.issued += 1
        answer: dict[str, str | int] = dict.fromkeys(fields, token)
        if rules.expires_in is not None:
            answer["expires_in"] = rules.expires_in
        if ask.offline and ask.user and rules.offline:
            refresh = answer["refresh_token"] = f"{UNSPOKEN}{secrets.token_urlsafe(24)}"
            _remember(self._refresh, refresh, ask.user)
        return answer


def parse_scope(text: str) -> Access | None:
    """`repository:NAME:ACTION,ACTION`; none for anything else, which is then granted nothing."""
    kind, _, rest = text.partition(":")
    name, _, actions = rest.rpartition(":")
    return Access(name, tuple(actions.split(","))) if kind == "repository" and name else None


def _remember(where: OrderedDict[str, T], name: str, value: T) -> None:
    where[name] = value
    if len(where) > MAX_TOKENS:
        where.popitem(last=False)
