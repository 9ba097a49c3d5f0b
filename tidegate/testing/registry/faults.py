"""Everything that a registry can be told to do wrong, as one value that is replaced at run time.

    replica.faults = replace(replica.faults, throttle=Throttle(rate=20, burst=10))

A fault that is a `Where` touches the requests whose path its pattern finds, of its methods; without either, all. What
has a state (how many requests passed a throttle, how often an answer was given) has it anew with each new `Faults`
whose value for it differs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tidegate.reference import Digest

NGINX_429: Final = b"<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n"
_NOTHING: Final[Mapping[Digest, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which requests a fault touches."""

    path: str = ""
    """A regular expression that is searched for in the path."""
    methods: tuple[str, ...] = ()

    def touches(self, method: str, path: str) -> bool:
        """Whether a request is touched."""
        return (not self.methods or method in self.methods) and re.search(self.path, path) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Where):
    """At most `rate` requests a second over all clients, `burst` of them early, the others refused as nginx does."""

    rate: float
    burst: int
    status: int = 429
    retry_after: str | None = None
    """The header as it shall be sent: seconds, an HTTP date, or nonsense."""
    html: bool = True
    """nginx's page; otherwise the registry's own TOOMANYREQUESTS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Where):
    """This answer in place of the registry's own, `times` times or always."""

    status: int
    body: bytes = b""
    padding: int = 0
    """This many spaces after the body: a large body that needs no memory here."""
    content_type: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()
    chunked: bool = False
    """No Content-Length."""
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall(Where):
    """Silence: no answer at all, or none after `after` bytes of the body. It ends when the client goes."""

    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Where):
    """The connection is reset: before any answer, or after `after` bytes of the body."""

    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Where):
    """To the same path at another base URL, `http://HOST:PORT`, as registries do that keep blobs in object stores."""

    to: str
    path: str = r"/blobs/sha"
    methods: tuple[str, ...] = ("GET", "HEAD")
    status: int = 307


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All that is wrong with a registry right now. The default: nothing."""

    latency_s: float = 0.0
    """Before each answer."""
    bandwidth: float | None = None
    """Bytes a second of blob bodies, for all connections together."""
    throttle: Throttle | None = None
    answers: tuple[Answer, ...] = ()
    """The first that touches a request is given."""
    stalls: tuple[Stall, ...] = ()
    cuts: tuple[Cut, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    lies: Mapping[Digest, bytes] = field(default_factory=lambda: _NOTHING)
    """Other bytes for manifests and blobs; the headers go on naming the digest that was asked for."""
    digest_header: str | None = "{digest}"
    """Docker-Content-Digest: a template, another digest, or none at all."""
    content_type: str = "{type}"
    """Content-Type of manifests, as a template."""
    chunked_manifests: bool = False
    """Manifests without Content-Length."""
    ranges: bool = True
    """Whether Range is honoured; it is only a SHOULD."""
    accept: bool = True
    """Whether Accept is looked at as distribution does."""
    checks_references: bool = True
    """Whether a pushed manifest is refused that names what is not here; a lagging replica takes it."""


NO_FAULTS: Final = Faults()
