"""Whose pull secrets are for a pull: those of the workloads that asked for this image on this node. Reads copies only.

A PrePull that tidegate keeps stands for its workload: the pull secrets of the workload's template count, else those of
its ServiceAccount. One that somebody wrote has no workload: there those of the namespace's `default` ServiceAccount do.
A secret never comes to a node where none of its owner's Pods could run, nor for an image that only others asked for.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import islice

import msgspec

from controller.derive import controller_of, is_derived
from controller.mirror import Mirror
from controller.placement import Demands, facts, fits, of_workload
from tidegate.config import Config
from tidegate.config.registries import RegistryConfig
from tidegate.kube.own import PrePull
from tidegate.kube.resources import Resource
from tidegate.kube.shapes import Workload
from tidegate.pull_secrets import Wearer, wearer_of
from tidegate.reference import ImageReference, InvalidReference
from tidegate.registry.auth.credentials import UserPassword
from tidegate.registry.auth.tenants import Tenant, asker_of, pull_secrets_entries
from tidegate.workload import MalformedObject, placement, view

MOST = 3
"""Credentials of one answer: an agent tries no more under a grant."""
_DEFAULT_ACCOUNT = "default"


class Owners:
    """`config` is the one in force, `tenant` makes one of a wearer."""

    def __init__(self, copies: Mirror, *, tenant: Callable[[Wearer], Tenant], config: Callable[[], Config]) -> None:
        self._copies = copies
        self._tenant = tenant
        self._config = config

    def credentials(self, node: str, image: str) -> tuple[UserPassword, ...]:
        """Those for an image that the node may pull, best first, each once."""
        found_in = self._registry(image)
        if found_in is None:
            return ()
        reference, registry = found_in
        entries = pull_secrets_entries(registry.auth)
        found: dict[tuple[str, str], UserPassword] = {}
        for wearer in self._wearers(node, image, registry.pull_secret_namespaces):
            for credential in asker_of(self._tenant(wearer), entries, reference.name).credentials:
                who = UserPassword(credential.username or "", credential.password or "")
                found.setdefault((who.username, who.password), who)
        return tuple(found.values())[:MOST]

    def tenants(self, image: str) -> tuple[Tenant, ...]:
        """Everybody who asked for an image and has pull secrets, on whichever node; the first few."""
        found_in = self._registry(image)
        if found_in is None:
            return ()
        namespaces = found_in[1].pull_secret_namespaces
        asks = (self._asks(prepull) for prepull in self._prepulls(image, namespaces))
        tenants = (self._tenant(ask[1]) for ask in asks if ask is not None)
        return tuple(islice(dict.fromkeys(tenant for tenant in tenants if tenant.secrets), MOST))

    def _registry(self, image: str) -> tuple[ImageReference, RegistryConfig] | None:
        try:
            reference = ImageReference.parse(image)
        except InvalidReference:
            return None
        registry = next((one for one in self._config().registries if one.host == reference.domain), None)
        return None if registry is None else (reference, registry)

    def _prepulls(self, image: str, namespaces: Collection[str]) -> Iterator[PrePull]:
        for _, prepull in sorted(self._copies.prepulls.objects.items()):
            if prepull.metadata.namespace in namespaces and image in prepull.spec.images:
                yield prepull

    def _wearers(self, node_name: str, image: str, namespaces: Collection[str]) -> Iterator[Wearer]:
        node = self._copies.nodes.objects.get(node_name)
        if node is None:
            return
        here = facts(node)
        for prepull in self._prepulls(image, namespaces):
            asks = self._asks(prepull)
            if asks is not None and fits(asks[0], here):
                yield asks[1]

    def _asks(self, prepull: PrePull) -> tuple[Demands, Wearer] | None:
        """What it asks of a node, and whose secrets count."""
        spec, namespace = prepull.spec, prepull.metadata.namespace
        if not is_derived(prepull):
            demands = Demands(node_selector=spec.node_selector, tolerations=tuple(spec.tolerations))
            return demands, Wearer(namespace, account=_DEFAULT_ACCOUNT)
        owner = controller_of(prepull)
        for resource, reflector in self._copies.workloads.items():
            workload = reflector.objects.get(f"{namespace}/{owner.name}") if owner is not None else None
            if owner is not None and resource.kind == owner.kind and workload is not None:
                return _of_workload(resource, workload) if workload.metadata.uid == owner.uid else None
        return None


def _of_workload(resource: Resource[Workload], workload: Workload) -> tuple[Demands, Wearer] | None:
    raw = msgspec.json.encode(workload)
    try:
        seen, found = view(resource.group, resource.kind, raw), placement(resource.group, resource.kind, raw)
        if seen is None or found is None:
            return None
        return of_workload(found), wearer_of(seen, workload.metadata.namespace)
    except (MalformedObject, ValueError):  # the API server's business; here it has no secrets
        return None
