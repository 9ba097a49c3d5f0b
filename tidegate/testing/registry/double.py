"""The registry itself: a listener, what is stored, what is wrong, and a record of all that was asked."""

import asyncio
import dataclasses
import ssl
from collections import Counter, deque
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tidegate.reference import Digest
from tidegate.testing.images import Image
from tidegate.testing.registry.api import NAME_LIMIT, Asked, Place, Reader, not_routed, place_of
from tidegate.testing.registry.faults import NGINX_429, NO_FAULTS, Answer, Faults
from tidegate.testing.registry.guards import Guard
from tidegate.testing.registry.limits import Pacer, RequestLimit
from tidegate.testing.registry.records import Kind, Record, Request
from tidegate.testing.registry.replication import Lag, Replication
from tidegate.testing.registry.replies import VERSION_HEADER, Code, error
from tidegate.testing.registry.storage import Storage
from tidegate.testing.registry.tokens import Access
from tidegate.testing.registry.uploads import MAX_BLOB, MAX_MANIFEST, Writer
from tidegate.testing.registry.wire import Breakage, Listener, Reply, reset, send, silence


class RegistryDouble:
    """An OCI registry in this process, on loopback.

        async with RegistryDouble() as home, RegistryDouble() as replica:
            replica.replicate_from(home, lag=Lag(blobs_s=None))
            home.put("team/app", image, tag="1")
            replica.fault(throttle=Throttle(rate=20, burst=10))

    `guard` asks for credentials; `ssl_context` makes it speak TLS. It may be opened once.
    """

    def __init__(
        self,
        *,
        faults: Faults = NO_FAULTS,
        guard: Guard | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.storage = Storage()
        self.record = Record()
        self.guard = guard
        self.throttled = 0
        """Requests that the throttle refused."""
        self._faults = faults
        self._given: Counter[Answer] = Counter()
        self._limit: RequestLimit | None = None
        self._pacer: Pacer | None = None
        self._reader, self._writer = Reader(self.storage), Writer(self.storage)
        self._replications: list[Replication] = []
        self._listener = Listener(self._handle, self.record, host=host, port=port, ssl_context=ssl_context)
        self._renew(NO_FAULTS)

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for replication in self._replications:
            replication.stop()
        await self._listener.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, without a slash at its end."""
        return self._listener.url

    @property
    def netloc(self) -> str:
        """`HOST:PORT`, as image references have it."""
        return self._listener.netloc

    @property
    def requests(self) -> deque[Request]:
        """The last requests, oldest first."""
        return self.record.requests

    def count(self, *, method: str | None = None, kind: Kind | None = None, status: int | None = None) -> int:
        """How many requests came; with `status`, how many were answered with it. Never forgets."""
        return self.record.count(method=method, kind=kind, status=status)

    @property
    def faults(self) -> Faults:
        """What is wrong right now; replace it to change that."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        before, self._faults = self._faults, faults
        self._renew(before)

    def fault(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of Faults
        """Changes some fields of `faults` and leaves the others."""
        self.faults = dataclasses.replace(self._faults, **changes)

    def put(
        self,
        repository: str,
        image: Image,
        *,
        tag: str | None = None,
        only: Collection[Digest] | None = None,
        without: Collection[Digest] = (),
    ) -> None:
        """An image with all below it, past HTTP and its checks; `only` these digests, or all `without` those."""
        for part in image.walk():
            for digest, content in (*part.blobs.items(), (part.digest, part.manifest)):
                if digest in without or (only is not None and digest not in only):
                    self.storage.contents[digest] = content
                elif digest == part.digest:
                    named = tag if part is image else None
                    self.storage.put_manifest(repository, content, part.media_type, tag=named)
                else:
                    self.storage.put_blob(repository, digest, content)

    def lose(self, repository: str, *digests: Digest) -> None:
        """Manifests and blobs are no longer in the repository; KeyError for what was not."""
        self.storage.lose(repository, *digests)

    def receive(self, repository: str, *digests: Digest) -> None:
        """What was lost, left out of `put`, or waits in a replication, is in the repository now."""
        self.storage.receive(repository, *digests)

    def replicate_from(self, source: "RegistryDouble", *, lag: Lag | None = None) -> Replication:
        """Follows another registry: what it has and what it gets arrives here after the lag of its kind."""
        replication = Replication(source.storage, self.storage, lag=lag or Lag())
        self._replications.append(replication)
        return replication

    def _renew(self, before: Faults) -> None:
        """State for what changed in the faults."""
        now = self._faults
        if before.throttle != now.throttle:
            throttle = now.throttle
            self._limit = RequestLimit(rate=throttle.rate, burst=throttle.burst) if throttle is not None else None
        if before.bandwidth != now.bandwidth:
            self._pacer = Pacer(now.bandwidth) if now.bandwidth is not None else None
        for answer in set(self._given) - set(now.answers):
            del self._given[answer]

    async def _handle(self, request: web.BaseRequest, seen: Request) -> web.StreamResponse:
        faults, method, path = self._faults, request.method, request.path
        reply = self._throttle(method, path, at=seen.at)
        if faults.latency_s > 0:
            await asyncio.sleep(faults.latency_s)
        stall = next((fault for fault in faults.stalls if fault.touches(method, path)), None)
        cut = next((fault for fault in faults.cuts if fault.touches(method, path)), None)
        if reply is None:
            if stall is not None and stall.after is None:
                await silence()
            if cut is not None and cut.after is None:
                return reset(request)
            reply = self._deviant(method, path) or await self._honest(request)
        breakage = Breakage(
            stall_after=stall.after if stall is not None else None, cut_after=cut.after if cut is not None else None
        )
        return await send(request, seen, reply, pacer=self._pacer, breakage=breakage)

    def _throttle(self, method: str, path: str, *, at: float) -> Reply | None:
        throttle = self._faults.throttle
        if throttle is None or self._limit is None or not throttle.touches(method, path) or self._limit.admits(at):
            return None
        self.throttled += 1
        if throttle.html:
            reply = Reply(status=throttle.status, body=NGINX_429, headers={"Content-Type": "text/html"})
        else:
            reply = error(Code.TOOMANYREQUESTS, status=throttle.status)
        if throttle.retry_after is not None:
            reply.headers["Retry-After"] = throttle.retry_after
        return reply

    def _deviant(self, method: str, path: str) -> Reply | None:
        for answer in self._faults.answers:
            if answer.touches(method, path) and (answer.times is None or self._given[answer] < answer.times):
                self._given[answer] += 1
                return Reply(
                    status=answer.status,
                    body=answer.body,
                    headers={"Content-Type": answer.content_type, **dict(answer.headers)},
                    padding=answer.padding,
                    chunked=answer.chunked,
                )
        return None

    async def _honest(self, request: web.BaseRequest) -> Reply:
        """What a registry without an Answer fault says."""
        place = place_of(request.path)
        if place is None:
            return not_routed()
        reply = self._refusal(request, place) or self._redirect(request)
        if reply is None:
            if len(place.name) > NAME_LIMIT:
                # A status that distribution surely did not mean; clients must survive it all the same.
                reply = error(Code.UNKNOWN, f"repository name must not be more than {NAME_LIMIT} characters")
            else:
                reply = await self._routed(request, place)
        reply.headers.setdefault(*VERSION_HEADER)
        return reply

    def _refusal(self, request: web.BaseRequest, place: Place) -> Reply | None:
        if self.guard is None:
            return None
        access = _access(request, place)
        now = asyncio.get_running_loop().time()
        challenge = self.guard.challenge(request.headers.get("Authorization"), access, now=now)
        if challenge is None:
            return None
        detail = [
            {"Type": "repository", "Class": "", "Name": one.repository, "Action": action}
            for one in access
            for action in one.actions
        ]
        reply = error(Code.UNAUTHORIZED, detail or None)
        reply.headers["WWW-Authenticate"] = challenge.header
        return reply

    def _redirect(self, request: web.BaseRequest) -> Reply | None:
        for redirect in self._faults.redirects:
            if redirect.touches(request.method, request.path):
                location = f"{redirect.to}{request.rel_url.raw_path_qs}"
                return Reply(status=redirect.status, headers={"Location": location, "Content-Type": "text/html"})
        return None

    async def _routed(self, request: web.BaseRequest, place: Place) -> Reply:
        asked = Asked(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            accept=request.headers.getall("Accept", []),
        )
        if place.route == "uploads":
            body = await _body(request, limit=MAX_BLOB)
            return error(Code.SIZE_INVALID) if body is None else self._writer.upload(asked, place, body)
        if place.route == "manifests" and asked.method == "PUT":
            body = await _body(request, limit=MAX_MANIFEST)
            if body is None:
                return error(Code.MANIFEST_INVALID, "http: request body too large")
            return self._writer.put_manifest(asked, place, body, checked=self._faults.checks_references)
        return self._reader.answer(asked, place, self._faults)


async def _body(request: web.BaseRequest, *, limit: int) -> bytes | None:
    """The body; none if it is longer than the limit."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _access(request: web.BaseRequest, place: Place) -> list[Access]:
    """What a request needs: pull to read, pull and push to write, delete to delete."""
    if not place.name:
        return []
    actions = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}.get(request.method, ("pull", "push"))
    access = [Access(place.name, actions)]
    if source := request.query.get("from"):
        access.append(Access(source, ("pull",)))
    return access
