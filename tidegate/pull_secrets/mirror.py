"""The pull secrets of all namespaces that are listed now. Tenants are made of what is here: nobody is asked.

What is not here yet counts as not there, as kubelet passes over what it cannot get.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Never

import structlog
from cachetools import LRUCache

from tidegate.kube.client import KubeClient
from tidegate.pull_secrets.watch import NamespaceWatch
from tidegate.pull_secrets.wearer import Wearer
from tidegate.registry.auth.tenants import NOBODY, Tenant, tenant_of

log = structlog.get_logger()

_LOOK_S = 1.0
_TENANTS = 1024
_SYNC_S = 5.0


class PullSecrets:
    """Run it: it follows the namespaces that are wanted, until it is cancelled."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._watches: dict[str, tuple[NamespaceWatch, asyncio.Task[None]]] = {}
        self._tenants: LRUCache[Wearer, tuple[int, Tenant]] = LRUCache(_TENANTS)
        self._looked = asyncio.Event()

    def tenant(self, wearer: Wearer) -> Tenant:
        """Who an object is, with the secrets as they are now; NOBODY in a namespace that is not followed."""
        if wearer.namespace not in self._watches:
            return NOBODY
        watch, _ = self._watches[wearer.namespace]
        known = self._tenants.get(wearer)
        if known is not None and known[0] == watch.revision:
            return known[1]
        tenant = tenant_of(wearer.namespace, watch.secrets(wearer))
        self._tenants[wearer] = (watch.revision, tenant)
        return tenant

    async def run(self, wanted: Callable[[], Collection[str]]) -> Never:
        """`wanted` names the namespaces, now and after every change of the configuration."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = frozenset(wanted())
                for name in [name for name in self._watches if name not in now]:
                    _, task = self._watches.pop(name)
                    task.cancel()
                    self._tenants.clear()
                for name in sorted(now - self._watches.keys()):
                    watch = NamespaceWatch(self._client, name)
                    self._watches[name] = watch, tasks.create_task(watch.run(), name=f"watch pull secrets of {name}")
                self._looked.set()
                await asyncio.sleep(_LOOK_S)

    async def synced(self) -> None:
        """Wait for what is there at the start; five seconds at most, as one namespace may be refused to us."""
        try:
            async with asyncio.timeout(_SYNC_S):
                await self._looked.wait()
                for watch, _ in tuple(self._watches.values()):
                    await watch.synced()
        except TimeoutError:
            log.warning("pull_secrets.not_synced", namespaces=sorted(self._watches))
