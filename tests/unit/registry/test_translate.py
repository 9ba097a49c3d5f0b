"""Everything aiohttp can raise and every status there is ends in the error tree."""

import asyncio
import inspect
import ssl

import aiohttp
import pytest
from aiohttp import http_exceptions
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from tidegate.findings import DETAIL_LIMIT
from tidegate.registry.answer import Answer
from tidegate.registry.errors import (
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from tidegate.registry.translate import as_registry_errors, bounded, error_of, is_lost_connection

HERE = URL("https://registry.example.com/v2/a/manifests/b")
KEY = ConnectionKey(
    "registry.example.com", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)

EXCEPTIONS = {
    cls
    for module in (aiohttp, http_exceptions)
    for cls in vars(module).values()
    if inspect.isclass(cls) and issubclass(cls, Exception) and not issubclass(cls, Warning)
}


def instance(cls: type[Exception]) -> Exception:
    """An instance as aiohttp builds it, as far as the mapping looks into one."""
    try:
        if issubclass(cls, aiohttp.ClientConnectorCertificateError):
            return cls(KEY, ssl.SSLCertVerificationError("self-signed"))
        if issubclass(cls, aiohttp.ClientConnectorError):
            return cls(KEY, OSError(111, "Connection refused"))
    except TypeError:
        pass
    exc = cls.__new__(cls)
    exc.args = ("details with https://registry.example.com/?sig=s3cret in them",)
    for name in ("message", "status", "headers", "request_info", "history"):
        if not hasattr(exc, name):
            setattr(exc, name, "")
    return exc


@pytest.mark.parametrize("cls", sorted(EXCEPTIONS, key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_no_exception_of_aiohttp_gets_out(cls: type[Exception]) -> None:
    with pytest.raises(Unreachable) as caught, as_registry_errors("west", "registry.example.com"):
        raise instance(cls)
    assert caught.value.step in {"dns", "connect", "tls", "timeout", "protocol"}
    assert caught.value.replica == "west"
    assert "s3cret" not in caught.value.detail
    assert "registry.example.com" in caught.value.detail


@pytest.mark.parametrize(
    "exc,step,again",
    [
        pytest.param(aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")), "dns", False,
                     id="no-such-name"),
        pytest.param(aiohttp.ClientConnectorError(KEY, OSError(111, "Connection refused")), "connect", False,
                     id="refused"),
        pytest.param(aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad handshake")), "tls", False,
                     id="handshake"),
        pytest.param(aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("x")), "tls", False,
                     id="certificate"),
        pytest.param(aiohttp.ServerFingerprintMismatch(b"a", b"b", "h", 1), "tls", False, id="fingerprint"),
        pytest.param(ssl.SSLError(1, "bad record"), "tls", False, id="tls-later"),
        pytest.param(aiohttp.ConnectionTimeoutError(), "timeout", False, id="connect-timeout"),
        pytest.param(aiohttp.SocketTimeoutError(), "timeout", False, id="read-timeout"),
        pytest.param(TimeoutError(), "timeout", False, id="timeout"),
        pytest.param(aiohttp.ServerDisconnectedError(), "connect", True, id="hung-up"),
        pytest.param(aiohttp.ClientOSError(104, "Connection reset by peer"), "connect", True, id="reset"),
        pytest.param(ConnectionResetError(104, "Connection reset by peer"), "connect", True, id="reset-bare"),
        pytest.param(aiohttp.ClientConnectionResetError("gone"), "connect", True, id="reset-on-write"),
        pytest.param(aiohttp.ClientPayloadError("short"), "protocol", True, id="cut-body"),
        pytest.param(aiohttp.InvalidURL("http://x?sig=s3cret"), "protocol", False, id="no-url"),
        pytest.param(UnicodeError("label too long"), "dns", False, id="no-idna"),
        pytest.param(OSError(24, "Too many open files"), "connect", False, id="our-own-descriptors"),
    ],
)  # fmt: skip
def test_the_step_that_failed(exc: Exception, step: str, *, again: bool) -> None:
    with pytest.raises(Unreachable) as caught, as_registry_errors("west", "registry.example.com"):
        raise exc
    assert caught.value.step == step
    assert is_lost_connection(caught.value) is again
    assert "s3cret" not in caught.value.detail


async def test_our_bound_is_named_and_another_timeout_is_not_ours() -> None:
    with pytest.raises(Unreachable) as caught:
        async with bounded("west", 0.001):
            await asyncio.Event().wait()
    assert caught.value.step == "timeout"
    with pytest.raises(TimeoutError):
        async with bounded("west", 100):
            raise TimeoutError


def answer(status: int, body: bytes = b"", **more: object) -> Answer:
    return Answer(status=status, url=HERE, headers={}, body=body, **more)  # type: ignore[arg-type]


CODED = b'{"errors":[{"code":"NAME_INVALID","message":"no such name","detail":{"x":1}}]}'


@pytest.mark.parametrize(
    "status,body,error,step",
    [
        pytest.param(204, b"", Unreachable, "protocol", id="204"),
        pytest.param(304, b"", Unreachable, "protocol", id="304"),
        pytest.param(400, b"", Unreachable, "protocol", id="400-of-a-proxy"),
        pytest.param(400, b"<html>plain HTTP to an HTTPS port", Unreachable, "protocol", id="400-html"),
        pytest.param(400, CODED, Unsupported, None, id="400-of-a-registry"),
        pytest.param(401, CODED, Unauthorized, None, id="401"),
        pytest.param(403, b"", Unauthorized, None, id="403"),
        pytest.param(404, b"<html>", NotFound, None, id="404-html"),
        pytest.param(405, b"", Unreachable, "protocol", id="405"),
        pytest.param(405, CODED, Unsupported, None, id="405-of-a-registry"),
        pytest.param(407, b"", Unreachable, "protocol", id="407"),
        pytest.param(408, b"", Unreachable, "timeout", id="408"),
        pytest.param(418, b"", Unreachable, "protocol", id="418"),
        pytest.param(429, b"", Throttled, None, id="429"),
        pytest.param(451, CODED, Unsupported, None, id="451-of-a-registry"),
        pytest.param(500, CODED, Unreachable, "status", id="500"),
        pytest.param(502, b"<html>", Unreachable, "status", id="502-html"),
        pytest.param(503, b"", Unreachable, "status", id="503"),
        pytest.param(599, b"", Unreachable, "status", id="599"),
        pytest.param(999, b"", Unreachable, "status", id="999"),
    ],
)
def test_what_a_status_means(status: int, body: bytes, error: type[RegistryError], step: str | None) -> None:
    found = error_of(answer(status, body), replica="west")
    assert type(found) is error
    assert getattr(found, "step", None) == step
    assert str(status) in found.detail


@pytest.mark.parametrize("status", range(100, 1000))
def test_every_status_means_something(status: int) -> None:
    assert isinstance(error_of(answer(status), replica="west"), RegistryError)


@pytest.mark.parametrize(
    "body,words",
    [
        pytest.param(CODED, "HTTP 400 from registry.example.com: NAME_INVALID: no such name", id="code-and-message"),
        pytest.param(b'{"errors":[{"code":"DENIED"}]}', "HTTP 400 from registry.example.com: DENIED", id="code"),
        pytest.param(b'{"errors":[]}', "HTTP 400 from registry.example.com", id="no-errors"),
        pytest.param(b'{"errors":null}', "HTTP 400 from registry.example.com", id="null"),
        pytest.param(b'{"errors":[{"code":5}]}', "HTTP 400 from registry.example.com", id="number"),
        pytest.param(b'{"errors":[{"code":"a b"}]}', "HTTP 400 from registry.example.com", id="no-code"),
        pytest.param(b"<Error><Key>k</Key></Error>", "HTTP 400 from registry.example.com", id="storage-xml"),
        pytest.param(b"\xff\xfe", "HTTP 400 from registry.example.com", id="bytes"),
        pytest.param(b'{"errors":' * 2000, "HTTP 400 from registry.example.com", id="deep"),
    ],
)
def test_what_is_quoted_of_a_body(body: bytes, words: str) -> None:
    assert answer(400, body).words() == words


def test_a_server_that_echoes_a_secret_is_not_quoted_with_it() -> None:
    body = b'{"errors":[{"code":"tr0ub4dor","message":"bad password tr0ub4dor"}]}'
    assert "tr0ub4dor" not in answer(400, body, hide=("tr0ub4dor",)).words()
    assert "tr0ub4dor" not in repr(answer(400, hide=("tr0ub4dor",)))


def test_a_megabyte_of_words_leaves_a_line() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"' + b"na\\n\\u0007" * 100_000 + b'"}]}'
    detail = error_of(answer(400, body), replica="west").detail
    assert len(detail) <= DETAIL_LIMIT
    assert detail.isprintable()
