"""Bearer tokens of one replica: fetched once for all who need them, remembered until shortly before they expire.

With a secret: POST (form, grant_type=password; distribution's oauth.md), then GET with Basic only where the POST got
400, 401, 404 or 405. Without one: GET. With an Azure identity: as `acr` has it. No redirect of a realm is followed.

The scope is always pull on the repository that is asked about. A scope that a challenge names is not followed: with
it a replica could have us fetch tokens for other repositories and hand them over.
"""

import asyncio
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode

from cachetools import LRUCache
from yarl import URL

from tidegate.registry import hosts
from tidegate.registry.answer import Answer
from tidegate.registry.auth.acr import Place, RefreshTokens
from tidegate.registry.auth.answers import Grant, NoToken, parse_grant
from tidegate.registry.auth.credentials import Credential, CredentialKey, Secrets, UserPassword
from tidegate.registry.auth.realms import refusal
from tidegate.registry.bounds import TOKEN_ANSWER_BYTES, Timeouts
from tidegate.registry.errors import RegistryError, Unauthorized, Unreachable
from tidegate.registry.flights import Flights
from tidegate.registry.translate import bounded, error_of
from tidegate.registry.transport import Ask, Call, Transport

CLIENT_ID = "tidegate"

_MEMORY_BYTES = 4 * 2**20
_ENTRY_BYTES = 1024
_EARLY_SHARE = 0.1
_EARLY_MOST_S = 15.0
_NO_POST = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
)


class Demand(NamedTuple):
    """What a bearer challenge asks for."""

    realm: URL
    service: str


class TokenKey(NamedTuple):
    """Whose token, from where, for what."""

    who: CredentialKey
    demand: Demand
    scope: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token with the loop time until which it is used."""

    value: str = field(repr=False)
    use_until: float
    may_pull: bool | None


class Tokens:
    """The tokens of one replica, bounded in bytes."""

    def __init__(
        self, *, transport: Transport, secrets: Secrets, endpoint: URL, token_hosts: AbstractSet[str],
        timeouts: Timeouts, replica: str, wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._transport = transport
        self._secrets = secrets
        self._endpoint = endpoint
        self._token_hosts = token_hosts
        self._timeouts = timeouts
        self._replica = replica
        self._wall = wall
        self._now = asyncio.get_running_loop().time
        self._known: LRUCache[TokenKey, Token] = LRUCache(
            _MEMORY_BYTES, getsizeof=lambda token: _ENTRY_BYTES + len(token.value)
        )
        self._flights: Flights[TokenKey, Token] = Flights("token")
        self._refresh = RefreshTokens(
            transport=transport, timeouts=timeouts, replica=replica, refused=self._error_of, wall=wall
        )

    async def get(
        self, credential: Credential, demand: Demand, scope: str, on_request: Callable[[], None] | None = None
    ) -> tuple[Token, bool]:
        """A token, and whether it was fetched just now. Raises RegistryError."""
        key = TokenKey(credential.key, demand, scope)
        known = self._known.get(key)
        if known is not None and self._now() < known.use_until:
            return known, False
        return await self._flights.join(key, lambda: self._fetch(key, credential, on_request)), True

    def forget(self, credential: Credential, demand: Demand, scope: str, token: Token) -> None:
        """A registry refused this token before its time. One that has replaced it meanwhile stays."""
        key = TokenKey(credential.key, demand, scope)
        if self._known.get(key) is token:
            del self._known[key]
            if credential.exchange is not None:
                self._refresh.drop(Place(credential.key, *demand))

    async def aclose(self) -> None:
        """End what is in flight."""
        await self._flights.aclose()
        await self._refresh.aclose()

    async def _fetch(self, key: TokenKey, credential: Credential, on_request: Callable[[], None] | None) -> Token:
        async with bounded(self._replica, self._timeouts.total_s):
            call = Call(deadline=self._now() + self._timeouts.total_s, on_request=on_request)
            grant = await self._grant(key, credential, call)
        early = min(_EARLY_MOST_S, grant.lives_s * _EARLY_SHARE)
        token = Token(grant.token, self._now() + grant.lives_s - early, grant.may_pull)
        self._known[key] = token
        return token

    async def _grant(self, key: TokenKey, credential: Credential, call: Call) -> Grant:
        realm = key.demand.realm
        secret = not credential.is_anonymous
        if reason := refusal(realm, endpoint=self._endpoint, token_hosts=self._token_hosts, secret=secret):
            raise Unauthorized(reason, replica=self._replica)
        if (exchange := credential.exchange) is not None:
            place = Place(credential.key, *key.demand)
            return self._read(await self._refresh.access(place, credential, exchange, key.scope, call), key)
        who = await self._secrets.of(credential)
        if who is None:
            answer = await self._transport.ask_there(_by_get(key), call)
        else:
            answer = await self._transport.ask_there(_by_post(key, who), call)
            if answer.status in _NO_POST:
                answer = await self._transport.ask_there(_by_get(key).authorised(who.basic(), who.password), call)
        return self._read(answer, key)

    def _read(self, answer: Answer, key: TokenKey) -> Grant:
        if answer.status != HTTPStatus.OK:
            raise self._error_of(answer)
        try:
            return parse_grant(answer.body, scope=key.scope, now=self._wall())
        except NoToken as exc:
            detail = f"token realm {hosts.host_of(answer.url)}: {exc}"
            raise Unreachable(detail, replica=self._replica, step="protocol") from exc

    def _error_of(self, answer: Answer) -> RegistryError:
        """Token servers refuse in many ways: whatever is not a throttle or a failure of theirs is a refusal."""
        host = hosts.host_of(answer.url)
        status = answer.status
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            detail = f"token realm {host} redirects (HTTP {status}); redirects of realms are not followed"
            return Unauthorized(detail, replica=self._replica)
        if status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS} or not (
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        ):
            return error_of(answer, replica=self._replica)
        return Unauthorized(f"token realm refused: {answer.words()}", replica=self._replica)


def _by_get(key: TokenKey) -> Ask:
    query = {"service": key.demand.service, "scope": key.scope}
    url = key.demand.realm.update_query({name: value for name, value in query.items() if value})
    return Ask(method="GET", url=url, most=TOKEN_ANSWER_BYTES)


def _by_post(key: TokenKey, who: UserPassword) -> Ask:
    form = {
        "grant_type": "password",
        "service": key.demand.service,
        "client_id": CLIENT_ID,
        "scope": key.scope,
        "username": who.username,
        "password": who.password,
    }
    return Ask(
        method="POST",
        url=key.demand.realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        form=urlencode(form).encode("ascii"),
        hide=(who.password,),
        most=TOKEN_ANSWER_BYTES,
    )
