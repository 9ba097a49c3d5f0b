"""The local copy that only the images in use need: the Pods on nodes."""

from collections.abc import Iterator
from typing import Any

from controller.images.pods import PLACED, PLACED_PODS
from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector


class ImageMirror:
    """One reflector for each collection; somebody has to run them all."""

    def __init__(self, client: KubeClient) -> None:
        self.placed = Reflector(client, PLACED_PODS, field_selector=PLACED)

    def reflectors(self) -> Iterator[tuple[str, Reflector[Any]]]:
        """All, each with its name."""
        yield "placed pods", self.placed

    async def synced(self) -> None:
        """Wait until it is whole."""
        await self.placed.synced.wait()
