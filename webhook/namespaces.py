"""What the gate knows of namespaces: their labels from the API server, or nothing outside a cluster.

A namespace and what is in it may be made in one breath, faster than a watch tells of it. Then the review waits for the
watch, for a moment and only then; nobody is asked.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from cachetools import TTLCache

from tidegate.kube.reflector import Reflector
from tidegate.kube.shapes import Namespace

_NONE: Mapping[str, str] = MappingProxyType({})
_MISSED = 1024
_MISSED_S = 5.0
"""A watch that does not tell costs a namespace's reviews one wait in so long."""


class Standalone:
    """No API server: no labels but the name, which the gate adds itself."""

    def knows(self, name: str) -> bool:
        """Whether there is nothing to wait for."""
        del name
        return True

    async def appear(self, name: str, *, until: float) -> None:
        """Nothing ever does."""

    def labels(self, name: str) -> Mapping[str, str]:
        """Always none."""
        del name
        return _NONE


class Watched:
    """Labels as the reflector has them; a namespace not seen yet has none."""

    def __init__(self, reflector: Reflector[Namespace]) -> None:
        self._reflector = reflector
        self._missed: TTLCache[str, None] = TTLCache(_MISSED, ttl=_MISSED_S)

    def knows(self, name: str) -> bool:
        """Also of what is in no namespace, and of what did not appear a moment ago."""
        return name in self._reflector.objects or not name or name in self._missed

    async def appear(self, name: str, *, until: float) -> None:
        """Wait until it is known, or the loop's time `until` has come."""
        revision = self._reflector.revision
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while name not in self._reflector.objects:
                    revision = await self._reflector.changed(revision)
        if name not in self._reflector.objects:
            self._missed[name] = None

    def labels(self, name: str) -> Mapping[str, str]:
        """Of the namespace with that name."""
        namespace = self._reflector.objects.get(name)
        return _NONE if namespace is None else namespace.metadata.labels
