"""One exchange with one replica and the hosts it sends us to: limits, bounds, the one retry, redirects, counting.

Above this module there are answers and registry errors; below it, aiohttp.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

import aiohttp
from yarl import URL

from tidegate.metrics import Metrics
from tidegate.registry import hosts, redirects
from tidegate.registry.answer import Answer
from tidegate.registry.bounds import EVIDENCE_BYTES, REDIRECTS, SHORT_PAUSE_S, Timeouts
from tidegate.registry.errors import RegistryError, Unsupported
from tidegate.registry.limits import Limiter
from tidegate.registry.pools import Pools
from tidegate.registry.retry_after import http_date, retry_after
from tidegate.registry.session import Trust
from tidegate.registry.translate import as_registry_errors, is_lost_connection

_IDEMPOTENT = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class Call:
    """What one call of a caller may still spend."""

    deadline: float
    """Loop time."""
    may_repeat: bool = True
    """One retry a call, whichever of its requests needs it."""
    may_reauthenticate: bool = True
    """One more token a credential."""
    on_request: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request."""

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    form: bytes | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    hide: Sequence[str] = field(default=(), repr=False)
    most: int = 0
    """Bytes of a good answer's body that are wanted; a longer one is Unsupported. 0: none are read."""

    def authorised(self, authorization: str | None, secret: str = "") -> Self:
        """The same request in another's name; `secret` is what its Authorization was made of."""
        parts = () if authorization is None else (authorization, authorization.partition(" ")[2], secret)
        return replace(self, authorization=authorization, hide=parts)


class Transport:
    """The wire of one replica."""

    def __init__(
        self, *, pools: Pools, trust: Trust, limiter: Limiter, timeouts: Timeouts,
        metrics: Metrics, registry: str, replica: str,
    ) -> None:  # fmt: skip
        self._pools = pools
        self._trust = trust
        self._limiter = limiter
        self._timeouts = timeouts
        self._metrics = metrics
        self._registry = registry
        self._replica = replica
        self._now = asyncio.get_running_loop().time
        self.requests = 0
        """Requests sent, to whichever host."""

    async def ask(self, ask: Ask, call: Call) -> Answer:
        """Send, follow redirects without any credential, and repeat once what may do better. Raises RegistryError."""
        answer = await self._repeated(ask, call)
        for _ in range(REDIRECTS):
            if answer.status not in redirects.STATUSES:
                return answer
            ask = replace(ask.authorised(None), url=self._next_hop(answer))
            answer = replace(await self._repeated(ask, call), redirected=True)
        if answer.status in redirects.STATUSES:
            detail = f"redirects more than {REDIRECTS} times"
            raise Unsupported(detail, replica=self._replica)
        return answer

    async def ask_there(self, ask: Ask, call: Call) -> Answer:
        """Send to this URL and follow nothing: for requests that carry a credential in their body."""
        return await self._repeated(ask, call)

    async def ask_once(self, ask: Ask, call: Call) -> Answer:
        """One request: nothing is followed, nothing repeated."""
        return await self._once(ask, call)

    def _next_hop(self, answer: Answer) -> URL:
        location = answer.headers.get("Location")
        return redirects.next_hop(answer.url, location, endpoint=self._trust.endpoint, replica=self._replica)

    async def _repeated(self, ask: Ask, call: Call) -> Answer:
        try:
            answer = await self._once(ask, call)
        except RegistryError as exc:
            if not (call.may_repeat and ask.method in _IDEMPOTENT and is_lost_connection(exc)):
                raise
        else:
            if not (call.may_repeat and ask.method in _IDEMPOTENT and _may_do_better(answer)):
                return answer
        call.may_repeat = False
        await self._pause(call)
        return await self._once(ask, call)

    async def _pause(self, call: Call) -> None:
        seconds = self._timeouts.retry_pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - spreads callers, no secret
        await asyncio.sleep(max(0.0, min(seconds, call.deadline - self._now())))

    async def _once(self, ask: Ask, call: Call) -> Answer:
        """One request, one answer. Counts it, measures it, and obeys a 429 for everybody."""
        counted = hosts.is_own(ask.url, self._trust.endpoint)
        async with self._limiter.turn(deadline=call.deadline, counted=counted):
            self.requests += 1
            if call.on_request is not None:
                call.on_request()
            code, began = "error", self._now()
            try:
                with as_registry_errors(self._replica, hosts.host_of(ask.url)):
                    answer = await self._exchange(ask)
                code = str(answer.status)
            finally:
                labels = (self._registry, self._replica)
                self._metrics.registry_requests.labels(*labels, ask.method, code).inc()
                self._metrics.registry_request_duration.labels(*labels).observe(self._now() - began)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._metrics.throttled.labels(self._registry, "tidegate").inc()
            self._limiter.pause(_pause_s(answer))
        return answer

    async def _exchange(self, ask: Ask) -> Answer:
        headers = dict(ask.headers)
        if ask.authorization is not None:
            headers["Authorization"] = ask.authorization
        async with self._pools.session(ask.url) as session, session.request(
            ask.method, ask.url, headers=headers, data=ask.form, allow_redirects=False,
            ssl=self._trust.context(ask.url),
        ) as response:  # fmt: skip
            body = await self._body(response, ask)
            now = http_date(response.headers.get("Date")) or datetime.now(UTC)
            return Answer(
                status=response.status,
                url=ask.url,
                headers=response.headers,
                body=body,
                challenges=response.headers.getall("WWW-Authenticate", []),
                retry_after_s=retry_after(response.headers.get("Retry-After"), now=now),
                hide=ask.hide,
            )

    async def _body(self, response: aiohttp.ClientResponse, ask: Ask) -> bytes:
        """What is wanted of a good answer, whole or not at all; the first 4 KiB of any other."""
        if ask.method == "HEAD":
            return b""
        if response.status != HTTPStatus.OK:
            return await self._evidence(response)
        if ask.most == 0:
            response.close()
            return b""
        if (response.content_length or 0) > ask.most:
            response.close()
            raise self._too_long(ask)
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > ask.most:
                response.close()
                raise self._too_long(ask)
            chunks.append(chunk)
        return b"".join(chunks)

    async def _evidence(self, response: aiohttp.ClientResponse) -> bytes:
        """Read so little that it costs nothing. A body that stalls or breaks costs its words, not the status."""
        body = b""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(self._timeouts.evidence_s):
                while len(body) < EVIDENCE_BYTES:
                    chunk = await response.content.read(EVIDENCE_BYTES - len(body))
                    if not chunk:
                        return body
                    body += chunk
        response.close()
        return body

    def _too_long(self, ask: Ask) -> Unsupported:
        return Unsupported(f"{hosts.host_of(ask.url)}: longer than {ask.most} bytes", replica=self._replica)


def _may_do_better(answer: Answer) -> bool:
    """5xx, and a 429 that asks for a moment's patience; not where the server asks to be left alone for longer."""
    if (answer.retry_after_s or 0.0) > SHORT_PAUSE_S:
        return False
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS


def _pause_s(answer: Answer) -> float:
    return SHORT_PAUSE_S if answer.retry_after_s is None else answer.retry_after_s
