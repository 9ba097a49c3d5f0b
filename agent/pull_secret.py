"""A workload's pull secret, asked of the controller for one pull that is granted.

    POST URL/pull-secret    Authorization: Bearer <token of the audience `tidegate.dev/pull-secrets`, bound to this Pod>
    {"image": "r.example/app@sha256:…"}    →    {"credentials": [{"username": "…", "password": "…"}]}

The token is read from its file for each question, as kubelet renews it; nothing of an answer is kept past the pull. A
controller that is busy or away is asked once more, then the pull goes on without its word.
"""

import asyncio
import random
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from agent.credentials import Found, Hosts, NoCredential, parsed
from tidegate.config import ConfigError
from tidegate.cri import Credential

ASK_S = 5.0
"""One question with its answer."""
_TRIES = 2
_PAUSE_S = 0.5
_MOST_BYTES = 64 << 10
_MOST_TOKEN = 16 << 10
_ORIGIN = "pull secret"
_NOBODY = frozenset({HTTPStatus.NOT_FOUND})
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class _Entry(msgspec.Struct):
    username: str
    password: str = ""

    def __repr__(self) -> str:
        return f"_Entry({self.username})"


class _Answer(msgspec.Struct):
    credentials: list[_Entry] = []


class _Busy(Exception):
    """Worth one more try."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """Where to ask, whom to believe there, and what to show."""

    url: URL
    context: ssl.SSLContext = field(repr=False)
    token_file: Path


def controller_of(url: str, *, ca_file: Path | None, token_file: Path) -> Controller:
    """From a command line. `ca_file`: a PEM bundle, else the system's. Raises ConfigError."""
    try:
        parts = URL(url)
    except ValueError:
        parts = URL()
    if parts.scheme != "https" or not parts.host or parts.user or parts.query_string or parts.fragment:
        message = "--controller-url: write it like https://tidegate-controller.tidegate.svc:8445"
        raise ConfigError(message)
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as exc:
        message = f"--controller-ca-file {ca_file}: {exc.strerror or exc}"
        raise ConfigError(message) from exc
    return Controller(url=parts, context=context, token_file=token_file)


class PullSecretSource:
    """An `agent.credentials.Source`. Open connections are none of its: each question has its own."""

    def __init__(self, controller: Controller, *, hosts: Hosts, chance: random.Random) -> None:
        self._controller = controller
        self._hosts = hosts
        self._chance = chance

    async def credentials(self, image: str) -> tuple[Found, ...]:
        """See Source: what the controller tells; it is not asked where no namespace's pull secrets count."""
        host = parsed(image).domain
        if not self._hosts.has_pull_secrets(host):
            return ()
        server = self._hosts.server(host)
        entries = (await self._ask(image)).credentials
        return tuple(Found(Credential(entry.username, entry.password, server), _ORIGIN) for entry in entries)

    async def _ask(self, image: str) -> _Answer:
        for left in reversed(range(_TRIES)):
            try:
                async with asyncio.timeout(ASK_S):
                    return await self._once(image)
            except (_Busy, TimeoutError, aiohttp.ClientError, OSError) as exc:
                if not left:
                    why = str(exc) if isinstance(exc, _Busy) else type(exc).__name__
                    message = f"{_ORIGIN}: the controller cannot be asked: {why}"
                    raise NoCredential(message) from None
            await asyncio.sleep(_PAUSE_S * self._chance.uniform(0.5, 1.5))
        raise AssertionError  # the last try returned or raised

    async def _once(self, image: str) -> _Answer:
        token = await asyncio.to_thread(_read_token, self._controller.token_file)
        connector = aiohttp.TCPConnector(ssl=self._controller.context, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(
                self._controller.url / "pull-secret",
                json={"image": image},
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,
            ) as answer,
        ):
            if answer.status in _NOBODY:
                return _Answer()
            if answer.status in _LATER or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _Busy(answer.status)
            if answer.status != HTTPStatus.OK:
                message = f"{_ORIGIN}: the controller answered {answer.status}"
                raise NoCredential(message)
            return _parsed(await _body(answer))


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            break
    return bytes(body)


def _parsed(body: bytes) -> _Answer:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # whose words may quote what they could not read
        message = f"{_ORIGIN}: the controller's answer cannot be read"
        raise NoCredential(message) from None


def _read_token(path: Path) -> str:
    """Raises NoCredential."""
    try:
        with path.open("rb") as stream:
            token = stream.read(_MOST_TOKEN).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__
        message = f"{_ORIGIN}: token {path}: {why}"
        raise NoCredential(message) from None
    if not token or any(c.isspace() for c in token):
        message = f"{_ORIGIN}: token {path}: holds no token"
        raise NoCredential(message)
    return token
