"""The Node's condition by which the Node Readiness Controller may decide about its own taint. Pure.

It becomes True once and stays so for as long as the Node lives: an image that is wanted later is no reason to take away
a node that works. False is said only of nodes that have not begun.
"""

from typing import Any

from controller.nodes.standing import Because
from tidegate.kube.own import GROUP
from tidegate.kube.shapes import Condition, Node

IMAGES_PRESENT = f"{GROUP}/ImagesPresent"


def of(node: Node) -> Condition | None:
    """What the Node says now."""
    return next((condition for condition in node.status.conditions if condition.type == IMAGES_PRESENT), None)


def said_of(node: Node, because: Because | None, note: str, *, now: str) -> dict[str, Any] | None:
    """The condition to write; None where there is nothing new to say."""
    status = "False" if because is None else "True"
    before = of(node)
    if before is not None and before.status in {"True", status}:
        return None
    return {
        "type": IMAGES_PRESENT,
        "status": status,
        "reason": because or "ImagesMissing",
        "message": note,
        "lastTransitionTime": now,
        "lastHeartbeatTime": now,
    }
