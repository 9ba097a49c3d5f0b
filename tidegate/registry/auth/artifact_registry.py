"""Access tokens for Artifact Registry, by google-auth: the metadata server's (GKE's workload identity), or a file's.

google-auth works in a thread and asks through this loop, so that all it asks is bounded: ten seconds a request and
thirty in all, 64 KiB an answer, no redirects, no proxies. It gets no environment's guess of a credential.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tidegate.config.errors import ConfigError
from tidegate.config.registries import ArtifactRegistryAuth
from tidegate.registry.auth.cloud import LONGEST_S, Given, Wall
from tidegate.registry.auth.source import NoCredential

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

USER = "oauth2accesstoken"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""IAM narrows what the identity may, not the scope."""
_SUFFIXES = (".pkg.dev", ".gcr.io")
_NO_CREDENTIAL = "neither a service account's key nor the configuration of a workload identity federation"
_MOST_BYTES = 64 * 2**10


class GoogleIdentity:
    """One Google identity."""

    def __init__(self, credentials: "Credentials", *, session: aiohttp.ClientSession, wall: Wall) -> None:
        self._credentials = credentials
        self._session = session
        self._wall = wall

    async def fetch(self) -> Given:
        """An access token. Raises NoCredential."""
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - an extra

        wire = bridge(self._session)
        try:
            await asyncio.to_thread(self._credentials.refresh, wire)
        except GoogleAuthError as exc:
            message = f"no token from Google: {type(exc).__name__}"
            raise NoCredential(message) from None
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, OSError) as exc:
            message = f"Google's answer holds no token ({type(exc).__name__})"
            raise NoCredential(message) from None
        token, expiry = self._credentials.token, self._credentials.expiry
        return Given(token, 0.0 if expiry is None else expiry.replace(tzinfo=UTC).timestamp() - self._wall())

    async def aclose(self) -> None:
        """Close its connections."""
        await self._session.close()


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """The shape of google.auth.transport.Response."""

    status: int
    headers: Mapping[str, str]
    data: bytes = field(repr=False)


def bridge(session: aiohttp.ClientSession) -> Callable[..., WireAnswer]:
    """What google-auth asks with, for one refresh: called in its thread, done in this loop, over at a set time."""
    from google.auth import transport  # noqa: PLC0415 - an extra
    from google.auth.exceptions import RefreshError  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    ends = loop.time() + LONGEST_S

    async def ask(url: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> WireAnswer:
        async with asyncio.timeout_at(ends):
            request = session.request(method, url, data=body, headers=headers, allow_redirects=False)
            async with request as answer:
                plain = {"content-type": answer.content_type}
                plain |= {name.lower(): value for name, value in answer.headers.items()}
                return WireAnswer(answer.status, plain, await answer.read())

    def wire(
        url: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None, **_: object
    ) -> WireAnswer:
        # A RefreshError is one that google-auth does not repeat: it would sleep, and the next fetch comes anyway.
        if session.closed or loop.is_closed() or loop.time() >= ends:
            message = "out of time"
            raise RefreshError(message)
        asked = asyncio.run_coroutine_threadsafe(ask(url, method, body, headers or {}), loop)
        try:
            answer = asked.result(LONGEST_S)
        except Exception as exc:  # noqa: BLE001 - google-auth knows only its own
            raise RefreshError(type(exc).__name__) from None
        if answer.status in transport.DEFAULT_RETRYABLE_STATUS_CODES:
            message = f"HTTP {answer.status}"
            raise RefreshError(message)
        return answer

    return wire


async def open_identity(
    place: int, host: str, config: ArtifactRegistryAuth, *, session: aiohttp.ClientSession, wall: Wall
) -> GoogleIdentity:
    """The identity that an entry names, for the registry of a host. Raises ConfigError."""
    path = f"auth[{place}].artifactRegistry"
    if not host.endswith(_SUFFIXES) and host != "gcr.io":
        message = f"{path}: {host} is not Artifact Registry (*.pkg.dev, gcr.io); its token would go astray there"
        raise ConfigError(message)
    try:
        credentials = await asyncio.to_thread(_credentials, config.credentials_file)
    except ImportError as exc:
        message = f"{path}: needs google-auth; install the extra google (images: requirements/clouds.txt)"
        raise ConfigError(message) from exc
    except (OSError, ValueError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or _NO_CREDENTIAL
        message = f"{path}.credentialsFile: {config.credentials_file}: {reason}"
        raise ConfigError(message) from None
    return GoogleIdentity(credentials, session=session, wall=wall)


def _credentials(file: str | None) -> "Credentials":
    """Raises ImportError, OSError or ValueError."""
    from google.auth import compute_engine, exceptions, identity_pool  # noqa: PLC0415 - an extra
    from google.oauth2 import service_account  # noqa: PLC0415

    if file is None:
        return compute_engine.Credentials(universe_domain="googleapis.com")
    with Path(file).open("rb") as stream:
        info = json.loads(stream.read(_MOST_BYTES))
    kind = info.get("type") if isinstance(info, dict) else None
    try:
        if kind == "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
        if kind == "external_account":
            return identity_pool.Credentials.from_info(info, scopes=[SCOPE])
    except (exceptions.GoogleAuthError, TypeError, KeyError, AttributeError) as exc:
        raise ValueError(type(exc).__name__) from None
    raise ValueError(kind)
