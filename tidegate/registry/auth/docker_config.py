"""`.dockerconfigjson` and `.dockercfg` files as a source of credentials.

Shapes, as kubelet reads them: `{"auths": {KEY: ENTRY}}`, or in the older file the keys at the top. An entry has
`username` and `password`, or `auth`, base64 of `username:password`, which wins. Everything else is ignored:
`identitytoken`, `credsStore` and `credHelpers` (which would name programs to run).
"""

import asyncio
import binascii
import os
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tidegate.registry.auth.credentials import Credential, UserPassword
from tidegate.registry.auth.matching import Keyring
from tidegate.registry.auth.source import NoCredential

_MOST_BYTES = 2**20
"""As much as a Secret can hold."""
_FRESH_S = 1.0
"""So long after a look at the file it is taken to be unchanged."""
_OF_NEWER_FILES = frozenset({"auths", "credsStore", "credHelpers", "HttpHeaders"})

_Mark = tuple[int, int, int]
"""Inode, time of change in ns, bytes: where they are the same, the file is the same."""


class UnusableFile(ValueError):
    """Why a file is not used; never repeats a value of it."""


def parse_docker_config(raw: bytes) -> Keyring[UserPassword]:
    """The credentials of a file. Raises UnusableFile."""
    return Keyring(docker_config_entries(raw))


def docker_config_entries(raw: bytes) -> tuple[tuple[str, UserPassword], ...]:
    """Keys as they are written, and who to be under each. Raises UnusableFile."""
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        message = "not JSON"
        raise UnusableFile(message) from None
    if not isinstance(document, dict):
        message = "not a JSON object"
        raise UnusableFile(message)
    entries = document.get("auths") or {} if not _OF_NEWER_FILES.isdisjoint(document) else document
    if not isinstance(entries, dict):
        message = "auths: not an object"
        raise UnusableFile(message)
    found = ((key, _entry(key, entry)) for key, entry in entries.items())
    return tuple((key, who) for key, who in found if who is not None)


def _entry(key: str, entry: object) -> UserPassword | None:
    """None for an entry that shows nothing, as files have that leave the secret to a helper."""
    if not isinstance(entry, dict):
        message = f"{key!r:.80}: not an object"
        raise UnusableFile(message)
    if auth := _text(key, entry, "auth"):
        return _decoded(key, auth)
    username = _text(key, entry, "username")
    return UserPassword(username, _text(key, entry, "password")) if username else None


def _text(key: str, entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        message = f"{key!r:.80}: {name} is not text"
        raise UnusableFile(message)
    return value or ""


def _decoded(key: str, auth: str) -> UserPassword:
    try:
        bare = auth.strip().rstrip("=")
        username, colon, password = b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):  # UnicodeDecodeError is one
        username = colon = password = ""
    if not username or not colon:
        message = f"{key!r:.80}: auth is not base64 of username:password"
        raise UnusableFile(message)
    return UserPassword(username, password)


class DockerConfigSource:
    """One file, read again when it has changed."""

    def __init__(self, *, place: int, file: str, clock: Callable[[], float], timeout_s: float) -> None:
        self.label = f"dockerConfig {file}"
        self._place = place
        self._path = Path(file)
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._looked: float | None = None
        self._mark: _Mark | None = None
        self._keyring: Keyring[UserPassword] = Keyring(())
        self._fault = ""

    async def credentials(self, image: str) -> tuple[Credential, ...]:
        """What the file has for an image. Raises NoCredential."""
        async with self._lock:
            if self._looked is None or self._clock() - self._looked >= _FRESH_S:
                await self._look()
                self._looked = self._clock()
        if self._fault:
            raise NoCredential(self._fault)
        return tuple(
            Credential(self._place, who.username, who.password, origin=f"dockerConfig {key}")
            for key, who in self._keyring.lookup(image)
        )

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                mark, raw = await asyncio.to_thread(_read, self._path, self._mark)
            if raw is not None:
                self._mark, self._fault = mark, ""
                self._keyring = parse_docker_config(raw)
        except (OSError, UnusableFile) as exc:  # TimeoutError is an OSError
            words = (exc.strerror or type(exc).__name__) if isinstance(exc, OSError) else str(exc)
            self._mark, self._fault = None, words


def _read(path: Path, known: _Mark | None) -> tuple[_Mark, bytes | None]:
    """The bytes of a file that is not the known one. Raises OSError or UnusableFile."""
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        if mark == known:
            return mark, None
        raw = stream.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        message = f"larger than {_MOST_BYTES} bytes"
        raise UnusableFile(message)
    return mark, raw
