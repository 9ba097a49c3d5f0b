"""HTTP: paths, bodies and status codes. A broken review is a 4xx; everything else is a verdict, never a 5xx of ours."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from tidegate.config.quantities import seconds
from tidegate.findings import Mode
from tidegate.metrics import Metrics
from tidegate.process.notes import verbose
from webhook.gate import Gate
from webhook.review import MalformedReview, Review, decode, encode
from webhook.review import Response as Answer
from webhook.rules import Asked

log = structlog.get_logger()

MOST_BYTES = 16 << 20
MOST_WAITING = 4096
"""Reviews in flight; those beyond are answered from memory alone."""
DEFAULT_TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 30.0
_MARGIN_S = 0.5
_MARGIN_SHARE = 0.25
_BODY_S = 10.0
_JSON = "application/json"
_TAKEN = frozenset({_JSON, "application/x-www-form-urlencoded"})
"""The second is what `curl --data` says of anything: nobody chose it, and the body decides."""
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
"""Nothing of a review leaves this process by way of an environment variable, and nobody looks for one each time."""

Handler = Callable[[Request], Awaitable[Response]]
Ask = Callable[[Review, Asked], Awaitable[Answer]]
OnFault = Callable[[Review, Asked], Answer]


@dataclass(slots=True)
class Health:
    """What the probes tell. Readiness is latched: later faults are metrics, so that replicas never leave together."""

    ready: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    """Check → `ok`, or what is wrong."""


def create_app(gate: Gate, *, health: Health, metrics: Metrics) -> FastAPI:
    """The webhook's routes. Reviews go through plain routes, as nothing is left for a framework to validate."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry=_NO_TELEMETRY)
    reviews = Reviews(gate, health=health, metrics=metrics)
    app.add_route("/validate", reviews.handler("validate", mode=None), methods=["POST"])
    app.add_route("/validate/enforce", reviews.handler("enforce", mode=Mode.ENFORCE), methods=["POST"])
    app.add_route("/validate/other", reviews.handler("other", mode=None), methods=["POST"])
    app.add_route("/mutate", reviews.mutating(), methods=["POST"])
    app.add_route("/livez", _livez, methods=["GET"])
    app.add_route("/readyz", _readyz(health), methods=["GET"])
    return app


class Reviews:
    """From a request to an answer."""

    def __init__(self, gate: Gate, *, health: Health, metrics: Metrics) -> None:
        self._gate = gate
        self._health = health
        self._metrics = metrics
        self._waiting = 0

    def handler(self, webhook: str, *, mode: Mode | None) -> Handler:
        """The handler of one validating path."""
        return self._handler(webhook, mode, self._gate.answer, self._gate.answer_to_fault)

    def mutating(self) -> Handler:
        """The handler of `/mutate`."""
        return self._handler("mutate", None, self._gate.mutate, self._gate.mutate_nothing)

    def _handler(self, webhook: str, mode: Mode | None, ask: Ask, on_fault: OnFault) -> Handler:
        duration = self._metrics.review_duration.labels(webhook)
        now = asyncio.get_running_loop().time

        async def handle(request: Request) -> Response:
            began = now()
            try:
                review = decode(await _body(request))
                timeout_s = _timeout_in(request.scope["query_string"])
            except _CALLERS_FAULTS as exc:
                return _refusal(exc)
            crowded = self._waiting >= MOST_WAITING
            deadline = began if crowded else began + timeout_s - min(_MARGIN_S, timeout_s * _MARGIN_SHARE)
            self._waiting += 1
            try:
                answer = await ask(review, Asked(webhook, mode, deadline))
            except Exception:  # a fault of ours must not become a 5xx, which failurePolicy would decide about
                log.exception("review.failed", uid=review.uid, kind=review.kind.kind, namespace=review.namespace)
                answer = on_fault(review, Asked(webhook, mode, deadline))
            finally:
                self._waiting -= 1
            duration.observe(now() - began)
            return self._respond(answer)

        return handle

    def _respond(self, answer: Answer) -> Response:
        headers = {"Connection": "close"} if self._health.draining else None
        return Response(encode(answer), media_type=_JSON, headers=headers)


class Refused(Exception):
    """The body is not taken; `status` says why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


_CALLERS_FAULTS = (Refused, MalformedReview, ClientDisconnect)


def _refusal(exc: Exception) -> Response:
    return PlainTextResponse(str(exc), exc.status if isinstance(exc, Refused) else HTTPStatus.BAD_REQUEST)


def timeout_of(query: Mapping[str, str]) -> float:
    """Seconds that the API server waits, from its `?timeout=10s`; what is no duration counts as the default."""
    with contextlib.suppress(ValueError):
        given = seconds(query.get("timeout", ""))
        if given > 0:
            return min(given, LONGEST_TIMEOUT_S)
    return DEFAULT_TIMEOUT_S


@lru_cache(maxsize=16)
def _timeout_in(query: bytes) -> float:
    """An API server sends the same few queries all its life."""
    return timeout_of(QueryParams(query))


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", _JSON)
    if kind != _JSON and kind.partition(";")[0].strip().lower() not in _TAKEN:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"reviews come as {_JSON}")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BYTES:
        raise _too_large()
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(_BODY_S):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(part)
                if size > MOST_BYTES:
                    raise _too_large()
                parts.append(part)
    except TimeoutError as exc:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body was not there after {_BODY_S:g} s") from exc
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large() -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MOST_BYTES} bytes")


async def _livez(_: Request) -> Response:
    return PlainTextResponse("ok")


def _readyz(health: Health) -> Handler:
    async def readyz(request: Request) -> Response:
        ready = health.ready.is_set()
        text = "ok" if ready else "not ready"
        if "verbose" in request.query_params:
            text = verbose(health.notes) + text
        return PlainTextResponse(text, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    return readyz
