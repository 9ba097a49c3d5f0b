"""The shared secrets of a file: one a line, any of them opens, the first is the one to send.

The file is read again when it changes; one that holds nothing usable leaves the old secrets in force.
"""

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Never

import structlog

from tidegate.config import ConfigError
from tidegate.process.stamps import stamp_of

log = structlog.get_logger()

LEAST_BYTES = 16
_MOST_BYTES = 16 << 10
_MOST_SECRETS = 16
_LOOK_S = 1.0
_SCHEME = "bearer "


class Secrets:
    """See the module."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        self._path = path
        self._stamp = stamp_of(path)
        self._secrets = _read(path)
        self._digests = [_digest(secret) for secret in self._secrets]

    @property
    def header(self) -> str:
        """The Authorization header of who knows the first secret."""
        return f"Bearer {self._secrets[0].decode('ascii')}"

    def opens(self, header: str) -> bool:
        """Whether an Authorization header (`Bearer SECRET` or the secret alone) knows one of them.

        Takes as long for a wrong one as for a right one: digests are compared, each with all of its bytes.
        """
        text = header[len(_SCHEME) :] if header[: len(_SCHEME)].lower() == _SCHEME else header
        given = _digest(text.strip().encode(errors="surrogateescape"))
        right = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(right)

    async def follow(self) -> Never:
        """Read the file whenever it changes, for ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Read the file if it is another one than before."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._secrets = _read(self._path)
        except ConfigError as exc:
            log.warning("secret.refused", error=str(exc))
        else:
            self._digests = [_digest(secret) for secret in self._secrets]
            log.info("secret.loaded", file=str(self._path), secrets=len(self._secrets))


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _read(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except OSError as exc:
        message = f"{path}: {exc.strerror or exc}"
        raise ConfigError(message) from exc
    secrets = [line.strip() for line in raw.splitlines() if line.strip()]
    fit = all(len(secret) >= LEAST_BYTES and secret.isascii() and _is_plain(secret) for secret in secrets)
    if not (fit and 0 < len(secrets) <= _MOST_SECRETS and len(raw) <= _MOST_BYTES):
        message = f"{path}: write one secret a line, each at least {LEAST_BYTES} printable ASCII characters"
        raise ConfigError(message)
    return secrets


def _is_plain(secret: bytes) -> bool:
    return secret.decode("ascii").isprintable()
