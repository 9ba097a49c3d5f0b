"""The taints that keep Pods from a node until it is let go. Whoever makes the node sets one, never tidegate. Pure."""

from collections.abc import Iterable

from tidegate.kube.own import GROUP
from tidegate.kube.shapes import Taint

STARTUP_TAINT = f"{GROUP}/not-ready"
AUTOSCALERS_TAINT = "startup-taint.cluster-autoscaler.kubernetes.io/tidegate-not-ready"
"""The same under the prefix by which Cluster Autoscaler knows that a taint will leave."""
KEYS = frozenset({STARTUP_TAINT, AUTOSCALERS_TAINT})


def ours(taints: Iterable[Taint]) -> list[str]:
    """Keys of those that are ours to take off, whatever their effect and value."""
    return sorted({taint.key for taint in taints} & KEYS)
