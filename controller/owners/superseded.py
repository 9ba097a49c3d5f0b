"""Pods that wait at a gate while their StatefulSet's template is changed: nothing else would replace them."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from controller.holding.reports import Reports
from controller.owners.mirror import OwnerMirror
from controller.owners.states import is_superseded
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import NotFound
from tidegate.kube.resources import PODS, STATEFULSETS
from tidegate.kube.shapes import ObjectReference, OwnerReference, Workload

_SAID = ("updateRevision", "observedGeneration")
"""Of a StatefulSet's status: what decides, and changes with every change of its spec that matters."""


class Gated(Protocol):
    """A Pod at one of our gates, as it was at `resource_version`."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def owner(self) -> OwnerReference | None: ...
    @property
    def reference(self) -> ObjectReference: ...


class Superseded:
    """Deletes them."""

    def __init__(self, client: KubeClient, *, owners: OwnerMirror, reports: Reports) -> None:
        self._client = client
        self._owners = owners
        self._reports = reports

    def subscribe(self, moved: Callable[[str], None]) -> None:
        """`moved` is called with the UID of a StatefulSet whose Pods may be superseded now."""

        def told(_: str, old: Workload | None, new: Workload | None) -> None:
            if new is not None and (old is None or any(old.status.get(k) != new.status.get(k) for k in _SAID)):
                moved(new.metadata.uid)

        self._owners.statefulsets.subscribe(told)

    async def deleted(self, pod: Gated) -> bool:
        """Delete the Pod if it is superseded, and only the very version that was looked at. Raises KubeError."""
        owner = pod.owner
        if owner is None or owner.kind != STATEFULSETS.kind:
            return False
        found = self._owners.find(owner, pod.namespace)
        if not isinstance(found, Workload) or not is_superseded(pod.labels, pod.name, found):
            return False
        with suppress(NotFound):
            await self._client.delete(
                PODS, pod.name, namespace=pod.namespace, uid=pod.uid, resource_version=pod.resource_version
            )
            note = (
                f"deleted: StatefulSet {owner.name[:253]} has another template by now, and replaces no Pod that waits"
            )
            self._reports.tell(pod.reference, reason="HoldSuperseded", action="Delete", note=note)
        return True
