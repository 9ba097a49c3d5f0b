"""The API server double's paths and verbs, on top of its store."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from tidegate.kube import resources
from tidegate.kube.own import GROUP
from tidegate.testing import apiserver_errors as errors
from tidegate.testing.apiserver_objects import Object, created, merged, now, strategically_merged, updated
from tidegate.testing.apiserver_selectors import selector
from tidegate.testing.apiserver_store import Collection, Key, Store, Stored, Watcher, encoded

_MERGES: Mapping[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merged,
    "application/strategic-merge-patch+json": strategically_merged,
}

_KNOWN = [known for known in vars(resources).values() if isinstance(known, resources.Resource)]
_NAMESPACED = {Collection(known.group, known.plural) for known in _KNOWN if known.namespaced} | {
    Collection("", "serviceaccounts"),
}
_KINDS = {Collection(known.group, known.plural): known.kind for known in _KNOWN} | {
    Collection("", "secrets"): "Secret",
    Collection("", "configmaps"): "ConfigMap",
    Collection("", "serviceaccounts"): "ServiceAccount",
}
_NAMESPACES = Collection("", "namespaces")
_OF_A_NAMESPACE = frozenset({"status", "finalize"})
_WATCH_S = 1800.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; `key.name` is empty for a collection."""

    collection: Collection
    version: str
    key: Key
    subresource: str = ""

    @classmethod
    def parse(cls, path: str) -> "Target":
        """`/api/V/…`, `/apis/G/V/…`. Raises Refused (404)."""
        root, *parts = path.strip("/").split("/")
        group = ""
        if root == "apis" and parts:
            group, *parts = parts
        elif root != "api":
            raise errors.no_such_path()
        version, *parts = parts or [""]
        match parts:
            case ["namespaces", namespace, plural, *rest] if plural not in _OF_A_NAMESPACE:
                pass
            case [plural, *rest]:
                namespace = ""
            case _:
                raise errors.no_such_path()
        match rest:
            case []:
                name, subresource = "", ""
            case [name]:
                subresource = ""
            case [name, subresource]:
                pass
            case _:
                raise errors.no_such_path()
        return cls(Collection(group, plural), version, Key(namespace, name), subresource)

    @property
    def api_version(self) -> str:
        return f"{self.collection.group}/{self.version}" if self.collection.group else self.version


