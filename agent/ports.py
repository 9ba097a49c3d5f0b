"""What the agent needs of the world around it. The loop owns these; adapters and fakes follow."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from tidegate.cri import Download, ImageEvent
from tidegate.kube.own import NodePull, NodePullStatus
from tidegate.reference import Digest


class ImageStore(Protocol):
    """The node's container runtime. `tidegate.cri.CriImages` is one."""

    async def present(self, image: str) -> bool:
        """Whether pods that spell the image like this find it. Raises CriError."""

    async def pull(self, image: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the runtime is told this deadline
        """Pull it under exactly this name. Raises PullError; cancelling stops the runtime too."""


class Downloads(Protocol):
    """What comes in on the node, whoever asked for it. `tidegate.cri.Containerd` is one; so is the next."""

    async def downloads(self) -> Sequence[Download]:
        """All of it. Raises NotContainerd where the runtime does not tell, and CriError."""

    async def manifest(self, digest: Digest) -> bytes | None:
        """A manifest that is stored; None when it is not. Raises CriError."""


class RuntimeNews(Protocol):
    """What the runtime tells by itself."""

    def events(self) -> AsyncIterator[ImageEvent]:
        """Names of images that come and go, until the runtime itself goes. Raises NotContainerd, and CriError."""


class Disk(Protocol):
    """The file system that images lie on."""

    async def shortfall(self, need: int) -> str:
        """Why so many more bytes would be too many; empty when they are not, or when nobody knows."""


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
