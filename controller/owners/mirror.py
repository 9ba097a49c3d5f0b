"""The local copies of what owns Pods."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import DAEMONSETS, DEPLOYMENTS, JOBS, REPLICASETS, STATEFULSETS, Resource
from tidegate.kube.shapes import ObjectReference, OwnerReference, ReplicaSet, Workload

OWNING = (REPLICASETS, STATEFULSETS, DAEMONSETS, JOBS)
"""What makes Pods, and backs off when it is refused one."""
_KINDS: Mapping[str, Resource[Any]] = {one.kind: one for one in (*OWNING, DEPLOYMENTS)}
_HIGHEST = 3
"""A Pod's owner, its owner, and one more: nothing built in goes further."""


class OwnerMirror:
    """Looks owners up. `workloads` and `replicasets` are run by whoever made them."""

    def __init__(
        self, replicasets: Reflector[ReplicaSet], workloads: Mapping[Resource[Workload], Reflector[Workload]]
    ) -> None:
        self._reflectors: dict[str, Reflector[Any]] = {
            one.kind: reflector for one, reflector in workloads.items() if one.kind in _KINDS
        }
        self._reflectors[REPLICASETS.kind] = replicasets

    @property
    def statefulsets(self) -> Reflector[Workload]:
        """Those whose Pods wait for one another."""
        return self._reflectors[STATEFULSETS.kind]

    def owning(self) -> Iterator[tuple[Resource[Any], Reflector[Any]]]:
        """The collections of what makes Pods."""
        for one in OWNING:
            if (reflector := self._reflectors.get(one.kind)) is not None:
                yield one, reflector

    def find(self, reference: OwnerReference, namespace: str) -> ReplicaSet | Workload | None:
        """The object, if it is still that very one."""
        reflector = self._reflectors.get(reference.kind)
        found = None if reflector is None else reflector.objects.get(f"{namespace}/{reference.name}")
        return found if found is not None and found.metadata.uid == reference.uid else None

    def job(self, reference: OwnerReference | None, namespace: str) -> Workload | None:
        """The Job that is meant, if it is one and is known."""
        if reference is None or reference.kind != JOBS.kind:
            return None
        found = self.find(reference, namespace)
        return found if isinstance(found, Workload) else None

    def top(self, reference: OwnerReference, namespace: str) -> ObjectReference:
        """Who is looked at by people: a Deployment, not its ReplicaSet. What is not known speaks for itself."""
        for _ in range(_HIGHEST):
            found = self.find(reference, namespace)
            above = next((one for one in found.metadata.owner_references if one.controller), None) if found else None
            if above is None:
                break
            reference = above
        return ObjectReference(
            api_version=reference.api_version, kind=reference.kind, namespace=namespace, name=reference.name,
            uid=reference.uid,
        )  # fmt: skip
