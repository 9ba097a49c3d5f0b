"""How one replica wants to be asked, and with what: challenges learned, proofs made, refusals remembered.

A repository that was asked before costs one request; one that was not is tried as the last challenge of this host
had it. A replica that changes its mind (another realm, a revoked token) costs one more request, once.
"""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from cachetools import LRUCache, TTLCache
from yarl import URL

from tidegate.registry import hosts
from tidegate.registry.answer import Answer
from tidegate.registry.auth.challenge import parse_challenges
from tidegate.registry.auth.credentials import Credential, CredentialKey, Secrets
from tidegate.registry.auth.realms import parse_realm
from tidegate.registry.auth.tokens import Demand, Token, Tokens
from tidegate.registry.bounds import Timeouts
from tidegate.registry.errors import RegistryError, Unauthorized
from tidegate.registry.transport import Ask, Call, Transport

_REPOSITORIES = 4096
_LONGEST_SERVICE = 1024

Way = Demand | Literal["basic", "open"]
"""What a repository asks for: a token, a password, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a request carries to show who asks."""

    way: Way | None = None
    """None: it is not known what the replica wants, and nothing is carried."""
    header: str | None = field(default=None, repr=False)
    token: Token | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)
    """What a Basic header was made of."""
    fresh: bool = True
    """Made for this very call; if it is refused, another of its kind will be too."""
    refused: Unauthorized | None = None
    """Why nothing is carried although something is known."""

    @property
    def grants_pull(self) -> bool:
        """Whether a 404 under this proof means absence."""
        return self.header is not None and (self.token is None or self.token.may_pull is not False)


class Authoriser:
    """The memory of one replica's challenges and refusals. Everything in it is bounded."""

    def __init__(
        self, *, endpoint: URL, transport: Transport, tokens: Tokens, secrets: Secrets, timeouts: Timeouts, replica: str
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._tokens = tokens
        self._secrets = secrets
        self._timeouts = timeouts
        self._replica = replica
        self._now = asyncio.get_running_loop().time
        self._ways: LRUCache[str, Way] = LRUCache(_REPOSITORIES)
        self._latest: Way | None = None
        self._open_until = 0.0
        self._refusals: TTLCache[tuple[CredentialKey, str], str] = TTLCache(
            _REPOSITORIES, timeouts.refusal_s, timer=self._now
        )

    def refusal(self, credential: Credential, repository: str) -> str | None:
        """What the refusal of a moment ago said, or None."""
        return self._refusals.get((credential.key, repository))

    def refuse(self, credential: Credential, repository: str, error: Unauthorized) -> None:
        """Do not try this credential on this repository again for a moment."""
        self._refusals[credential.key, repository] = error.detail

    async def proof(self, call: Call, credential: Credential, repository: str) -> Proof:
        """What the first request of a call should carry. Raises RegistryError."""
        known = self._ways.get(repository)
        way = known or self._latest
        if way is None or way == "open":
            return Proof(way=way)
        try:
            return await self._make(call, way, credential, repository)
        except Unauthorized as exc:
            self._forget(way, repository)
            if known is None:  # what another repository wanted; this one may be open
                return Proof(way=way, refused=exc)
            raise
        except RegistryError:
            self._forget(way, repository)
            raise

    async def better(
        self, call: Call, credential: Credential, repository: str, proof: Proof, answer: Answer
    ) -> Proof | None:
        """Another proof that may do better than the one that got `answer`, once a call; None when there is none.

        Raises RegistryError when the replica says what it wants and we cannot have it.
        """
        if not call.may_reauthenticate:
            return None
        way = await self._wanted(call, credential, proof, answer)
        if way is None:
            return None
        call.may_reauthenticate = False
        self._ways[repository] = self._latest = way
        if way == proof.way:
            if proof.refused is not None:
                raise proof.refused
            if proof.fresh:
                return None
        if proof.token is not None and isinstance(proof.way, Demand):
            self._tokens.forget(credential, proof.way, _scope(repository), proof.token)
        return await self._make(call, way, credential, repository)

    def learn(self, repository: str, proof: Proof, answer: Answer) -> None:
        """A repository that gave something to a request that carried nothing is open."""
        if proof.header is None and answer.status < HTTPStatus.BAD_REQUEST:
            self._ways[repository] = "open"

    def is_proof_of_absence(self, repository: str, proof: Proof) -> bool:
        """Whether a 404 for this proof is an authorised one."""
        if proof.header is not None:
            return proof.grants_pull
        return proof.refused is None and (self._latest is None or self._ways.get(repository) == "open")

    async def _wanted(self, call: Call, credential: Credential, proof: Proof, answer: Answer) -> Way | None:
        remembered = proof.way if proof.token is not None and not proof.fresh else None
        match answer.status:
            case _ if answer.redirected:
                return None
            case HTTPStatus.UNAUTHORIZED:
                return _choose(answer) or remembered
            case HTTPStatus.BAD_REQUEST:  # public ECR on an expired token, without any challenge
                return remembered
            case HTTPStatus.NOT_FOUND if proof.way is None and not credential.is_anonymous:
                return await self._asked(call)
            case _:
                return None

    async def _asked(self, call: Call) -> Way | None:
        """Some registries hide what nobody may see behind 404, without a challenge: `/v2/` has to give one."""
        if self._now() < self._open_until:
            return None
        answer = await self._transport.ask(Ask(method="GET", url=self._endpoint.with_path("/v2/")), call)
        way = _choose(answer) if answer.status == HTTPStatus.UNAUTHORIZED else None
        if way is None:
            self._open_until = self._now() + self._timeouts.open_s
        return way

    async def _make(self, call: Call, way: Way, credential: Credential, repository: str) -> Proof:
        if isinstance(way, Demand):
            token, fresh = await self._tokens.get(credential, way, _scope(repository), call.on_request)
            return Proof(way=way, header=f"Bearer {token.value}", token=token, fresh=fresh)
        who = await self._secrets.of(credential)
        if who is None:
            detail = f"{hosts.host_of(self._endpoint)} wants a user name and a password"
            raise Unauthorized(detail, replica=self._replica)
        return Proof(way=way, header=who.basic(), password=who.password)

    def _forget(self, way: Way, repository: str) -> None:
        """What was remembered did not work: the next call asks without it, and hears what is wanted now."""
        self._ways.pop(repository, None)
        if self._latest == way:
            self._latest = None


def _scope(repository: str) -> str:
    return f"repository:{repository}:pull"


def _choose(answer: Answer) -> Way | None:
    """A token where one is offered, else the password; None when nothing is offered that we know."""
    offered = parse_challenges(answer.challenges)
    for challenge in offered:
        realm = parse_realm(challenge.parameters.get("realm", "")) if challenge.scheme == "bearer" else None
        if realm is not None:
            return Demand(realm, challenge.parameters.get("service", "")[:_LONGEST_SERVICE])
    return "basic" if any(challenge.scheme == "basic" for challenge in offered) else None
