"""The checks that a registry makes before it answers anything.

Challenges and bodies are distribution's: htpasswd says `Basic realm="…"`; token auth says `Bearer` with realm, service
and scope, with `error="invalid_token"` or `error="insufficient_scope"` when a token came along that does not do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.testing.registry.credentials import basic_credential, same_secret
from tidegate.testing.registry.tokens import Access, TokenServer, TokenState


@dataclass(frozen=True, slots=True)
class Challenge:
    """Why a request may not pass: the WWW-Authenticate header of its 401."""

    header: str


class Guard(Protocol):
    """What a registry asks before it answers."""

    def challenge(self, authorization: str | None, access: Sequence[Access], *, now: float) -> Challenge | None:
        """None if the request may pass; `access` is what it needs, nothing for `/v2/`."""


@dataclass(frozen=True, slots=True)
class BasicGuard:
    """A password for each user; whoever has one may do everything, as with htpasswd."""

    users: Mapping[str, str]
    realm: str = "double"

    def challenge(self, authorization: str | None, access: Sequence[Access], *, now: float) -> Challenge | None:
        """Every request needs a user, `/v2/` too."""
        del access, now
        given = basic_credential(authorization)
        if given is not None and same_secret(self.users.get(given[0]), given[1]):
            return None
        return Challenge(f'Basic realm="{self.realm}"')


@dataclass(frozen=True, slots=True)
class BearerGuard:
    """Tokens of a token server, as distribution's token auth takes them."""

    tokens: TokenServer
    service: str = "registry.test"

    def challenge(self, authorization: str | None, access: Sequence[Access], *, now: float) -> Challenge | None:
        """Every request needs a token, `/v2/` too; its scope must hold all that the request needs."""
        scheme, _, token = (authorization or "").partition(" ")
        parts = [f'realm="{self.tokens.realm}"', f'service="{self.service}"']
        if access:
            parts.append(f'scope="{" ".join(map(str, access))}"')
        if scheme.lower() == "bearer" and token:
            state = self.tokens.state(token, access, service=self.service, now=now)
            if state is TokenState.GOOD:
                return None
            parts.append(f'error="{state}"')
        return Challenge(f"Bearer {','.join(parts)}")
