"""Events on held Pods, best effort: each once however often a controller starts, none in the way of a release."""

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Never

import structlog

from controller.holding.gates import Held
from controller.workqueue import WorkQueue
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Forbidden, Invalid, NotFound
from tidegate.kube.resources import EVENTS
from tidegate.kube.shapes import Event, Metadata, ObjectReference

log = structlog.get_logger()

CONTROLLER = "tidegate.dev/controller"
_MOST_WAITING = 20_000
"""Events not written yet; beyond that the newest are left out."""
_WRITERS = 4
_LONGEST_NAME = 220


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

    def tell(self, held: Held, *, reason: str, action: str, note: str, warning: bool = False) -> None:
        """Say something about a Pod; the same reason for the same Pod is said once."""
        log.info("pod.hold", pod=held.key, reason=reason, note=note)
        name = f"{held.name[:_LONGEST_NAME]}.{hashlib.sha256(f'{held.uid}/{reason}'.encode()).hexdigest()[:16]}"
        key = f"{held.namespace}/{name}"
        if len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting[key] = Event(
            metadata=Metadata(name=name, namespace=held.namespace),
            event_time=micro_time(self._wall()),
            reporting_controller=CONTROLLER,
            reporting_instance=self._instance,
            action=action,
            reason=reason,
            type="Warning" if warning else "Normal",
            regarding=ObjectReference(
                api_version="v1", kind="Pod", namespace=held.namespace, name=held.name, uid=held.uid
            ),
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


def micro_time(moment: datetime) -> str:
    """As `metav1.MicroTime` is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
