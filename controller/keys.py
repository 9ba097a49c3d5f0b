"""The Secret with the keys by which `/mutate` signs what it decided: made, and given a new key a day.

The two newest keys stay, so what was signed just before a new key came is still believed. Names sort by time; any
process may have made them, and what is no name of ours sorts before all and goes first.
"""

import base64
import random
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Never

import structlog

from controller.keeping import kept
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound
from tidegate.kube.own import DECISION_SECRET
from tidegate.kube.resources import SECRETS
from tidegate.kube.shapes import Metadata, Secret

log = structlog.get_logger()

KEY_BYTES = 32
ROTATE = timedelta(days=1)
KEPT = 2
_FORMAT = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_LOOK_S = 600.0


def rotated(data: Mapping[str, str], *, now: datetime, fresh: Callable[[], bytes]) -> dict[str, str | None]:
    """The merge patch of a Secret's data; empty when there is a usable key of less than a day."""
    usable = {name: made for name in data if _is_key(data[name]) and (made := _made(name)) and made - now <= ROTATE}
    newest = max(usable.values(), default=None)
    patch: dict[str, str | None] = {}
    if newest is None or now - newest >= ROTATE:  # of clocks that step, a key may seem to be of later today
        name = now.strftime(_FORMAT)
        patch[name] = base64.b64encode(fresh()).decode()
        usable[name] = now
    kept = sorted(usable, reverse=True)[:KEPT]
    return patch | {name: None for name in data if name not in kept}


class DecisionKeys:
    """Keeps the Secret in `namespace`. `fresh` draws a key."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        wall: Callable[[], datetime],
        fresh: Callable[[], bytes],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._wall = wall
        self._fresh = fresh
        self._chance = chance

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, with its name."""
        return {"decision keys": partial(kept, self.keep, what="decision keys", look_s=_LOOK_S, chance=self._chance)}

    async def keep(self) -> None:
        """Make the Secret if it is not there, and give it a new key when it is time. Raises KubeError."""
        try:
            secret = await self._client.get(SECRETS, DECISION_SECRET, namespace=self._namespace)
        except NotFound:
            await self._create()
            return
        patch = rotated(secret.data, now=self._wall(), fresh=self._fresh)
        if not patch:
            return
        with suppress(Conflict, NotFound):  # somebody else was first; we look again
            await self._client.merge_patch(
                SECRETS, DECISION_SECRET, {"data": patch}, namespace=self._namespace,
                resource_version=secret.metadata.resource_version,
            )  # fmt: skip
            log.info("keys.rotated", added=[name for name, value in patch.items() if value is not None])

    async def _create(self) -> None:
        data = {name: value for name, value in rotated({}, now=self._wall(), fresh=self._fresh).items() if value}
        metadata = Metadata(name=DECISION_SECRET, namespace=self._namespace)
        with suppress(AlreadyExists):
            await self._client.create(SECRETS, Secret(metadata=metadata, data=data))
            log.info("keys.created", secret=f"{self._namespace}/{DECISION_SECRET}")


def _made(name: str) -> datetime | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        return datetime.strptime(name, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == KEY_BYTES
    except ValueError:
        return False
