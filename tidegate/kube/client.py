"""One async client of the API server: typed by `Resource`, decoded by msgspec, every call bounded.

    async with KubeClient(connection) as client:
        node = await client.get(NODES, "node-1")
        listed = await client.list(PODS, field_selector="spec.nodeName=node-1")
        async for event in client.watch(PODS, resource_version=listed.resource_version): ...

All methods raise `KubeError`. What is written is a JSON merge patch (RFC 7386), so fields that we do not know stay.
"""

import asyncio
import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Generic, Self, TypeVar

import aiohttp
import msgspec
import structlog
from yarl import URL

from tidegate import __version__
from tidegate.kube.connection import Connection
from tidegate.kube.errors import Gone, Unavailable, as_kube_errors, from_response
from tidegate.kube.resources import HasMetadata, Resource
from tidegate.kube.sockets import ended, keepalive_socket
from tidegate.kube.watching import WatchEvent, Watching, events

log = structlog.get_logger()

T = TypeVar("T", bound=HasMetadata)

PAGE = 500
"""Objects a page, as client-go asks for."""
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

REQUEST_S = 10.0
"""For one request on one object, with its answer, unless the caller says otherwise."""
_PAGE_S = 30.0
_LIST_S = 300.0
_LIST_TRIES = 3
_MOST_BYTES = 256 << 20
"""A page of 500 objects; etcd takes at most 1.5 MiB for one, and most have a hundredth of that."""
_CONNECTIONS = 64


class _State(Enum):
    NEW = "not open yet"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A consistent snapshot, and the version from which a watch goes on."""

    items: list[T]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a snapshot; `continue_` is empty on the last one."""

    items: list[T]
    resource_version: str
    continue_: str


class _ListMeta(msgspec.Struct, frozen=True, rename={"continue_": "continue", "resource_version": "resourceVersion"}):
    resource_version: str = ""
    continue_: str = ""


