"""Keeps the webhook configurations that somebody armed in step with the configuration file.

Which namespaces count as enforcing before they are labelled depends on `policy.mode`. Guarantees: only selectors and
rules of configurations that are there are written, and only when they differ; whom to call, which CA to believe and
what to do when nobody answers stays as it is; nothing is ever made or armed here.
"""

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Never

import structlog

from controller.keeping import kept
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import Conflict, NotFound
from tidegate.kube.patch import filled
from tidegate.kube.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS

log = structlog.get_logger()

_LOOK_S = 60.0
_FOLLOWS = ("namespaceSelector", "rules")


class Webhooks:
    """`wanted`: what `tidegate.admission.webhook_configurations` gives."""

    def __init__(self, client: KubeClient, wanted: Sequence[Mapping[str, Any]], *, chance: random.Random) -> None:
        self._client = client
        self._wanted = wanted
        self._chance = chance

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "keep webhook configurations": partial(
                kept, self.keep, what="webhook configurations", look_s=_LOOK_S, chance=self._chance
            )
        }

    async def keep(self) -> None:
        """Put right what is there. Raises KubeError."""
        for document in self._wanted:
            name = document["metadata"]["name"]
            resource = next(one for one in (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS) if one.kind == document["kind"])
            with suppress(NotFound, Conflict):  # not armed; or somebody else was faster, and we look again
                there = await self._client.get(resource, name)
                webhooks = followed(there.webhooks, document["webhooks"])
                if filled(webhooks) != filled(there.webhooks):
                    version = there.metadata.resource_version
                    await self._client.merge_patch(resource, name, {"webhooks": webhooks}, resource_version=version)
                    log.info("webhooks.written", kind=resource.kind, name=name)


def followed(there: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that are there, each with selector and rules of the wanted one of its name; others as they are."""
    by_name = {hook["name"]: hook for hook in wanted}
    return [
        {**hook, **{field: by_name[hook["name"]][field] for field in _FOLLOWS if hook["name"] in by_name}}
        for hook in there
    ]
