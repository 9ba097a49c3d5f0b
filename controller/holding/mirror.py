"""The local copies of what holding looks at."""

from collections.abc import Iterator
from typing import Any

from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES, NAMESPACES, PODS, REPLICASETS

UNSCHEDULED = "spec.nodeName="
"""No field selector knows gates; this one leaves out all that runs, so the copy is small."""


class HoldMirror:
    """One reflector for each collection; somebody has to run them all."""

    def __init__(self, client: KubeClient) -> None:
        self.pods = Reflector(client, PODS, field_selector=UNSCHEDULED)
        self.namespaces = Reflector(client, NAMESPACES)
        self.replicasets = Reflector(client, REPLICASETS)
        self.availabilities = Reflector(client, IMAGEAVAILABILITIES)

    def reflectors(self) -> Iterator[tuple[str, Reflector[Any]]]:
        """All, each with its name."""
        yield "pods", self.pods
        yield "namespaces", self.namespaces
        yield "replicasets", self.replicasets
        yield "imageavailabilities", self.availabilities

    async def synced(self) -> None:
        """Wait for what releasing needs; a CRD that is not there keeps no Pod held."""
        await self.pods.synced.wait()
        await self.namespaces.synced.wait()
        await self.replicasets.synced.wait()
