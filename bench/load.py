"""The load: some keep-alive connections over TLS, each with one review in flight, every answer looked at."""

import asyncio
import itertools
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

_HEAD_ENDS = b"\r\n\r\n"
_LENGTH = b"content-length: "
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request as it goes over the wire, and what its answer has to hold."""

    request: bytes
    expected: bytes


class WrongAnswer(AssertionError):
    """What came is not what was to come."""


@dataclass(slots=True)
class Sent:
    """What one round did; seconds."""

    latencies: list[float] = field(default_factory=list)
    elapsed: float = 0.0


def exchange(path: str, port: int, body: bytes, expected: bytes) -> Exchange:
    """With the headers of an API server."""
    head = (
        f"POST {path}?timeout=10s HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-apiserver-admission\r\n"
        f"Content-Length: {len(body)}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n"
        "Accept-Encoding: gzip\r\n\r\n"
    )
    return Exchange(head.encode() + body, expected)


class Load:
    """Connections to one server, opened once."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self._port = port
        self._trust = trust
        self._lines: list[_Line] = []

    async def open(self, connections: int) -> None:
        """Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            for _ in range(connections):
                _, line = await loop.create_connection(_Line, "127.0.0.1", self._port, ssl=self._trust)
                self._lines.append(line)

    async def round(self, exchanges: Sequence[Exchange], seconds: float) -> Sent:
        """Ask for that long, each connection as fast as it is answered. Raises WrongAnswer, ConnectionError."""
        sent, turn = Sent(), itertools.cycle(exchanges)
        began = time.perf_counter()
        async with asyncio.timeout(seconds + _CONNECT_S):
            await asyncio.gather(*(line.ask(turn, began + seconds, sent) for line in self._lines))
        sent.elapsed = time.perf_counter() - began
        return sent

    def close(self) -> None:
        """Leave without a word."""
        for line in self._lines:
            line.abort()


class _Line(asyncio.Protocol):
    """One connection; the next review goes out from within the callback that has the last answer."""

    def __init__(self) -> None:
        self._received = b""
        self._turn: Iterator[Exchange] | None = None
        self._until = 0.0
        self._sent = Sent()
        self._asked_at = 0.0
        self._expected = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one, but says it nowhere

    def abort(self) -> None:
        self._transport.abort()

    def ask(self, turn: Iterator[Exchange], until: float, sent: Sent) -> asyncio.Future[None]:
        """Done when the time is over and the last answer has come."""
        self._turn, self._until, self._sent = turn, until, sent
        self._done = asyncio.get_running_loop().create_future()
        self._next()
        return self._done

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head, ends, body = received.partition(_HEAD_ENDS)
        if not ends or len(body) < _length(head):
            self._received = received
            return
        self._received = b""
        now = time.perf_counter()
        self._sent.latencies.append(now - self._asked_at)
        if self._expected not in body or b" 200 " not in head[:16]:
            self._fail(WrongAnswer(f"{received[:600]!r} has no {self._expected!r}"))
        elif now < self._until:
            self._next()
        elif self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the server hung up"))

    def _next(self) -> None:
        assert self._turn is not None
        next_one = next(self._turn)
        self._expected = next_one.expected
        self._asked_at = time.perf_counter()
        self._transport.write(next_one.request)

    def _fail(self, exc: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc)


def _length(head: bytes) -> int:
    at = head.lower().find(_LENGTH)
    return int(head[at + len(_LENGTH) :].partition(b"\r\n")[0])
