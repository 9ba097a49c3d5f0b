"""The local copies of what the controller looks at, kept current on stand-bys too: a new leader knows the cluster.

What the leader is told of changes is its own affair, and ends with its work: `told_while` takes back every
subscription that was made inside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from controller.holding.mirror import HoldMirror
from controller.images.mirror import ImageMirror
from controller.mirror import Mirror
from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.pull_secrets import PullSecrets


class Copies:
    """A mirror for each part that needs one; somebody has to run all their reflectors."""

    def __init__(self, client: KubeClient) -> None:
        self.pulls = Mirror(client)
        self.holds = HoldMirror(client)
        self.images = ImageMirror(client)
        self.pull_secrets = PullSecrets(client)
        """Followed on its own: what is not there yet is passed over, and nobody waits for it."""

    def reflectors(self) -> Iterator[tuple[str, Reflector[Any]]]:
        """All, each with its name."""
        for mirror in (self.pulls, self.holds, self.images):
            yield from mirror.reflectors()

    async def synced(self) -> None:
        """Wait until there is all that pulls and held Pods need; they do not wait for all the Pods on nodes."""
        for mirror in (self.pulls, self.holds):
            await mirror.synced()

    @contextmanager
    def told_while(self) -> Iterator[None]:
        """Whoever subscribes meanwhile is told of changes until the end of this, and no longer."""
        before = [(reflector, reflector.subscribers()) for _, reflector in self.reflectors()]
        try:
            yield
        finally:
            for reflector, subscribers in before:
                reflector.keep(subscribers)
