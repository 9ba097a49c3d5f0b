"""What was asked of a server, kept for the assertions: each request for a while, the counts for ever."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

REMEMBERED: Final = 20_000
"""Requests kept whole."""


class Kind(StrEnum):
    """What a request was about, from its path."""

    BASE = "base"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOAD = "upload"
    TAGS = "tags"
    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    OTHER = "other"


class Authorization(StrEnum):
    """Which kind of credential came along; the credential itself is not kept."""

    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"
    OTHER = "other"


_KINDS: Final = (
    (re.compile(r"^/v2/?$"), Kind.BASE),
    (re.compile(r"^/v2/.+/manifests/[^/]+$"), Kind.MANIFEST),
    (re.compile(r"^/v2/.+/blobs/uploads/[^/]*$"), Kind.UPLOAD),
    (re.compile(r"^/v2/.+/blobs/[^/]+$"), Kind.BLOB),
    (re.compile(r"^/v2/.+/tags/list$"), Kind.TAGS),
    (re.compile(r"^/token$"), Kind.TOKEN),
)


@dataclass(slots=True, kw_only=True)
class Request:
    """One request; `status`, `seconds` and `sent` are filled in when it has been answered."""

    method: str
    path: str
    query: str
    kind: Kind
    at: float
    """The loop's time of its arrival."""
    authorization: Authorization
    headers: Mapping[str, str]
    """Names in lower case; without Authorization and Cookie."""
    peer: str = ""
    """The client's `HOST:PORT`: one for each connection."""
    status: int | None = None
    """None while it is being answered, and for ever if the client went first."""
    seconds: float | None = None
    sent: int = 0
    """Bytes of the body."""


def kind_of(path: str) -> Kind:
    """What a path is about."""
    return next((kind for pattern, kind in _KINDS if pattern.search(path)), Kind.OTHER)


def authorization_of(header: str | None) -> Authorization:
    """The kind of an Authorization header."""
    if not header:
        return Authorization.NONE
    scheme = header.partition(" ")[0].lower()
    known = {"basic": Authorization.BASIC, "bearer": Authorization.BEARER}
    return known.get(scheme, Authorization.OTHER)


class Record:
    """All requests of one server: the last ones whole, the counts without end."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque(maxlen=REMEMBERED)
        self.sent = 0
        """Bytes of all bodies that were sent."""
        self.in_flight = 0
        self.peak_in_flight = 0
        self._arrived: Counter[tuple[str, Kind]] = Counter()
        self._answered: Counter[tuple[str, Kind, int]] = Counter()
        self._change = asyncio.Event()

    def count(self, *, method: str | None = None, kind: Kind | None = None, status: int | None = None) -> int:
        """How many came; with `status`, how many were answered with it."""
        if status is None:
            return sum(
                number
                for (its_method, its_kind), number in self._arrived.items()
                if method in {None, its_method} and kind in {None, its_kind}
            )
        return sum(
            number
            for (its_method, its_kind, its_status), number in self._answered.items()
            if method in {None, its_method} and kind in {None, its_kind} and status == its_status
        )

    def matching(self, path: str) -> list[Request]:
        """The remembered requests in whose path a regular expression is found."""
        pattern = re.compile(path)
        return [request for request in self.requests if pattern.search(request.path)]

    async def until(self, condition: Callable[["Record"], bool], *, within_s: float = 5.0) -> None:
        """Returns when the condition holds; it is looked at again after each arrival and each answer."""
        async with asyncio.timeout(within_s):
            while not condition(self):
                self._change.clear()
                await self._change.wait()

    def arrive(self, request: Request) -> None:
        """A request has come."""
        self.requests.append(request)
        self._arrived[request.method, request.kind] += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._change.set()

    def leave(self, request: Request, *, now: float) -> None:
        """A request has been answered, or its client has gone (no status)."""
        request.seconds = now - request.at
        self.in_flight -= 1
        self.sent += request.sent
        if request.status is not None:
            self._answered[request.method, request.kind, request.status] += 1
        self._change.set()

    def clear(self) -> None:
        """Forgets everything so far; what is being answered is counted when it leaves."""
        self.requests.clear()
        self._arrived.clear()
        self._answered.clear()
        self.sent, self.peak_in_flight = 0, self.in_flight
