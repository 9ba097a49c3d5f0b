"""Azure Container Registry's two steps from an Entra token to an access token.

    POST https://HOST/oauth2/exchange   grant_type=access_token, service, access_token[, tenant] → {"refresh_token"}
    POST <the realm of the challenge>   grant_type=refresh_token, service, scope, refresh_token  → {"access_token"}

HOST is the realm's, which `realms.refusal` has let pass. A refresh token lives about three hours and serves all scopes
of its registry. One that is refused is exchanged anew, once, and not if it is younger than a minute: a registry that
changes its way of permissions makes all it has given invalid, and one that refuses everything is not asked in a loop.
Source: Azure/acr, docs/AAD-OAuth.md.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode

from cachetools import LRUCache, TTLCache
from yarl import URL

from tidegate.registry import hosts
from tidegate.registry.answer import Answer
from tidegate.registry.auth.answers import Grant, NoToken, parse_refresh
from tidegate.registry.auth.credentials import Credential, CredentialKey, Exchange
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.bounds import TOKEN_ANSWER_BYTES, Timeouts
from tidegate.registry.errors import RegistryError, Unauthorized, Unreachable
from tidegate.registry.flights import Flights
from tidegate.registry.translate import bounded
from tidegate.registry.transport import Ask, Call, Transport

_PLACES = 64
_EARLY_SHARE = 0.1
_EARLY_MOST_S = 600.0
_YOUNG_S = 60.0


class Place(NamedTuple):
    """Whose refresh token, and where it is good."""

    who: CredentialKey
    realm: URL
    service: str


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """Loop times."""

    value: str = field(repr=False)
    had_at: float
    use_until: float


class RefreshTokens:
    """The refresh tokens of one replica."""

    def __init__(
        self, *, transport: Transport, timeouts: Timeouts, replica: str, refused: Callable[[Answer], RegistryError],
        wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self._transport = transport
        self._timeouts = timeouts
        self._replica = replica
        self._refused = refused
        self._wall = wall
        self._now = asyncio.get_running_loop().time
        self._known: LRUCache[Place, RefreshToken] = LRUCache(_PLACES)
        self._failures: TTLCache[Place, str] = TTLCache(_PLACES, timeouts.refusal_s, timer=self._now)
        self._flights: Flights[Place, RefreshToken] = Flights("exchange")

    async def access(self, place: Place, credential: Credential, exchange: Exchange, scope: str, call: Call) -> Answer:
        """What the realm answers to a refresh token and a scope. Raises RegistryError."""
        token = await self._get(place, credential, exchange, call)
        answer = await self._transport.ask_there(_by_refresh(place, token, scope), call)
        if answer.status == HTTPStatus.UNAUTHORIZED and self.drop(place, token):
            token = await self._get(place, credential, exchange, call)
            answer = await self._transport.ask_there(_by_refresh(place, token, scope), call)
        return answer

    def drop(self, place: Place, token: RefreshToken | None = None) -> bool:
        """Whether there will be another: the known one (or `token`, if it is still the known one) was refused."""
        known = self._known.get(place)
        if known is None or (token is not None and known is not token):
            return True
        if self._now() - known.had_at < _YOUNG_S:
            return False
        del self._known[place]
        return True

    async def aclose(self) -> None:
        """End what is in flight."""
        await self._flights.aclose()

    async def _get(self, place: Place, credential: Credential, exchange: Exchange, call: Call) -> RefreshToken:
        known = self._known.get(place)
        if known is not None and self._now() < known.use_until:
            return known
        if (failure := self._failures.get(place)) is not None:
            raise Unauthorized(failure, replica=self._replica)
        try:
            return await self._flights.join(place, lambda: self._exchange(place, credential, exchange, call))
        except Unauthorized as exc:
            self._failures[place] = exc.detail
            raise

    async def _exchange(self, place: Place, credential: Credential, exchange: Exchange, call: Call) -> RefreshToken:
        async with bounded(self._replica, self._timeouts.total_s):
            try:
                entra = await exchange.token()
            except NoCredential as exc:
                detail = f"{credential.label}: {exc}"
                raise Unauthorized(detail, replica=self._replica) from exc
            own = Call(deadline=self._now() + self._timeouts.total_s, on_request=call.on_request)
            answer = await self._transport.ask_there(_by_exchange(place, entra, exchange.tenant), own)
        grant = self._read(answer)
        early = min(_EARLY_MOST_S, grant.lives_s * _EARLY_SHARE)
        token = RefreshToken(grant.token, self._now(), self._now() + grant.lives_s - early)
        self._known[place] = token
        return token

    def _read(self, answer: Answer) -> Grant:
        if answer.status != HTTPStatus.OK:
            raise self._refused(answer)
        try:
            return parse_refresh(answer.body, now=self._wall())
        except NoToken as exc:
            detail = f"token exchange at {hosts.host_of(answer.url)}: {exc}"
            raise Unreachable(detail, replica=self._replica, step="protocol") from exc


def _by_exchange(place: Place, entra: str, tenant: str) -> Ask:
    form = {"grant_type": "access_token", "service": place.service, "access_token": entra}
    url = place.realm.with_path("/oauth2/exchange").with_query(None)
    return _post(url, form | ({"tenant": tenant} if tenant else {}), secret=entra)


def _by_refresh(place: Place, token: RefreshToken, scope: str) -> Ask:
    form = {"grant_type": "refresh_token", "service": place.service, "scope": scope, "refresh_token": token.value}
    return _post(place.realm, form, secret=token.value)


def _post(url: URL, form: dict[str, str], *, secret: str) -> Ask:
    return Ask(
        method="POST",
        url=url,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        form=urlencode(form).encode("ascii"),
        hide=(secret,),
        most=TOKEN_ANSWER_BYTES,
    )
