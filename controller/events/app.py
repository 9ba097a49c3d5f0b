"""The receiver's HTTP: registries post, the leader reads. Both show a secret; what is posted without is not even read.

A registry's notification is answered with 200 as soon as it is queued. Of one that cannot be read a 400 tells the
sender's log; a single event in it that says nothing of use is passed over.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import hdrs, web

from controller.events.arrivals import DECODERS, MalformedEvent, decode
from controller.events.backlog import Backlog
from controller.events.connections import minded
from controller.events.secret import Secrets
from controller.events.tally import Outcome, Tally
from controller.events.wire import ENCODE, PATH, WAIT_S, Told

MOST_BYTES = 1 << 20
MOST_POSTS = 32
"""Bodies being read at once."""
MOST_READERS = 8
REFUSALS_PER_S = 10.0
_BODY_S = 5.0
_RETRY_AFTER: dict[str, str] = {hdrs.RETRY_AFTER: "1"}
_CLOSE: dict[str, str] = {hdrs.CONNECTION: "close"}
_MOST_DIGITS = 18


class Receiver:
    """What the routes share. `senders` may post, `readers` may read."""

    def __init__(
        self, backlog: Backlog, *, senders: Secrets, readers: Secrets, tally: Tally, clock: Callable[[], float],
        wait_s: float = WAIT_S,
    ) -> None:  # fmt: skip
        self._backlog = backlog
        self._senders = senders
        self._readers = readers
        self._tally = tally
        self._clock = clock
        self._wait_s = wait_s
        self._posting = 0
        self._reading = 0
        self._patience, self._seen = REFUSALS_PER_S, clock()

    async def take(self, request: web.Request) -> web.Response:
        """`POST /events/{kind}`."""
        kind = request.match_info["kind"]
        if kind not in DECODERS:
            return _answer(HTTPStatus.NOT_FOUND, f"there are {', '.join(DECODERS)}")
        if not self._senders.opens(request.headers.get(hdrs.AUTHORIZATION, "")):
            return self._refused()
        if not _is_json(request.headers.get(hdrs.CONTENT_TYPE)):
            return _answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "notifications come as JSON")
        if self._posting >= MOST_POSTS:
            self._tally.count(Outcome.BUSY)
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many at once", _RETRY_AFTER)
        self._posting += 1
        try:
            return await self._taken(kind, request)
        finally:
            self._posting -= 1

    async def _taken(self, kind: str, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_BODY_S):
                body = await request.read()
            arrivals = decode(kind, body)
        except TimeoutError:
            return _answer(HTTPStatus.REQUEST_TIMEOUT, f"the body was not there after {_BODY_S:g} s", _CLOSE)
        except MalformedEvent as exc:
            self._tally.count(Outcome.MALFORMED)
            return _answer(HTTPStatus.BAD_REQUEST, str(exc))
        self._backlog.add(arrivals)
        self._tally.count(Outcome.TAKEN, arrivals=len(arrivals))
        return _answer(HTTPStatus.OK, "")

    async def tell(self, request: web.Request) -> web.Response:
        """`GET /events?after=N`: at once where something came after N, else as soon as it does, or after `WAIT_S`."""
        if not self._readers.opens(request.headers.get(hdrs.AUTHORIZATION, "")):
            return self._refused()
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdecimal() and len(after) <= _MOST_DIGITS):
            return _answer(HTTPStatus.BAD_REQUEST, "after: a number")
        if self._reading >= MOST_READERS:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many readers", _RETRY_AFTER)
        self._reading += 1
        try:
            number, arrivals = await self._backlog.wait(int(after), at_most_s=self._wait_s)
        finally:
            self._reading -= 1
        told = ENCODE(Told(number, arrivals, self._backlog.dropped))
        return web.Response(body=told, content_type="application/json")

    def _refused(self) -> web.Response:
        """Who guesses is told no ten times a second, then to go away; who knows a secret notices nothing of it."""
        self._tally.count(Outcome.REFUSED)
        now = self._clock()
        self._patience = min(REFUSALS_PER_S, self._patience + (now - self._seen) * REFUSALS_PER_S)
        self._seen = now
        if self._patience < 1:
            return _answer(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong secrets", _RETRY_AFTER | _CLOSE)
        self._patience -= 1
        return _answer(HTTPStatus.UNAUTHORIZED, "the Authorization header does not hold the secret", _CLOSE)


def create_app(receiver: Receiver) -> web.Application:
    """The receiver's routes; `connections.receiving` serves them."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(client_max_size=MOST_BYTES, middlewares=[minded])
    app.add_routes(
        [
            web.post(f"{PATH}/{{kind}}", receiver.take),
            web.get(PATH, receiver.tell),
            web.get("/livez", livez),
            web.get("/readyz", livez),
        ]
    )
    return app


def _is_json(content_type: str | None) -> bool:
    """Also what has JSON below (`…+json`), and what says nothing."""
    if content_type is None:
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _answer(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers=headers)
