"""The platforms that images are for: those of the cluster's nodes, where the configuration names none.

They are read from the labels that kubelets set (`kubernetes.io/os`, `kubernetes.io/arch`), which say no variant. What
was seen once stays for as long as the process lives: that the last node of a platform went is no reason to forget all
that is known of replicas, as an autoscaler brings it back.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from tidegate.config import Config
from tidegate.kube.shapes import Metadata

OS_LABEL = "kubernetes.io/os"
ARCHITECTURE_LABEL = "kubernetes.io/arch"
MOST = 8
"""Beyond that a cluster has mistakes in its labels."""


class HasLabels(Protocol):
    """A node, as far as it is looked at."""

    @property
    def metadata(self) -> Metadata: ...


class ObservedNodes(Protocol):
    """A local copy of nodes."""

    @property
    def objects(self) -> Mapping[str, HasLabels]: ...

    def subscribe(self, on_change: Callable[[str, HasLabels | None, HasLabels | None], None]) -> Callable[[], None]: ...


class ClusterPlatforms:
    """Until `follow` is called, and while no node says anything, a configuration stays as it is."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def follow(self, nodes: ObservedNodes) -> None:
        """Take in what is there and what comes."""
        for node in nodes.objects.values():
            self._take("", None, node)
        nodes.subscribe(self._take)

    def __call__(self, config: Config) -> Config:
        """The configuration with the platforms that count."""
        if "platforms" in config.cluster.model_fields_set or not self._seen:
            return config
        cluster = config.cluster.model_copy(update={"platforms": sorted(self._seen)})
        return config.model_copy(update={"cluster": cluster})

    def _take(self, _: str, _old: HasLabels | None, new: HasLabels | None) -> None:
        labels = new.metadata.labels if new is not None else {}
        platform = labels.get(OS_LABEL, ""), labels.get(ARCHITECTURE_LABEL, "")
        if all(part.isascii() and part.isalnum() for part in platform) and len(self._seen) < MOST:
            self._seen.add("/".join(platform))
