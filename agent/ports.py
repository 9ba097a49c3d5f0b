"""What the agent needs of the world around it. The loop owns these; adapters and fakes follow."""

from typing import Protocol

from tidegate.kube.shapes import NodePull, NodePullStatus


class ImageStore(Protocol):
    """The node's container runtime. `tidegate.cri.CriImages` is one."""

    async def present(self, image: str) -> bool:
        """Whether pods that spell the image like this find it. Raises CriError."""

    async def pull(self, image: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the runtime is told this deadline
        """Pull it under exactly this name. Raises PullError; cancelling stops the runtime too."""


class PlanSource(Protocol):
    """Where the node's NodePull comes from. While the source cannot be reached, the last one known stays current."""

    def current(self) -> NodePull | None:
        """The plan now; None while there is none, or none is known yet."""

    async def changed(self, since: int) -> int:
        """Wait until something changed after revision `since`; the revision now."""

    async def node_uid(self) -> str:
        """UID of the Node as it is now; waits until it can be read."""


class StatusSink(Protocol):
    """Where the node's status goes."""

    async def write(self, status: NodePullStatus) -> None:
        """Replace the status that is there. Raises NotReported or PlanGone."""


class NotReported(Exception):
    """The status did not arrive; it may be sent again, after `retry_after_s` if that is told."""

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class PlanGone(Exception):
    """There is no NodePull to write to any more."""
