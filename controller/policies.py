"""Keeps the generated ValidatingAdmissionPolicies and their bindings in the API server as the configuration has them.

Guarantees: written when something differs, and only then; what somebody changed by hand is put right within a minute;
what carries our label and follows from nothing any more is deleted; nothing else is touched.
"""

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Never

import structlog

from controller.keeping import kept
from tidegate.admission import MANAGED_BY
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound
from tidegate.kube.patch import difference, filled
from tidegate.kube.resources import ADMISSION_BINDINGS, ADMISSION_POLICIES, Resource
from tidegate.kube.shapes import AdmissionObject

log = structlog.get_logger()

_LOOK_S = 60.0
_RESOURCES = (ADMISSION_POLICIES, ADMISSION_BINDINGS)
_OURS = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())


class Policies:
    """`wanted`: what `tidegate.admission.policies` gives."""

    def __init__(self, client: KubeClient, wanted: Sequence[Mapping[str, Any]], *, chance: random.Random) -> None:
        self._client = client
        self._wanted = wanted
        self._chance = chance

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "keep admission policies": partial(
                kept, self.keep, what="admission policies", look_s=_LOOK_S, chance=self._chance
            )
        }

    async def keep(self) -> None:
        """Create, put right and delete. Raises KubeError."""
        wanted = self._wanted
        for resource in _RESOURCES:
            there = {one.metadata.name: one for one in (await self._client.list(resource, label_selector=_OURS)).items}
            for document in wanted:
                if document["kind"] == resource.kind:
                    await self._write(resource, document, there.pop(document["metadata"]["name"], None))
            for name in there:
                with suppress(NotFound):
                    await self._client.delete(resource, name)
                log.info("policy.deleted", kind=resource.kind, name=name)

    async def _write(
        self, resource: Resource[AdmissionObject], document: Mapping[str, Any], there: AdmissionObject | None
    ) -> None:
        name = document["metadata"]["name"]
        if there is None:
            try:
                await self._client.create(resource, document)
            except AlreadyExists:  # without our label: somebody took it off
                there = await self._client.get(resource, name)
            else:
                log.info("policy.created", kind=resource.kind, name=name)
                return
        labels, spec = document["metadata"]["labels"], document["spec"]
        if labels.items() <= there.metadata.labels.items() and filled(there.spec) == filled(spec):
            return
        patch = {"metadata": {"labels": labels}, "spec": difference(there.spec, spec)}
        with suppress(Conflict, NotFound):  # somebody else was faster; we look again
            await self._client.merge_patch(resource, name, patch, resource_version=there.metadata.resource_version)
            log.info("policy.written", kind=resource.kind, name=name)
