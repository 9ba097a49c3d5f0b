"""Who we may be at a registry: nobody, or a user name with a secret."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tidegate.config.registries import BasicAuth
from tidegate.registry.errors import Unauthorized

ReadSecret = Callable[[str], Awaitable[str]]
"""Path → text of a secret file. Raises OSError or ValueError."""

_MOST_BYTES = 64 * 2**10


class CredentialKey(NamedTuple):
    """What tells one credential from another, without its secret."""

    place: int
    username: str | None
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """An identity that is no user with a password: its token is what ACR takes in exchange for one of its own."""

    token: Callable[[], Awaitable[str]] = field(repr=False)
    """Raises NoCredential."""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """What one entry of `auth` gives, known by the entry's place in the list."""

    place: int
    username: str | None = None
    """None: anonymous."""
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    origin: str = ""
    """Where it was found, for entries that may give several."""
    exchange: Exchange | None = field(default=None, repr=False, compare=False)

    key: CredentialKey = field(init=False, repr=False, compare=False)
    """What is remembered under it (tokens, refusals) does not outlive a changed password."""

    def __post_init__(self) -> None:
        secret = (self.password or "").encode("utf-8", "surrogatepass")
        key = CredentialKey(self.place, self.username, hashlib.sha256(secret).digest())
        object.__setattr__(self, "key", key)

    @property
    def is_anonymous(self) -> bool:
        """Whether there is no secret to show."""
        return self.username is None

    @property
    def label(self) -> str:
        """What it is called in a detail and in a log line."""
        if self.origin:
            return self.origin
        return "anonymous" if self.username is None else f"basic {self.username}"


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A secret at the moment of its use."""

    username: str
    password: str = field(repr=False)

    def basic(self) -> str:
        """The Authorization header of RFC 7617, in UTF-8."""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


def basic_credential(place: int, basic: BasicAuth) -> Credential:
    """The credential of a `basic` entry."""
    password = None if basic.password is None else basic.password.get_secret_value()
    return Credential(place, basic.username, password, basic.password_file)


class Secrets:
    """Reads a password whenever it is used, so that a rotated file counts at once."""

    def __init__(self, *, read: ReadSecret, replica: str, timeout_s: float) -> None:
        self._read = read
        self._replica = replica
        self._timeout_s = timeout_s

    async def of(self, credential: Credential) -> UserPassword | None:
        """The name and password of a credential, None for the anonymous one. Raises Unauthorized."""
        if credential.username is None:
            return None
        if credential.exchange is not None:
            detail = "a user name and a password are wanted, and an Azure identity is neither"
            raise Unauthorized(detail, replica=self._replica)
        if credential.password_file is None:
            return UserPassword(credential.username, credential.password or "")
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await self._read(credential.password_file)
        except (OSError, ValueError) as exc:  # TimeoutError is an OSError
            reason = (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__
            detail = f"passwordFile {credential.password_file}: {reason}"
            raise Unauthorized(detail, replica=self._replica) from exc
        return UserPassword(credential.username, text.removesuffix("\n").removesuffix("\r"))


async def read_secret_file(path: str) -> str:
    """A small UTF-8 file, read beside the loop. Raises OSError or ValueError."""
    return await asyncio.to_thread(_read, Path(path))


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        raw = stream.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        message = f"larger than {_MOST_BYTES} bytes"
        raise ValueError(message)
    return raw.decode()