class _WirePage(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_PAGES = msgspec.json.Decoder(_WirePage)


class KubeClient:
    """Opened once by `async with`, closed at its end, refused when opened again."""

    def __init__(
        self,
        connection: Connection,
        *,
        user_agent: str = f"tidegate/{__version__}",
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`writing` is around everything that writes, and may refuse it with a KubeError."""
        self._connection = connection
        self._writing = writing
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._state = _State.NEW
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {}  # one for each shape, so as many as resources

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            message = f"this client is {self._state.value}: make a new one"
            raise RuntimeError(message)
        connector = aiohttp.TCPConnector(
            ssl=self._connection.ssl or True, limit=_CONNECTIONS, socket_factory=self._socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S),
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
        )
        self._state = _State.OPEN
        return self

    async def __aexit__(self, *_: object) -> None:
        self._state = _State.CLOSED
        if self._session is not None:
            if self._session.connector is not None:
                await self._session.connector.close(abort_ssl=True)  # no goodbyes: the server may not answer
            await self._session.close()
            await ended(self._sockets)

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        made = keepalive_socket(address)
        self._sockets.add(made)
        return made

    async def get(self, resource: Resource[T], name: str, *, namespace: str = "", timeout_s: float = REQUEST_S) -> T:
        """Read one object."""
        path = resource.path(namespace=namespace, name=name)
        return self._decode(resource, await self._call("GET", path, timeout_s=timeout_s))

    async def list(
        self,
        resource: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        page: int = PAGE,
    ) -> Listed[T]:
        """Read all objects, in pages, as they were at one moment; from the start again when that moment is too old.

        Objects that do not decode are logged and left out: one bad object may not hide all others.
        """
        asked = partial(
            self.page,
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=page,
        )
        with as_kube_errors(f"list {resource.plural}"):
            async with asyncio.timeout(_LIST_S):
                for _ in range(_LIST_TRIES - 1):
                    try:
                        return await _all_pages(asked)
                    except Gone:
                        log.info("kube.list_restarted", resource=resource.plural)
                return await _all_pages(asked)

    async def page(
        self,
        resource: Resource[T],
        *,
        limit: int,
        continue_: str = "",
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> Page[T]:
        """Read at most `limit` objects, going on after the page with that `continue_`. Raises Gone: start over."""
        query = {
            "limit": str(limit),
            "continue": continue_,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        path = resource.path(namespace=namespace)
        accept = _accept("PartialObjectMetadataList") if resource.metadata_only else ""
        body = await self._call("GET", path, query=query, accept=accept, timeout_s=_PAGE_S)
        with as_kube_errors(f"GET {path}"):
            wire = _PAGES.decode(body)
        items = [*self._decode_items(resource, wire.items or ())]
        return Page(items, wire.metadata.resource_version, wire.metadata.continue_)

    def watch(
        self,
        resource: Resource[T],
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        watching: Watching = Watching(),  # noqa: B008  frozen
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Every change after `resource_version`, until the server ends the stream (the iterator ends) or it breaks.

        Bookmarks come as events of type BOOKMARK without an object. Gone: list again. Close it (`aclosing`) when you
        leave early, or the connection lives until it is collected.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(watching.server_s))),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        accept = _accept("PartialObjectMetadata") if resource.metadata_only else ""
        opening = self._request("GET", resource.path(namespace=namespace), query=query, accept=accept)
        return events(opening, resource=resource, decoder=self._decoder(resource.shape), watching=watching)

    async def create(
        self, resource: Resource[T], obj: T | Mapping[str, Any], *, namespace: str = "", timeout_s: float = REQUEST_S
    ) -> T:
        """Create an object; the namespace may also be in its metadata. Raises AlreadyExists."""
        body: dict[str, Any] = msgspec.to_builtins(obj)
        body |= {"apiVersion": resource.api_version, "kind": resource.kind}  # a shape leaves its defaults out
        path = resource.path(namespace=namespace or str(body.get("metadata", {}).get("namespace", "")))
        return self._decode(resource, await self._call("POST", path, body=body, timeout_s=timeout_s))

    async def merge_patch(
        self,
        resource: Resource[T],
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
        resource_version: str = "",
        timeout_s: float = REQUEST_S,
    ) -> T:
        """Change what `patch` names. With `resource_version` only if nobody wrote since then, else Conflict.

        Lists are replaced whole and None deletes a key. Beware of putting a shape into `patch`: it leaves defaults out,
        and a merge patch keeps what is left out. `tidegate.kube.patch.difference` makes patches that do not.
        """
        body = dict(patch)
        if resource_version:
            body["metadata"] = {**body.get("metadata", {}), "resourceVersion": resource_version}
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        answer = await self._call("PATCH", path, body=body, media_type=MERGE_PATCH, timeout_s=timeout_s)
        return self._decode(resource, answer)

    async def strategic_patch(
        self,
        resource: Resource[T],
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
        timeout_s: float = REQUEST_S,
    ) -> T:
        """Change single elements of a built-in kind's lists (conditions, by type); the others stay.

        Not all lists have keys (a Node's taints have none), and custom resources know no such patch. With
        `metadata.uid` in it only that very object is changed, else Conflict or Invalid.
        """
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        answer = await self._call("PATCH", path, body=patch, media_type=STRATEGIC_PATCH, timeout_s=timeout_s)
        return self._decode(resource, answer)

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        timeout_s: float = REQUEST_S,
    ) -> None:
        """Delete one object; with `uid` or `resource_version` only that very one, else Conflict."""
        body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        wanted = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {field: value for field, value in wanted.items() if value}:
            body["preconditions"] = preconditions
        await self._call("DELETE", resource.path(namespace=namespace, name=name), body=body, timeout_s=timeout_s)

    def _decode_items(self, resource: Resource[T], raws: Sequence[msgspec.Raw]) -> Iterator[T]:
        decoder = self._decoder(resource.shape)
        for raw in raws:
            try:
                yield resource.kept(decoder.decode(raw))
            except msgspec.MsgspecError as exc:
                log.warning("kube.object_undecodable", resource=resource.plural, error=str(exc)[:256])

    def _decode(self, resource: Resource[T], body: bytes) -> T:
        with as_kube_errors(resource.plural):
            return resource.kept(self._decoder(resource.shape).decode(body))

    def _decoder(self, shape: type[T]) -> msgspec.json.Decoder[T]:
        decoder = self._decoders.get(shape)
        if decoder is None:
            decoder = self._decoders[shape] = msgspec.json.Decoder(shape)
        return decoder

    async def _call(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        media_type: str = "application/json",
        accept: str = "",
    ) -> bytes:
        """One request and its whole answer within `timeout_s`."""
        what = f"{method} {path}"
        with as_kube_errors(what), nullcontext() if method == "GET" else self._writing():
            async with (
                asyncio.timeout(timeout_s),
                self._request(method, path, query=query, body=body, media_type=media_type, accept=accept) as response,
            ):
                return await _bounded(response, what)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        media_type: str = "application/json",
        accept: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None or self._state is not _State.OPEN:
            message = f"this client is {self._state.value}"
            raise RuntimeError(message)
        headers = {"Accept": accept} if accept else {}
        if body is not None:
            headers["Content-Type"] = media_type
        if token := await self._connection.token():
            headers["Authorization"] = token
        async with self._session.request(
            method,
            URL(self._connection.base_url + path, encoded=True),  # or %2F in a name would become a slash again
            params={name: value for name, value in (query or {}).items() if value},
            data=None if body is None else msgspec.json.encode(body),
            headers=headers,
            allow_redirects=False,
            server_hostname=self._connection.server_name,
            proxy=self._connection.proxy,
        ) as response:
            if not response.ok or response.status >= 300:  # noqa: PLR2004  a redirect: no API server sends one
                told = await response.content.read(1 << 16)
                raise from_response(response.status, told, retry_after=response.headers.get("Retry-After", ""))
            yield response


def _accept(kind: str) -> str:
    return f"application/json;as={kind};g=meta.k8s.io;v=v1"


async def _all_pages(asked: Callable[..., Awaitable[Page[T]]]) -> Listed[T]:
    items: list[T] = []
    continue_ = ""
    while True:
        page = await asked(continue_=continue_)
        items += page.items
        if not page.continue_:
            return Listed(items, page.resource_version)
        continue_ = page.continue_


async def _bounded(response: aiohttp.ClientResponse, what: str) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > _MOST_BYTES:
            message = f"{what}: answer of more than {_MOST_BYTES} bytes"
            raise Unavailable(message)
        chunks.append(chunk)
    return b"".join(chunks)