class Api:
    """One handler for every path. `bookmark_s`: how often a watch gets a bookmark. It tells only while `flowing`."""

    def __init__(
        self, store: Store, *, bookmark_s: float, flowing: asyncio.Event, opened: Callable[[web.Request], None]
    ) -> None:
        self._store = store
        self._flowing = flowing
        self._bookmark_s = bookmark_s
        self._opened = opened

    async def handle(self, request: web.Request) -> web.StreamResponse:
        target = Target.parse(request.path)
        if target.key.name:
            return await self._on_object(request, target)
        match request.method:
            case "GET" if request.query.get("watch") in {"true", "1"}:
                return await self._watch(request, target)
            case "GET":
                return self._list(request, target)
            case "POST":
                return self._create(target, await _body(request))
        raise errors.method_not_allowed()

    async def _on_object(self, request: web.Request, target: Target) -> web.Response:
        """What an object is changed into is computed after the last await, so that nothing comes between."""
        match request.method:
            case "GET":
                return _answer(self._existing(target).body)
            case "PUT":
                return self._update(target, await _body(request))
            case "PATCH":
                merge = _MERGES.get(request.content_type)
                if merge is None or (merge is strategically_merged and target.collection.group == GROUP):
                    raise errors.unsupported_media_type(request.content_type)
                patch = await _body(request)
                return self._update(target, merge(self._existing(target).obj, patch))
            case "DELETE":
                return self._delete(target, await _body(request) if request.can_read_body else {})
        raise errors.method_not_allowed()

    def _existing(self, target: Target) -> Stored:
        if target.subresource not in {"", "status"}:
            raise errors.no_such_path()
        stored = self._store.get(target.collection, target.key)
        if stored is None:
            raise errors.not_found(str(target.collection), target.key.name)
        return stored

    def _create(self, target: Target, body: Object) -> web.Response:
        kind = _KINDS.get(target.collection, body.get("kind", ""))
        expected = (target.api_version, kind)
        if not kind or (body.get("apiVersion", target.api_version), body.get("kind", kind)) != expected:
            message = f"the object provided is unrecognized: {target.collection} are {expected}"
            raise errors.bad_request(message)
        namespace = target.key.namespace
        if not namespace and target.collection in _NAMESPACED:
            raise errors.no_such_path()
        obj = created(body, plural=target.collection.plural, collection=str(target.collection), namespace=namespace)
        key = Key(namespace, obj["metadata"]["name"])
        if namespace and self._store.get(_NAMESPACES, Key("", namespace)) is None:
            raise errors.not_found(str(_NAMESPACES), namespace)
        if self._store.get(target.collection, key) is not None:
            raise errors.already_exists(str(target.collection), key.name)
        stored = self._store.put(target.collection, key, {"apiVersion": target.api_version, "kind": kind, **obj})
        return _answer(stored.body, HTTPStatus.CREATED)

    def _update(self, target: Target, wanted: Object) -> web.Response:
        current = self._existing(target)
        obj = updated(
            current.obj,
            wanted,
            plural=target.collection.plural,
            collection=str(target.collection),
            subresource=target.subresource,
        )
        if obj == current.obj:
            return _answer(current.body)
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            return _answer(self._store.delete(target.collection, target.key).body)
        return _answer(self._store.put(target.collection, target.key, obj).body)

    def _delete(self, target: Target, options: Object) -> web.Response:
        current = self._existing(target)
        metadata, name = current.obj["metadata"], str(target.collection)
        for field, wanted in (options.get("preconditions") or {}).items():
            if metadata[field] != wanted:
                raise errors.precondition(name, target.key.name, field=field, wanted=wanted, found=metadata[field])
        if metadata.get("finalizers"):
            marked = {"deletionTimestamp": now(), **metadata}
            return _answer(self._store.put(target.collection, target.key, {**current.obj, "metadata": marked}).body)
        self._store.delete(target.collection, target.key)
        if target.collection == _NAMESPACES:
            self._empty(target.key.name)
        details = {"name": target.key.name, "uid": metadata["uid"], "kind": target.collection.plural}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return _answer(msgspec.json.encode(done))

    def _empty(self, namespace: str) -> None:
        for collection in self._store.collections():
            for key in self._store.keys(collection):
                if key.namespace == namespace:
                    self._store.delete(collection, key)

    def _list(self, request: web.Request, target: Target) -> web.Response:
        limit = int(request.query.get("limit", "0") or 0)
        version, after = self._store.version, None
        if token := request.query.get("continue"):
            version, after = _from_token(token)
        objects = self._store.at(target.collection, version)
        matches = selector(
            labels=request.query.get("labelSelector", ""),
            fields=request.query.get("fieldSelector", ""),
            plural=target.collection.plural,
        )
        keys = [
            key
            for key in sorted(objects)
            if (after is None or key > after)
            and (not target.key.namespace or key.namespace == target.key.namespace)
            and matches(objects[key].obj)
        ]
        page = keys[:limit] if limit else keys
        metadata = {"resourceVersion": str(version)}
        if len(page) < len(keys):
            metadata["continue"] = _token(version, page[-1])
        kind = _KINDS.get(target.collection, "")
        if not kind and page:
            kind = objects[page[0]].obj["kind"]
        listed = {
            "kind": f"{kind}List",
            "apiVersion": target.api_version,
            "metadata": metadata,
            "items": [msgspec.Raw(objects[key].body) for key in page],
        }
        return _answer(msgspec.json.encode(listed))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        matches = selector(
            labels=request.query.get("labelSelector", ""),
            fields=request.query.get("fieldSelector", ""),
            plural=target.collection.plural,
        )
        head = {"kind": _KINDS.get(target.collection, ""), "apiVersion": target.api_version}
        bookmarks = head if request.query.get("allowWatchBookmarks") in {"true", "1"} else None
        watcher = Watcher(target.key.namespace, matches, bookmarks)
        version = request.query.get("resourceVersion", "0") or "0"
        if not version.isdecimal():
            message = f"Invalid value: {version!r}: resourceVersion"
            raise errors.bad_request(message)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._opened(request)
        try:
            self._store.watch(target.collection, watcher, since=int(version) or None)
            if not int(version) and (line := watcher.bookmark(self._store.version)):
                watcher.put(line)  # what was there has been told
        except errors.Refused as refused:  # the watch cache answers 200 and puts its refusal into the stream
            await response.write(encoded("ERROR", msgspec.json.encode(refused.status)))
            return response
        try:
            await self._stream(response, watcher, _seconds(request))
        finally:
            self._store.unwatch(target.collection, watcher)
        return response

    async def _stream(self, response: web.StreamResponse, watcher: Watcher, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while True:
            try:
                async with asyncio.timeout(min(self._bookmark_s, max(0.0, end - clock()))):
                    line = await watcher.lines.get()
            except TimeoutError:
                line = watcher.bookmark(self._store.version) or b""
                over = clock() >= end
            else:
                over = line is None
            await self._flowing.wait()
            if line:
                await response.write(line)
            if over:
                return


def _seconds(request: web.Request) -> float:
    return float(request.query.get("timeoutSeconds", "0") or 0) or _WATCH_S


def _answer(body: bytes, code: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, status=code.value, content_type="application/json")


async def _body(request: web.Request) -> Object:
    try:
        body: Any = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, RecursionError) as exc:
        message = f"couldn't parse the body: {exc}"
        raise errors.bad_request(message) from exc
    if not isinstance(body, dict):
        message = "the body is no object"
        raise errors.bad_request(message)
    return body


def _token(version: int, last: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([version, last.namespace, last.name])).decode()


def _from_token(token: str) -> tuple[int, Key]:
    try:
        version, namespace, name = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[int, str, str])
    except (ValueError, msgspec.MsgspecError) as exc:
        message = f"continue key is not valid: {exc}"
        raise errors.bad_request(message) from exc
    return version, Key(namespace, name)
