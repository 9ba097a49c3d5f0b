"""The double under the suite that also runs on kube-apiserver, and what only the double can do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tidegate.kube.client import KubeClient
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.apiserver_conformance import ObjectsConformance
from tidegate.testing.apiserver_conformance_lists import ListsConformance, WatchesConformance


@dataclass(frozen=True, slots=True)
class Double:
    client: KubeClient
    api: ApiServerDouble

    async def forget(self) -> None:
        self.api.compact()


@pytest.fixture
async def server() -> AsyncIterator[Double]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        yield Double(client, api)


class TestObjects(ObjectsConformance):
    pass


class TestLists(ListsConformance):
    pass


class TestWatches(WatchesConformance):
    pass
