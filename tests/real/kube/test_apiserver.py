"""kube-apiserver under the suite that also runs on the double: this is the double's licence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.errors import Unavailable
from tidegate.kube.resources import NODEPULLS
from tidegate.kube.watching import Watching
from tidegate.testing.apiserver_conformance import ObjectsConformance
from tidegate.testing.apiserver_conformance_lists import ListsConformance, WatchesConformance

pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True)
class Real:
    client: KubeClient
    processes: Any

    async def forget(self) -> None:
        """etcd forgets; the watch cache and its snapshots only when the server starts again."""
        self.processes.compact()
        await asyncio.to_thread(self.processes.kill_server)
        await asyncio.to_thread(self.processes.start)
        async with asyncio.timeout(20):
            while not await self._watches():  # noqa: ASYNC110  another process
                await asyncio.sleep(0.1)

    async def _watches(self) -> bool:
        """Custom resources are watchable a moment after the server calls itself ready."""
        watch = self.client.watch(NODEPULLS, resource_version="", watching=Watching(server_s=1))
        async with aclosing(watch):
            try:
                await anext(watch)
            except Unavailable:
                return False
            return True


@pytest.fixture
async def server(api_server: Any) -> AsyncIterator[Real]:
    async with KubeClient(from_kubeconfig(api_server.kubeconfig)) as client:
        yield Real(client, api_server)


class TestObjects(ObjectsConformance):
    pass


class TestLists(ListsConformance):
    pass


class TestWatches(WatchesConformance):
    pass
