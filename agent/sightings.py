"""What one look at the runtime makes of an image's status: it is there, it never was, or it was and is gone."""

import msgspec
import structlog

from agent.collected import MOST, Losses
from agent.plan import registry_of
from tidegate.kube.own import NodeImage, NodeImageStatus, Phase, Reason
from tidegate.metrics import Metrics

log = structlog.get_logger()

_GONE = "it was here, and is gone: images that nothing uses are collected first"
_GIVEN_UP = f"collected {MOST} times within a day: kubelet needs its room; nothing is pulled until a day has passed"


class Sightings:
    """Remembers what was lost, so that no image is pulled again for ever."""

    def __init__(self, *, metrics: Metrics) -> None:
        self._metrics = metrics
        self._losses = Losses()

    def keep(self, wanted: set[str]) -> None:
        """Forget all other images."""
        self._losses.keep(wanted)

    def inherit(self, statuses: dict[str, NodeImageStatus], now: float) -> None:
        """Take over what an agent before this one had given up."""
        for image, status in statuses.items():
            if status.reason is Reason.COLLECTED:
                self._losses.give_up(image, now)

    def seen(self, entry: NodeImage, known: NodeImageStatus | None, now: float, *, found: bool) -> NodeImageStatus:
        """The status after a look."""
        known = known or NodeImageStatus(image=entry.image)
        if found:
            return _present(entry, known)
        if known.phase is Phase.PRESENT:
            return self._lost(entry, known, now)
        if known.reason is Reason.COLLECTED and not self._losses.given_up(entry.image, now):
            return msgspec.structs.replace(known, phase=Phase.PENDING, reason=Reason.NONE, message=_GONE)
        return known

    def given_up(self, image: str, now: float) -> str:
        """Why it is not to be pulled, or empty."""
        return _GIVEN_UP if self._losses.given_up(image, now) else ""

    def _lost(self, entry: NodeImage, known: NodeImageStatus, now: float) -> NodeImageStatus:
        self._losses.lost(entry.image, now)
        self._metrics.pulls.labels(registry_of(entry.image) or "", "collected").inc()
        over = self.given_up(entry.image, now)
        log.warning("image.collected", image=entry.image[:300], times=known.collected + 1, given_up=bool(over))
        return NodeImageStatus(
            image=entry.image,
            phase=Phase.SKIPPED if over else Phase.PENDING,
            reason=Reason.COLLECTED if over else Reason.NONE,
            message=over or _GONE,
            grant=known.grant,
            attempts=known.attempts,
            collected=known.collected + 1,
        )


def _present(entry: NodeImage, known: NodeImageStatus) -> NodeImageStatus:
    grant = entry.grant.id if entry.grant is not None else known.grant
    if known.phase is Phase.PRESENT:
        return msgspec.structs.replace(known, grant=grant)
    return NodeImageStatus(
        image=entry.image, phase=Phase.PRESENT, grant=grant, attempts=known.attempts, collected=known.collected
    )
