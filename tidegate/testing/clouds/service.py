"""What the doubles of token services share: a listener, a record of all that reached it, and answers that lie."""

import secrets
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from tidegate.testing.registry.records import Record, Request
from tidegate.testing.registry.wire import SOUND, Breakage, Listener, Reply, send

MOST_BODY: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Took:
    """One request with everything in it, secrets too: for looking for what should not be there."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace")))

    def whole(self) -> str:
        """Everything, for looking for a secret in it."""
        return f"{self.method} {self.path} {dict(self.query)} {dict(self.headers)} {self.body!r} {self.form}"


class TokenService:
    """A service whose subclass says what it answers.

    `lies` is said in place of the truth, to everybody; `breakage` happens to what is said.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.record = Record()
        self.took: list[Took] = []
        self.made: list[str] = []
        """All secrets that were given out."""
        self.lies: Reply | None = None
        self.breakage: Breakage = SOUND
        self._listener = Listener(self._handle, self.record, host=host, port=0, ssl_context=ssl_context)

    @property
    def url(self) -> str:
        """The base URL."""
        return self._listener.url

    @property
    def port(self) -> int:
        """Where on this machine."""
        return int(self._listener.netloc.rpartition(":")[2])

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, trace)

    def answer(self, took: Took) -> Reply:
        """The truth; the base knows nothing."""
        del took
        return Reply(status=404)

    def secret(self, kind: str) -> str:
        """A new secret, remembered."""
        made = f"{kind}-{secrets.token_urlsafe(24)}"
        self.made.append(made)
        return made

    def asked(self, path: str) -> list[Took]:
        """The requests for a path."""
        return [took for took in self.took if took.path == path]

    async def _handle(self, request: web.BaseRequest, seen: Request) -> web.StreamResponse:
        body = await request.content.read(MOST_BODY)
        headers = {name.lower(): value for name, value in request.headers.items()}
        took = Took(request.method, request.path, dict(request.query), headers, body)
        self.took.append(took)
        return await send(request, seen, self.lies or self.answer(took), breakage=self.breakage)


class Loopback(AbstractResolver):
    """Names of services → ports of doubles. A name that is not known does not resolve, and is remembered."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = dict(ports)
        self.unknown: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The double's address."""
        del port, family
        if host not in self._ports:
            self.unknown.append(host)
            message = f"{host} is not known here"
            raise OSError(message)
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=self._ports[host], family=socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""

    def connector(self, context: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
        """For a session that reaches nothing else by name."""
        return aiohttp.TCPConnector(resolver=self, ssl=True if context is None else context, use_dns_cache=False)
