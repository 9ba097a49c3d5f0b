"""HTTP and sockets → the error tree: the one place that names aiohttp's exceptions and maps status codes.

    what happened                                    error (step)
    name does not resolve                            Unreachable (dns)
    connect refused or reset, connection lost        Unreachable (connect)
    handshake or certificate                         Unreachable (tls)
    a bound of ours, 408                             Unreachable (timeout)
    no HTTP, cut or wrong framing, odd 2xx and 3xx   Unreachable (protocol)
    5xx                                              Unreachable (status)
    401, 403                                         Unauthorized
    404                                              NotFound, if the call was authorised (the caller knows)
    429                                              Throttled
    other 4xx with a registry's error code           Unsupported: it will never serve what was asked
    other 4xx without one                            Unreachable (protocol): somebody else answered

The last two differ because an `Unreachable` counts against the replica, and a caller's odd reference must not.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from tidegate.registry.answer import Answer
from tidegate.registry.dns import DnsError
from tidegate.registry.errors import (
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
)

_FAILURES = (
    aiohttp.ClientError,
    aiohttp.EofStream,
    aiohttp.WebSocketError,
    aiohttp.WSMessageTypeError,
    HttpProcessingError,
    TimeoutError,
    OSError,
    UnicodeError,  # a host label that IDNA cannot encode
)
_TLS = (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError)
_SAID: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientPayloadError, "the body ended early or is framed wrong"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (TimeoutError, "timed out"),
)
_LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionError)


@contextmanager
def as_registry_errors(replica: str, host: str) -> Iterator[None]:
    """Whatever aiohttp and sockets raise inside comes out as Unreachable, saying what we did and where."""
    try:
        yield
    except _FAILURES as exc:
        step = _step(exc)
        detail = f"{host}: {_words(exc, step)}"
        raise Unreachable(detail, replica=replica, step=step) from exc


@asynccontextmanager
async def bounded(replica: str, seconds: float) -> AsyncIterator[None]:
    """End the work inside after so long, as Unreachable (timeout)."""
    timeout = asyncio.timeout(seconds)
    try:
        async with timeout:
            yield
    except TimeoutError as exc:
        if not timeout.expired():
            raise
        detail = f"no answer within {seconds:g} s"
        raise Unreachable(detail, replica=replica, step="timeout") from exc


def is_lost_connection(error: RegistryError) -> bool:
    """Whether the connection broke under a request that may have done better on a new one."""
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError | TimeoutError):
        return False
    return isinstance(cause, (*_LOST, aiohttp.ClientOSError))


def error_of(answer: Answer, *, replica: str) -> RegistryError:
    """What an answer means that is not the one hoped for."""
    status, detail = answer.status, answer.words()
    error: RegistryError
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            error = Unauthorized(detail, replica=replica)
        case HTTPStatus.NOT_FOUND:
            error = NotFound(detail, replica=replica)
        case HTTPStatus.TOO_MANY_REQUESTS:
            error = Throttled(detail, replica=replica, retry_after_s=answer.retry_after_s)
        case HTTPStatus.REQUEST_TIMEOUT:
            error = Unreachable(detail, replica=replica, step="timeout")
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            error = Unreachable(detail, replica=replica, step="status")
        case _ if status >= HTTPStatus.BAD_REQUEST and answer.code:
            error = Unsupported(detail, replica=replica)
        case _:
            error = Unreachable(detail, replica=replica, step="protocol")
    return error


def _step(exc: BaseException) -> str:
    match exc:
        case DnsError() | aiohttp.ClientConnectorDNSError() | UnicodeError():
            return "dns"
        case _ if isinstance(exc, _TLS):
            return "tls"
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectionError() | OSError():
            return "connect"
        case _:
            return "protocol"


def _words(exc: BaseException, step: str) -> str:
    """What went wrong, without the URL: that may be presigned, and most exceptions of aiohttp carry it."""
    for kind, words in _SAID:
        if isinstance(exc, kind):
            return words
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return f"{exc.certificate_error}"
        case aiohttp.ClientConnectorError():
            return exc.os_error.strerror or f"{exc.os_error}"
        case aiohttp.ClientResponseError():
            return f"no HTTP that can be read: {exc.message}"
        case _:
            return (exc.strerror if isinstance(exc, OSError) else None) or f"{step} failed ({type(exc).__name__})"
