"""What the identities of clouds have in common: a short-lived secret, fetched once for all, kept until it is old.

A fetch goes on when the caller who started it gives up; the next one finds its result. When a new secret cannot be
had, the old one serves as long as it lives, and the cloud is not asked again for a moment.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import structlog

from tidegate import __version__
from tidegate.registry.auth.credentials import Credential
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.bounds import TOKEN_ANSWER_BYTES, TOKEN_CHARACTERS, Timeouts
from tidegate.registry.flights import Flights

Wall = Callable[[], float]
"""Unix seconds."""

LONGEST_S = 30.0
"""One fetch, with all that a cloud's library repeats."""
_LONGEST_LIFE_S = 24 * 3600.0
_EARLY_SHARE = 0.1
_EARLY_MOST_S = 240.0
"""Metadata servers and libraries have a new token from five minutes before the old one ends."""
_LEAST_S = 1.0
_FAILED_S = 5.0
_PRINTABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Given:
    """What a cloud gave."""

    secret: str = field(repr=False)
    lives_s: float


class Identity(Protocol):
    """Who we are in a cloud."""

    async def fetch(self) -> Given:
        """A secret from the cloud. Raises NoCredential; whatever else it raises is told by its type only."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    secret: str = field(repr=False)
    use_until: float
    dies_at: float


class Kept:
    """The secret of one identity."""

    def __init__(
        self, identity: Identity, *, label: str, clock: Callable[[], float], patience_s: float,
        longest_s: float = LONGEST_S,
    ) -> None:  # fmt: skip
        self._identity = identity
        self._label = label
        self._clock = clock
        self._patience_s = patience_s
        self._longest_s = longest_s
        self._held: _Held | None = None
        self._fault, self._silent_until = "", 0.0
        self._flights: Flights[None, None] = Flights("identity", lasting=True)

    async def get(self) -> str:
        """The secret. Raises NoCredential."""
        held = self._held
        if held is not None and self._clock() < held.use_until:
            return held.secret
        if self._clock() >= self._silent_until:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._flights.join(None, self._renew)
            except TimeoutError:
                self._fault = f"has not answered in {self._patience_s:g} s, and is still asked"
        held = self._held
        if held is None or self._clock() >= held.dies_at:
            raise NoCredential(self._fault)
        return held.secret

    async def aclose(self) -> None:
        """End what is in flight, and close the identity."""
        await self._flights.aclose()
        await self._identity.aclose()

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(self._longest_s):
                given = await self._identity.fetch()
            lives_s = _checked(given)
        except NoCredential as exc:
            self._fail(str(exc))
        except TimeoutError:
            self._fail(f"no answer within {self._longest_s:g} s")
        except Exception as exc:  # noqa: BLE001 - libraries raise what they like, with answers in their words
            self._fail(f"failed ({type(exc).__name__})")
        else:
            now = self._clock()
            usable_s = max(lives_s - min(_EARLY_MOST_S, lives_s * _EARLY_SHARE), _LEAST_S)
            self._held = _Held(given.secret, now + usable_s, now + lives_s)
            self._fault = ""

    def _fail(self, words: str) -> None:
        self._fault, self._silent_until = words, self._clock() + _FAILED_S
        _log.warning("cloud_identity.failed", identity=self._label, reason=words)


def _checked(given: Given) -> float:
    """How long it is believed to live. Raises NoCredential for what no request could carry."""
    secret: object = given.secret  # libraries pass on what they got
    if not isinstance(secret, str) or len(secret) > TOKEN_CHARACTERS or not _PRINTABLE.fullmatch(secret):
        message = "gave something that is no token"
        raise NoCredential(message)
    if not given.lives_s > 0.0:  # NaN is not either
        message = "gave a token that has expired already"
        raise NoCredential(message)
    return min(given.lives_s, _LONGEST_LIFE_S)


class CloudSource:
    """A cloud whose registries take a fixed user name with the secret as its password."""

    def __init__(self, *, place: int, label: str, username: str, kept: Kept) -> None:
        self.label = label
        self._place = place
        self._username = username
        self._kept = kept

    async def credentials(self, image: str) -> tuple[Credential, ...]:  # noqa: ARG002 - Source's shape
        """The same for every image. Raises NoCredential."""
        secret = await self._kept.get()
        return (Credential(self._place, self._username, secret, origin=self.label),)

    async def aclose(self) -> None:
        """End what is in flight."""
        await self._kept.aclose()


class _ShortResponse(aiohttp.ClientResponse):
    """An answer that is read whole or not at all, within a bound that libraries do not have."""

    async def read(self) -> bytes:
        """The body. Raises ClientPayloadError when it is longer than any answer with a token."""
        if self._body is None:
            body = bytearray()
            async for chunk in self.content.iter_any():
                body += chunk
                if len(body) > TOKEN_ANSWER_BYTES:
                    self.close()
                    message = f"longer than {TOKEN_ANSWER_BYTES} bytes"
                    raise aiohttp.ClientPayloadError(message)
            self._body = bytes(body)
        return self._body


def open_cloud_session(timeouts: Timeouts, connector: aiohttp.BaseConnector | None = None) -> aiohttp.ClientSession:
    """For token services of clouds: no cookies, no proxies, bounded answers. The caller closes it."""
    return aiohttp.ClientSession(
        connector=connector or aiohttp.TCPConnector(limit=4, ttl_dns_cache=timeouts.dns_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        response_class=_ShortResponse,
        timeout=aiohttp.ClientTimeout(total=timeouts.total_s, sock_connect=timeouts.connect_s),
        headers={"User-Agent": f"tidegate/{__version__}"},
    )
