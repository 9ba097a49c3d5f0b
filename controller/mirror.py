"""The local copies of what the controller looks at."""

from collections.abc import Iterator
from typing import Any

from controller.derive import KINDS
from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NODEPULLS, NODES, PREPULLS


class Mirror:
    """One reflector for each collection; somebody has to run them all."""

    def __init__(self, client: KubeClient) -> None:
        self.nodes = Reflector(client, NODES)
        self.nodepulls = Reflector(client, NODEPULLS)
        self.prepulls = Reflector(client, PREPULLS)
        self.workloads = {resource: Reflector(client, resource) for resource in KINDS}

    def reflectors(self) -> Iterator[tuple[str, Reflector[Any]]]:
        """All, each with its name."""
        yield "nodes", self.nodes
        yield "nodepulls", self.nodepulls
        yield "prepulls", self.prepulls
        for resource, reflector in self.workloads.items():
            yield resource.plural, reflector

    async def synced(self) -> None:
        """Wait until every copy is whole."""
        for _, reflector in self.reflectors():
            await reflector.synced.wait()
