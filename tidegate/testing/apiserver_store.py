"""Objects, their versions and their watchers: etcd and the watch cache of the API server double, without HTTP.

One counter numbers all writes, as etcd's revision does. Events are kept until `compact`; a watch from before that, and
a continue token of before that, is refused with 410.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from tidegate.testing.apiserver_errors import expired
from tidegate.testing.apiserver_selectors import Matches

Object = dict[str, Any]

_MOST_WAITING = 10_000
"""Events that may wait for one slow watcher; then its stream ends, as the real server does."""


class Collection(NamedTuple):
    """One resource: group, plural."""

    group: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


class Key(NamedTuple):
    """Sorted as etcd sorts its paths."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one object."""

    obj: Object
    body: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """One write; `before` and `after` are None for a creation and a deletion."""

    version: int
    key: Key
    before: Stored | None
    after: Stored | None
    last: Stored
    """What a DELETED event shows: the last state under the version of its deletion."""


@dataclass(eq=False, slots=True)
class Watcher:
    """A stream of encoded lines for one namespace ("" for all) and one selection; None ends it."""

    namespace: str
    matches: Matches
    bookmarks: Mapping[str, str] | None
    """Their `apiVersion` and `kind`, when they are wanted."""
    lines: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))

    def offer(self, change: Change) -> None:
        if self.namespace and change.key.namespace != self.namespace:
            return
        line = self._line(change)
        if line is not None:
            self.put(line)

    def bookmark(self, version: int) -> bytes | None:
        """Everything up to `version` has been told; None when that is not wanted."""
        if self.bookmarks is None:
            return None
        metadata = {"resourceVersion": str(version), "creationTimestamp": None}
        return encoded("BOOKMARK", msgspec.json.encode({**self.bookmarks, "metadata": metadata}))

    def put(self, line: bytes | None) -> None:
        try:
            self.lines.put_nowait(line)
        except asyncio.QueueFull:
            while not self.lines.empty():
                self.lines.get_nowait()
            self.lines.put_nowait(None)

    def _line(self, change: Change) -> bytes | None:
        """An object that enters or leaves the selection is added or deleted, as far as this watcher can see."""
        was = change.before is not None and self.matches(change.before.obj)
        if change.after is not None and self.matches(change.after.obj):
            return encoded("MODIFIED" if was else "ADDED", change.after.body)
        return encoded("DELETED", change.last.body) if was else None


def encoded(kind: str, body: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"


class Store:
    """All collections of one server."""

    def __init__(self, *, history: int = 10_000) -> None:
        self._history = history
        self._objects: dict[Collection, dict[Key, Stored]] = {}
        self._changes: dict[Collection, list[Change]] = {}
        self._watchers: dict[Collection, set[Watcher]] = {}
        self.version = 1
        self.compacted = 0

    def get(self, collection: Collection, key: Key) -> Stored | None:
        return self._objects.get(collection, {}).get(key)

    def keys(self, collection: Collection) -> list[Key]:
        return sorted(self._objects.get(collection, {}))

    def collections(self) -> list[Collection]:
        return list(self._objects)

    def put(self, collection: Collection, key: Key, obj: Object) -> Stored:
        """Write a version of an object; `metadata.resourceVersion` is set here."""
        self.version += 1
        before = self.get(collection, key)
        after = _stored(obj, self.version)
        self._objects.setdefault(collection, {})[key] = after
        self._tell(collection, Change(self.version, key, before, after, after))
        return after

    def delete(self, collection: Collection, key: Key) -> Stored:
        before = self._objects[collection].pop(key)
        self.version += 1
        last = _stored(before.obj, self.version)
        self._tell(collection, Change(self.version, key, before, None, last))
        return last

    def at(self, collection: Collection, version: int) -> dict[Key, Stored]:
        """The collection as it was at a version. Raises Refused (410) when that has been compacted."""
        if version < self.compacted:
            message = "The provided continue parameter is too old to display a consistent list result."
            raise expired(message)
        objects = dict(self._objects.get(collection, {}))
        for change in reversed(self._changes.get(collection, [])):
            if change.version <= version:
                break
            if change.before is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.before
        return objects

    def watch(self, collection: Collection, watcher: Watcher, *, since: int | None) -> None:
        """Register, after telling what happened since (or, with None, what is there). Raises Refused (410)."""
        if since is None:
            for _, stored in sorted(self._objects.get(collection, {}).items(), key=lambda item: item[1].version):
                if self._sees(watcher, stored):
                    watcher.put(encoded("ADDED", stored.body))
        else:
            if since < self.compacted:
                message = f"too old resource version: {since} ({self.compacted})"
                raise expired(message)
            for change in self._changes.get(collection, []):
                if change.version > since:
                    watcher.offer(change)
        self._watchers.setdefault(collection, set()).add(watcher)

    def unwatch(self, collection: Collection, watcher: Watcher) -> None:
        self._watchers.get(collection, set()).discard(watcher)

    def watchers(self) -> list[Watcher]:
        return [watcher for watchers in self._watchers.values() for watcher in watchers]

    def compact(self) -> None:
        """Forget the past: what was versioned before now can no longer be watched from or paged through."""
        self.compacted = self.version
        self._changes.clear()

    def _tell(self, collection: Collection, change: Change) -> None:
        changes = self._changes.setdefault(collection, [])
        changes.append(change)
        if len(changes) > self._history:
            self.compact()
        for watcher in tuple(self._watchers.get(collection, ())):
            watcher.offer(change)

    @staticmethod
    def _sees(watcher: Watcher, stored: Stored) -> bool:
        namespace = stored.obj["metadata"].get("namespace", "")
        return (not watcher.namespace or namespace == watcher.namespace) and watcher.matches(stored.obj)


def _stored(obj: Mapping[str, Any], version: int) -> Stored:
    fresh = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
    return Stored(fresh, msgspec.json.encode(fresh), version)
