"""Events on held Pods and their owners, best effort: each once however often a controller starts, none in the way."""

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Never

import structlog

from controller.workqueue import WorkQueue
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Forbidden, Invalid, NotFound
from tidegate.kube.resources import EVENTS
from tidegate.kube.shapes import Event, Metadata, ObjectReference
from tidegate.kube.times import micro_time

log = structlog.get_logger()

CONTROLLER = "tidegate.dev/controller"
_MOST_WAITING = 20_000
"""Events not written yet; beyond that the newest are left out."""
_WRITERS = 4
_LONGEST_NAME = 220
_OF_NO_NAMESPACE = "default"
"""Where the API server wants Events about what is in no namespace."""


class Reports:
    """Writes Events. `instance` names this process."""

    def __init__(
        self, client: KubeClient, *, instance: str, wall: Callable[[], datetime], chance: random.Random
    ) -> None:
        self._client = client
        self._instance = instance
        self._wall = wall
        self._waiting: dict[str, Event] = {}
        self._queue = WorkQueue("events", self._write, workers=_WRITERS, chance=chance)

    def tell(
        self, about: ObjectReference, *, reason: str, action: str, note: str, warning: bool = False, of: str = ""
    ) -> None:
        """Say something about an object, in its namespace; the same reason (`of` the same) for it is said once."""
        log.info("hold.told", kind=about.kind, object=f"{about.namespace}/{about.name}", reason=reason, note=note)
        once = hashlib.sha256(f"{about.uid}/{reason}/{of}".encode()).hexdigest()[:16]
        name = f"{about.name[:_LONGEST_NAME]}.{once}"
        namespace = about.namespace or _OF_NO_NAMESPACE
        key = f"{namespace}/{name}"
        if len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting[key] = Event(
            metadata=Metadata(name=name, namespace=namespace),
            event_time=micro_time(self._wall()),
            reporting_controller=CONTROLLER,
            reporting_instance=self._instance,
            action=action,
            reason=reason,
            type="Warning" if warning else "Normal",
            regarding=about,
            note=note,
        )
        self._queue.add(key)

    async def run(self) -> Never:
        """Write until cancelled."""
        await self._queue.run()

    async def _write(self, key: str) -> None:
        event = self._waiting.get(key)
        if event is None:
            return
        try:
            with suppress(AlreadyExists, NotFound):  # said before, or the namespace is gone
                await self._client.create(EVENTS, event)
        except (Forbidden, Invalid) as exc:  # a namespace that is being deleted, or a right that is missing
            log.warning("event.refused", event=key, error=str(exc))
        self._waiting.pop(key, None)
