"""What the API server can answer instead of what was asked, mapped from HTTP and sockets in one place.

    KubeError
     ├─ NotFound        404
     ├─ AlreadyExists   409, reason AlreadyExists
     ├─ Conflict        any other 409: somebody else wrote first, or a precondition failed
     ├─ Gone            410: the resourceVersion or the continue token is too old; list again
     ├─ Unauthorized    401
     ├─ Forbidden       403, from RBAC as well as from admission
     ├─ Invalid         400, 413, 415, 422 and whatever else of 4xx: the request is wrong and stays wrong
     └─ Unavailable     no answer, not in time, 429, 5xx, or an answer that no API server gives: ask again later

Nothing above `tidegate.kube` names an aiohttp class.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import msgspec

EVIDENCE_LIMIT = 256
"""Characters of a server's words that are kept."""


class KubeError(Exception):
    """The API server did not do what was asked. `status` is the HTTP code, 0 when there was none."""

    def __init__(self, detail: str, *, status: int = 0, reason: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(_one_line(detail))
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class NotFound(KubeError):
    pass


class Conflict(KubeError):
    pass


class AlreadyExists(KubeError):
    pass


class Gone(KubeError):
    pass


class Unauthorized(KubeError):
    pass


class Forbidden(KubeError):
    pass


class Invalid(KubeError):
    pass


class Unavailable(KubeError):
    pass


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float | None = None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """`meta/v1.Status`, the body of every refusal."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(Status)
_BY_CODE: dict[int, type[KubeError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone}
_TOO_MANY_REQUESTS = 429


def from_status(status: Status) -> KubeError:
    """The error that a Status object means; one without a code is a server's fault."""
    retry_after_s = status.details.retry_after_seconds if status.details else None
    kind = _BY_CODE.get(status.code, Invalid)
    if status.reason == "AlreadyExists":
        kind = AlreadyExists
    elif status.code == _TOO_MANY_REQUESTS or not 400 <= status.code < 500:  # noqa: PLR2004  the 4xx range
        kind = Unavailable
    text = status.message or status.reason or "no reason given"
    return kind(text, status=status.code, reason=status.reason, retry_after_s=retry_after_s)


def from_response(code: int, body: bytes, *, retry_after: str = "") -> KubeError:
    """The error that an HTTP answer means. A body that is no Status (a proxy's page) leaves its first words."""
    try:
        told = _STATUS.decode(body)
    except msgspec.MsgspecError:
        told = Status(message=f"HTTP {code}: {body[: 4 * EVIDENCE_LIMIT].decode(errors='replace')}")
    error = from_status(msgspec.structs.replace(told, code=code))
    if error.retry_after_s is None and retry_after.isascii() and retry_after.isdigit():
        error.retry_after_s = float(retry_after[:9])
    return error


@contextmanager
def as_kube_errors(what: str) -> Iterator[None]:
    """Turn everything that a connection can do into Unavailable. `what` is the request in words."""
    try:
        yield
    except TimeoutError as exc:
        detail = f"{what}: no answer in time"
        raise Unavailable(detail) from exc
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as exc:
        detail = f"{what}: {type(exc).__name__}: {exc}"
        raise Unavailable(detail) from exc
    except (msgspec.MsgspecError, RecursionError) as exc:
        detail = f"{what}: not the JSON that was expected: {exc}"
        raise Unavailable(detail) from exc


def _one_line(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * EVIDENCE_LIMIT])
    line = " ".join(line.split())
    return line if len(line) <= EVIDENCE_LIMIT else line[: EVIDENCE_LIMIT - 1] + "…"
