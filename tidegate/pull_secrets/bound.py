"""A client for reflectors of pull secrets that lets only so many bytes of them into memory.

Who may write Secrets in a listed namespace may write thousands of a megabyte each: that must not end the webhook for
all others. What does not fit is kept without its data, and so counts as not readable.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from tidegate.kube.client import KubeClient, Listed
from tidegate.kube.resources import Resource, key
from tidegate.kube.watching import EventType, WatchEvent, Watching
from tidegate.pull_secrets.shapes import PullSecretObject

MOST_SECRET = 64 << 10
"""Of one docker config, decoded; one for a few registries has less than a kilobyte."""
MOST_NAMESPACE = 4 << 20
"""Of all of a type in one namespace, in base64."""


class Bounded:
    """One for each reflector (`tidegate.kube.reflector.Source`)."""

    def __init__(self, client: KubeClient, *, most: int = MOST_NAMESPACE) -> None:
        self._client = client
        self._most = most
        self._sizes: dict[str, int] = {}
        self._total = 0

    async def list(
        self, resource: Resource[PullSecretObject], *, namespace: str, label_selector: str, field_selector: str
    ) -> Listed[PullSecretObject]:
        """A snapshot; what was kept before no longer counts."""
        listed = await self._client.list(
            resource, namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        self._sizes.clear()
        self._total = 0
        return replace(listed, items=[self._kept(item) for item in listed.items])

    async def watch(
        self,
        resource: Resource[PullSecretObject],
        *,
        resource_version: str,
        namespace: str,
        label_selector: str,
        field_selector: str,
        watching: Watching,
    ) -> AsyncGenerator[WatchEvent[PullSecretObject], None]:
        """Changes, each within the bounds."""
        stream = self._client.watch(
            resource, resource_version=resource_version, namespace=namespace, label_selector=label_selector,
            field_selector=field_selector, watching=watching,
        )  # fmt: skip
        async with aclosing(stream) as stream:
            async for event in stream:
                if event.object is None:
                    yield event
                    continue
                self._forget(key(event.object.metadata))
                gone = event.type is EventType.DELETED
                yield replace(event, object=event.object.slim(most=0) if gone else self._kept(event.object))

    def _forget(self, name: str) -> None:
        self._total -= self._sizes.pop(name, 0)

    def _kept(self, secret: PullSecretObject) -> PullSecretObject:
        slim = secret.slim(most=min(_base64(MOST_SECRET), self._most - self._total))
        size = len(slim.config)
        self._sizes[key(slim.metadata)] = size
        self._total += size
        return slim


def _base64(size: int) -> int:
    return (size + 2) // 3 * 4
