"""Every answer and every fault of a connection has one place in the error tree, and leaves bounded evidence."""

import inspect
import json
import ssl
from typing import Any

import aiohttp
import msgspec
import pytest

from tidegate.kube.errors import (
    EVIDENCE_LIMIT,
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    Unauthorized,
    Unavailable,
    as_kube_errors,
    from_response,
)


def status(code: int, reason: str = "", **fields: Any) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, **fields}).encode()


@pytest.mark.parametrize(
    "code,body,expected",
    [
        pytest.param(400, status(400, "BadRequest"), Invalid, id="bad request"),
        pytest.param(401, status(401, "Unauthorized"), Unauthorized, id="no credential"),
        pytest.param(403, status(403, "Forbidden"), Forbidden, id="no Role"),
        pytest.param(404, status(404, "NotFound"), NotFound, id="not there"),
        pytest.param(404, b"404 page not found\n", NotFound, id="no such resource"),
        pytest.param(405, status(405, "MethodNotAllowed"), Invalid, id="no such verb"),
        pytest.param(409, status(409, "AlreadyExists"), AlreadyExists, id="name taken"),
        pytest.param(409, status(409, "Conflict"), Conflict, id="somebody wrote first"),
        pytest.param(409, b"", Conflict, id="a conflict without a body"),
        pytest.param(410, status(410, "Expired"), Gone, id="too old"),
        pytest.param(410, status(410, "Gone"), Gone, id="older servers say Gone"),
        pytest.param(413, status(413, "RequestEntityTooLarge"), Invalid, id="too large"),
        pytest.param(415, status(415, "UnsupportedMediaType"), Invalid, id="no such patch"),
        pytest.param(422, status(422, "Invalid"), Invalid, id="schema"),
        pytest.param(429, status(429, "TooManyRequests"), Unavailable, id="throttled"),
        pytest.param(500, status(500, "InternalError"), Unavailable, id="internal error"),
        pytest.param(503, b"<html>no backend</html>", Unavailable, id="a load balancer's page"),
        pytest.param(504, status(504, "Timeout"), Unavailable, id="timeout"),
        pytest.param(302, b"", Unavailable, id="a redirect, which no API server sends"),
        pytest.param(500, status(404, "NotFound"), Unavailable, id="HTTP's code counts"),
        pytest.param(503, b'{"code": "x"}', Unavailable, id="JSON that is no Status"),
        pytest.param(503, b"[]", Unavailable, id="JSON of another shape"),
        pytest.param(503, b"\xff\xfe\x00", Unavailable, id="bytes"),
    ],
)
def test_answers(code: int, body: bytes, expected: type[KubeError]) -> None:
    error = from_response(code, body)

    assert type(error) is expected
    assert error.status == code


@pytest.mark.parametrize(
    "body,header,seconds",
    [
        pytest.param(status(429), "7", 7.0, id="the header"),
        pytest.param(status(429, details={"retryAfterSeconds": 3}), "", 3.0, id="the body"),
        pytest.param(status(429, details={"retryAfterSeconds": 3}), "7", 3.0, id="the body before the header"),
        pytest.param(status(429), "", None, id="neither"),
        pytest.param(status(429), "soon", None, id="no number"),
        pytest.param(status(429), "-1", None, id="negative"),
        pytest.param(status(429), "²", None, id="a digit that is no number"),
        pytest.param(status(429), "9" * 5000, 999999999.0, id="a very long number"),
    ],
)
def test_how_long_to_wait(body: bytes, header: str, seconds: float | None) -> None:
    assert from_response(429, body, retry_after=header).retry_after_s == seconds


@pytest.mark.parametrize("body", [b"<p>" * 400_000, status(500, message="x" * 1_000_000)], ids=["page", "status"])
def test_evidence_is_bounded(body: bytes) -> None:
    assert len(str(from_response(500, body))) <= EVIDENCE_LIMIT


def test_evidence_is_one_printable_line() -> None:
    text = str(from_response(500, status(500, message="one\ntwo\x1b[31m\r\n three")))

    assert text == "one two [31m three"


CLIENT_ERRORS = sorted(
    (kind for kind in vars(aiohttp).values() if inspect.isclass(kind) and issubclass(kind, aiohttp.ClientError)),
    key=lambda kind: kind.__name__,
)


def bare(kind: type[Exception]) -> Exception:
    """One of these without the arguments that its constructor and its text want."""
    made: Exception = type(kind.__name__, (kind,), {"__init__": lambda _: None, "__str__": lambda _: "why"})()
    return made


@pytest.mark.parametrize(
    "fault",
    [
        *map(bare, CLIENT_ERRORS),
        TimeoutError(),
        ConnectionResetError(),
        ssl.SSLError(),
        RecursionError(),
        msgspec.DecodeError("x"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_whatever_a_connection_does_is_unavailable(fault: Exception) -> None:
    def ask() -> None:
        with as_kube_errors("GET /x"):
            raise fault

    with pytest.raises(Unavailable, match="GET /x") as told:
        ask()
    assert told.value.__cause__ is fault


def test_our_own_mistakes_pass_through() -> None:
    def ask() -> None:
        with as_kube_errors("GET /x"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask()
