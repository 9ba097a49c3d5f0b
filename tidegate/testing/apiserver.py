"""A small API server in memory, for tests, the demo and drills.

    async with ApiServerDouble() as api:
        api.kubeconfig(path)            # for programs
        api.url                         # for clients
        api.compact(); api.cut(); api.stall()

It holds any object under any `/api/V/PLURAL` and `/apis/G/V/PLURAL`, in a namespace or in none: create, get, list in
pages, watch with bookmarks and 410, PUT, merge patch, the status subresource, delete, conflicts. It knows no
discovery, no server-side apply, no schema, no garbage collection and no controllers. What it does, it does as
kube-apiserver does: both pass one conformance suite (`tidegate.testing.apiserver_conformance`).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import yaml
from aiohttp import web

from tidegate.kube.connection import Connection, plain
from tidegate.testing import apiserver_errors as errors
from tidegate.testing.apiserver_http import Api
from tidegate.testing.apiserver_objects import created
from tidegate.testing.apiserver_store import Collection, Key, Store

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_MOST_BODY = 3 << 20  # as kube-apiserver
_MOST_RECORDED = 100_000
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Seen(NamedTuple):
    """One request that arrived."""

    method: str
    path: str
    query: str


class ApiServerDouble:
    """See the module. With `token`, requests without it get 401; with `tls`, it speaks HTTPS.

    `without`: plurals of definitions that are not installed.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_pem: bytes | None = None,
        bookmark_s: float = 60.0,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._host = host
        self._without = without
        self._port = port
        self._token = token
        self._tls = tls
        self._ca_pem = ca_pem
        self._store = Store()
        self._runner: web.AppRunner | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._api = Api(self._store, bookmark_s=bookmark_s, flowing=self._flowing, opened=self._opened)
        self._failing: deque[errors.Refused] = deque()
        self._streams: dict[int, web.Request] = {}
        self.requests: deque[Seen] = deque(maxlen=_MOST_RECORDED)
        """What arrived, oldest first."""
        for name in _NAMESPACES:
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, plural="namespaces")

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            message = "this server has been started already: make a new one"
            raise RuntimeError(message)
        app = web.Application(client_max_size=_MOST_BODY, middlewares=[self._gate])
        app.router.add_get("/readyz", _ready)
        app.router.add_route("*", "/{path:.*}", self._api.handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flowing.set()
        self.end_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    def connection(self) -> Connection:
        """What KubeClient needs to reach it."""
        context = ssl.create_default_context(cadata=self._ca_pem.decode()) if self._ca_pem else None
        return plain(self.url, token=self._token, context=context)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that names this server; returns `path`."""
        cluster: dict[str, Any] = {"server": self.url}
        if self._ca_pem:
            authority = path.with_suffix(".ca.pem")
            authority.write_bytes(self._ca_pem)
            cluster["certificate-authority"] = str(authority.resolve())
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
            "clusters": [{"name": "double", "cluster": cluster}],
            "users": [{"name": "double", "user": {"token": self._token} if self._token else {}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    def put(self, obj: dict[str, Any], *, plural: str) -> dict[str, Any]:
        """Create an object from inside, with its status, past all checks but those of its name."""
        api_version, metadata = str(obj["apiVersion"]), obj["metadata"]
        group = api_version.rpartition("/")[0]
        collection, namespace = Collection(group, plural), str(metadata.get("namespace", ""))
        made = created(obj, plural=plural, collection=str(collection), namespace=namespace)
        if "status" in obj:
            made["status"] = obj["status"]
        return self._store.put(collection, Key(namespace, made["metadata"]["name"]), made).obj

    def objects(self, group: str, plural: str) -> list[dict[str, Any]]:
        """What a collection holds now, sorted by namespace and name."""
        collection = Collection(group, plural)
        return [stored.obj for key in self._store.keys(collection) if (stored := self._store.get(collection, key))]

    def compact(self) -> None:
        """Forget all history: watches and continue tokens from before now get 410. Open watches go on."""
        self._store.compact()

    def bookmark(self) -> None:
        """Send a bookmark to every open watch that asked for them, now."""
        for watcher in self._store.watchers():
            if line := watcher.bookmark(self._store.version):
                watcher.put(line)

    def cut(self) -> None:
        """Break the connection of every open watch, as a network does: no last chunk, no goodbye."""
        for request in tuple(self._streams.values()):
            if request.transport is not None:
                request.transport.abort()
        self._streams.clear()

    def end_watches(self) -> None:
        """End every open watch in good order, as the server does after timeoutSeconds."""
        for watcher in self._store.watchers():
            watcher.put(None)

    def stall(self) -> None:
        """Answer nothing more, and accept everything, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def fail_next(
        self, times: int, *, code: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s: int | None = None
    ) -> None:
        """Refuse the next requests with this code."""
        refusal = errors.Refused(code, code.phrase.replace(" ", ""), "refused on purpose", retry_after_s=retry_after_s)
        self._failing.extend([refusal] * times)

    @property
    def watches(self) -> int:
        """Open watches."""
        return len(self._streams)

    @web.middleware
    async def _gate(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self.requests.append(Seen(request.method, request.path, request.query_string))
        try:
            await self._flowing.wait()
            if self._failing:
                raise self._failing.popleft()
            if self._token is not None and request.headers.get("Authorization") != f"Bearer {self._token}":
                raise errors.unauthorized()
            if not self._without.isdisjoint(request.path.split("/")):
                raise errors.no_such_path()
            return await handler(request)
        except errors.Refused as refused:
            headers = {}
            if (seconds := refused.status.get("details", {}).get("retryAfterSeconds")) is not None:
                headers["Retry-After"] = str(seconds)
            body = msgspec.json.encode(refused.status)
            return web.Response(body=body, status=refused.code, content_type="application/json", headers=headers)
        finally:
            self._streams.pop(id(request), None)

    def _opened(self, request: web.Request) -> None:
        self._streams[id(request)] = request


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ok")
