"""A local copy of one collection of the API, kept current: list in pages, then watch, for ever.

    reflector = Reflector(client, NODEPULLS)
    reflector.subscribe(lambda key, old, new: …)
    task = group.create_task(reflector.run())
    await reflector.synced.wait()

Guarantees:
- `synced` is set after the first whole list, and never taken back;
- every change is told once, in order; several changes of one object while the stream was cut are told as one;
- what was deleted while the stream was cut is told as deleted, and what was deleted and made anew under the same name
  is told as deleted, then as added;
- pauses between tries grow, are capped, and are jittered, so that twelve hundred agents do not come back together;
- a server that hangs is left after a bound (`Watching`, and the client's own).
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Generic, Never, Protocol, TypeVar, cast

import structlog

from tidegate.kube.client import Listed
from tidegate.kube.errors import Gone, KubeError
from tidegate.kube.resources import HasMetadata, Resource, key
from tidegate.kube.watching import EventType, WatchEvent, Watching

log = structlog.get_logger()

T = TypeVar("T", bound=HasMetadata)

OnChange = Callable[[str, T | None, T | None], None]
"""`(key, old, new)`: added when old is None, deleted when new is None. Must return at once and not raise."""

_LIVED_S = 5.0
"""A watch that lived this long was a good one, even if nothing happened."""
_LOSE_FAITH_AFTER = 3
"""So many answers in a row that are errors, and the version is dropped: after an etcd restore it lies in the future."""


class Source(Protocol[T]):
    """What a reflector asks of a client."""

    async def list(
        self, resource: Resource[T], *, namespace: str, label_selector: str, field_selector: str
    ) -> Listed[T]: ...

    def watch(
        self,
        resource: Resource[T],
        *,
        resource_version: str,
        namespace: str,
        label_selector: str,
        field_selector: str,
        watching: Watching,
    ) -> AsyncGenerator[WatchEvent[T], None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Seconds between tries: `first`, doubled with each failure up to `most`, each time between half and the whole."""

    first: float = 0.2
    most: float = 30.0
    spread: float = 0.2
    """After a stream that ended as it should: anything from nothing to this."""

    def after(self, failures: int, *, told: float | None, chance: random.Random) -> float:
        """The pause after so many failures in a row; never shorter than the server asked for, never over `most`."""
        if failures == 0:
            return chance.uniform(0, self.spread)
        grown = min(self.most, self.first * 2.0 ** min(failures - 1, 32))
        return min(self.most, max(grown, told or 0.0)) * chance.uniform(0.5, 1.0)


class Reflector(Generic[T]):
    """See the module. `run()` is a root task: it ends only when it is cancelled."""

    def __init__(
        self,
        client: Source[T],
        resource: Resource[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        pauses: Pauses = Pauses(),
        watching: Watching = Watching(),  # noqa: B008  frozen
        chance: random.Random | None = None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._pauses = pauses
        self._watching = watching
        self._chance = chance or random.Random()  # noqa: S311  jitter is no secret
        self._objects: dict[str, T] = {}
        self._subscribers: list[OnChange[T]] = []
        self._version: str | None = None
        self._failures = 0
        self._revision = 0
        self._moved = asyncio.Event()
        self.synced = asyncio.Event()
        self.objects: Mapping[str, T] = MappingProxyType(self._objects)
        """By `NAMESPACE/NAME` or `NAME`; a live view."""

    @property
    def revision(self) -> int:
        """Counts changes; compare it to know whether anything happened."""
        return self._revision

    def subscribe(self, on_change: OnChange[T]) -> Callable[[], None]:
        """Be told of every change from now on; returns what ends it. Objects that are already here are not told."""
        self._subscribers.append(on_change)

        def leave() -> None:
            self._subscribers = [told for told in self._subscribers if told is not on_change]

        return leave

    def subscribers(self) -> tuple[OnChange[T], ...]:
        """Who is told now."""
        return tuple(self._subscribers)

    def keep(self, subscribers: Collection[OnChange[T]]) -> None:
        """Tell nobody but these any more."""
        self._subscribers = [told for told in self._subscribers if told in subscribers]

    async def changed(self, since: int | None = None) -> int:
        """Wait until `revision` is past `since` (default: past what it is now); returns it.

        Nothing is missed between two calls when the one's answer is the other's `since`.
        """
        since = self._revision if since is None else since
        while self._revision <= since:
            moved = self._moved
            await moved.wait()
        return self._revision

    async def run(self) -> Never:
        """Keep the copy current until cancelled."""
        while True:
            told: float | None = None
            try:
                if self._version is None:
                    await self._list()
                await self._follow()
            except Gone:
                log.info("kube.relist", resource=self._resource.plural)
                self._version = None
                self._failures += 1
            except KubeError as exc:
                self._failures += 1
                told = exc.retry_after_s
                if exc.status and self._failures >= _LOSE_FAITH_AFTER:
                    self._version = None
                log.warning(
                    "kube.watch_failed", resource=self._resource.plural, failures=self._failures, error=str(exc)
                )
            await asyncio.sleep(self._pauses.after(self._failures, told=told, chance=self._chance))

    async def _list(self) -> None:
        listed = await self._client.list(
            self._resource, namespace=self._namespace, label_selector=self._labels, field_selector=self._fields
        )
        fresh = {key(item.metadata): item for item in listed.items}
        for name in [name for name in self._objects if name not in fresh]:
            self._put(name, None)
        for name, item in fresh.items():
            self._put(name, item)
        self._version = listed.resource_version
        if not self.synced.is_set():
            log.info("kube.synced", resource=self._resource.plural, objects=len(fresh))
            self.synced.set()

    async def _follow(self) -> None:
        """One watch from where we are, to its end."""
        clock = asyncio.get_running_loop().time
        began = clock()
        seen = False
        stream = self._client.watch(
            self._resource,
            resource_version=cast("str", self._version),
            namespace=self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            watching=replace(self._watching, server_s=self._watching.server_s * self._chance.uniform(0.75, 1.0)),
        )
        async with aclosing(stream) as stream:
            async for event in stream:
                seen = True
                self._failures = 0
                self._take(event)
        if seen or clock() - began >= _LIVED_S:
            self._failures = 0
        else:  # a server that closes at once would otherwise be asked without end
            self._failures += 1

    def _take(self, event: WatchEvent[T]) -> None:
        if event.object is not None:
            gone = event.type is EventType.DELETED
            self._put(key(event.object.metadata), None if gone else event.object)
        if event.resource_version:
            self._version = event.resource_version

    def _put(self, name: str, new: T | None) -> None:
        """Change the copy and tell, unless it is what we have."""
        old = self._objects.get(name)
        if old is None and new is None:
            return
        if old is not None and new is not None:
            if old.metadata.resource_version == new.metadata.resource_version and old.metadata.uid == new.metadata.uid:
                return
            if old.metadata.uid != new.metadata.uid:
                self._put(name, None)
                old = None
        if new is None:
            del self._objects[name]
        else:
            self._objects[name] = new
        self._revision += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        for subscriber in tuple(self._subscribers):
            subscriber(name, old, new)
