"""What people read about Pods that wait for nodes. Pure."""

from controller.holding.words import bounded, counted, seconds
from controller.warm.standing import Standing

_LONGEST_IMAGE = 256
_MOST_IMAGES = 2


def started(images: tuple[str, ...], standing: Standing) -> str:
    """Why a Pod waits."""
    return bounded(f"held until {standing.needed} of {_nodes(standing)} have {_named(images)}; {_have(standing)}")


def owner_waits(images: tuple[str, ...], standing: Standing) -> str:
    """Why a workload's new Pods do not start."""
    return bounded(
        f"new Pods are held until {standing.needed} of {_nodes(standing)} have {_named(images)}; {_have(standing)}"
    )


def ready(waited_s: float, standing: Standing) -> str:
    """`waited 43s: 3 of 3 nodes have it`."""
    return f"waited {seconds(waited_s)}: {len(standing.warm)} of {_nodes(standing)} have it"


def expired(waited_s: float, standing: Standing) -> str:
    """Released though not warm."""
    have = f"{len(standing.warm)} of {_nodes(standing)} have it, not {standing.needed}"
    return f"released after {seconds(waited_s)}: {have}, and the time to wait is over"


def impossible(waited_s: float, standing: Standing) -> str:
    """Released as waiting is of no use."""
    return f"released after {seconds(waited_s)}: {standing.why}"


def lifted(waited_s: float, why: str) -> str:
    """Released as nobody wants it to wait any more."""
    return f"released after {seconds(waited_s)}: {why}"


NOT_ON_TEMPLATE = (
    'tidegate.dev/pre-pull: "hold" on the workload itself asks for its images, and holds no Pod: '
    "put it on the pod template for that"
)


def _nodes(standing: Standing) -> str:
    return counted(standing.nodes, "node")


def _have(standing: Standing) -> str:
    number = len(standing.warm)
    return f"{number or 'none'} {'has' if number == 1 else 'have'} it"


def _named(images: tuple[str, ...]) -> str:
    shown = " and ".join(image[:_LONGEST_IMAGE] for image in images[:_MOST_IMAGES])
    return shown if len(images) <= _MOST_IMAGES else f"{shown} and {len(images) - _MOST_IMAGES} more"
