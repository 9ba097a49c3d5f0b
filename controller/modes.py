"""The label `tidegate.dev/effective-mode` of every namespace, by which the webhook configurations select.

Guarantees: it is written when it differs from what labels and policy say, and only then; a namespace that is being
deleted, and those that nobody is asked about, are left alone; whoever writes another value is put right, three times in
a row and then once a second; it is never removed.
"""

import random
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Never

import structlog
from cachetools import TTLCache

from controller.workqueue import Again, WorkQueue
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import NotFound
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NAMESPACES
from tidegate.kube.shapes import Namespace
from tidegate.policy import EFFECTIVE_MODE_LABEL, NAME_LABEL, Policy, mode_of

log = structlog.get_logger()

WRITERS = 4
"""Namespaces written at once: a new configuration may concern thousands."""
PAUSE_S = 1.0
IN_A_ROW = 3
"""Writes of one namespace before they are paced: somebody else may insist on another value."""
_REMEMBERED = 16_384


def effective_mode(name: str, labels: Mapping[str, str], policy: Policy) -> Mode:
    """What a namespace's labels and the policy say."""
    labels = {**labels, NAME_LABEL: name}
    return mode_of(labels, policy.settings_for(labels))


class Modes:
    """Make it once namespaces are synced, call `start`, and run what `loops` names.

    `alone`: names of the namespaces that are left alone.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespaces: Reflector[Namespace],
        policy: Policy,
        alone: Collection[str],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._policy = policy
        self._alone = frozenset(alone)
        self._written: TTLCache[str, int] = TTLCache(_REMEMBERED, ttl=PAUSE_S, timer=clock)
        self._queue = WorkQueue("effective modes", self._look, workers=WRITERS, chance=chance)

    def start(self) -> None:
        """Look at all that is there, and at every change from now on."""
        for name, namespace in self._namespaces.objects.items():
            self._take(name, None, namespace)
        self._namespaces.subscribe(self._take)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {"write effective modes": self._queue.run}

    def _take(self, name: str, _: Namespace | None, new: Namespace | None) -> None:
        if new is not None and self._wanted(name, new) is not None:
            self._queue.add(name)

    def _wanted(self, name: str, namespace: Namespace) -> Mode | None:
        """The value to write; None where there is nothing to do."""
        if name in self._alone or namespace.metadata.deletion_timestamp is not None:
            return None
        labels = namespace.metadata.labels
        mode = effective_mode(name, labels, self._policy)
        return None if labels.get(EFFECTIVE_MODE_LABEL) == mode else mode

    async def _look(self, name: str) -> None:
        """Raises KubeError; after a Conflict what has changed is looked at."""
        namespace = self._namespaces.objects.get(name)
        if namespace is None or (mode := self._wanted(name, namespace)) is None:
            return
        before = self._written.get(name, 0)
        if before >= IN_A_ROW:
            raise Again(PAUSE_S)
        self._written[name] = before + 1
        patch = {"metadata": {"labels": {EFFECTIVE_MODE_LABEL: mode.value}}}
        version = namespace.metadata.resource_version
        with suppress(NotFound):
            await self._client.merge_patch(NAMESPACES, name, patch, resource_version=version)
            log.info("mode.written", namespace=name, mode=mode.value)
