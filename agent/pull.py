"""One pull under one grant: cut off in time, told apart, counted, and logged in one line."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog

from agent.observed import Observed, Patience, Stop
from agent.plan import MOST_SECONDS
from agent.ports import Downloads, ImageStore
from tidegate.cri import CriError, PullError
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, Phase, Reason
from tidegate.kube.times import milli_time
from tidegate.metrics import Metrics

log = structlog.get_logger()

_GRACE_S = 1.0
"""The runtime's own deadline comes this much later than ours, which is the one that counts."""

_PATIENCE = Patience()

_LET_GO_S = 5.0
"""For the runtime to hear that a pull was stopped."""

_POLITE = 2
"""How often one image's pull gives way to kubelet; then it goes on to its end."""

_WORTH_SAYING_S = 60.0
"""A pull that is over sooner has no progress worth a write: its grant, its beginning and its end are three."""

_RESULTS = {
    Reason.NONE: "clean",
    Reason.THROTTLED: "throttled",
    Reason.UNAUTHORIZED: "unauthorized",
    Reason.NOT_FOUND: "not-found",
    Reason.NO_SPACE: "no-space",
    Reason.CANCELED: "canceled",
    Reason.STALLED: "stalled",
    Reason.OTHER: "other",
}


@dataclass(slots=True)
class Job:
    """A pull that runs. `why` is set before its task is cancelled, by whoever does."""

    image: NodeImage
    grant: Grant
    registry: str
    progressed: Callable[[int], None]
    """Called at most once, with the bytes so far."""
    task: asyncio.Task[NodeImageStatus] | None = None
    observed: Observed | None = None
    why: str = ""

    def cancel(self, why: str) -> None:
        """Stop it; its status will say why."""
        if not self.why and self.task is not None:
            self.why = why
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pull ended; `reason` is empty when the image is there."""

    reason: Reason = Reason.NONE
    message: str = ""


class Pulls:
    """Runs jobs against a store, and looks how they come along."""

    def __init__(
        self,
        store: ImageStore,
        downloads: Downloads,
        *,
        metrics: Metrics,
        wall: Callable[[], datetime],
        patience: Patience = _PATIENCE,
    ) -> None:
        self._store = store
        self._downloads = downloads
        self._patience = patience
        self._gave_way: Counter[str] = Counter()
        self._metrics = metrics
        self._wall = wall

    def started(self, job: Job, before: NodeImageStatus | None) -> NodeImageStatus:
        """The status of a pull that begins."""
        return NodeImageStatus(
            image=job.image.image,
            phase=Phase.PULLING,
            grant=job.grant.id,
            attempts=(before.attempts if before is not None else 0) + 1,
            collected=before.collected if before is not None else 0,
            started_at=milli_time(self._wall()),
        )

    async def run(self, job: Job, status: NodeImageStatus) -> NodeImageStatus:
        """Pull, and return the status of the pull that has ended."""
        clock = asyncio.get_running_loop().time
        began = clock()
        outcome = await self._pull(job)
        seconds = clock() - began
        self._count(job, outcome, seconds)
        log.info(
            "pull.ended", image=job.image.image, registry=job.registry, grant=job.grant.id, attempt=status.attempts,
            result=_RESULTS[outcome.reason], seconds=round(seconds, 3), bytes=job.image.bytes, message=outcome.message,
        )  # fmt: skip
        return msgspec.structs.replace(
            status,
            phase=Phase.FAILED if outcome.reason else Phase.PRESENT,
            reason=outcome.reason,
            message=outcome.message,
            bytes=_received(job) if outcome.reason else job.image.bytes,
            finished_at=milli_time(self._wall()),
            throttled=outcome.reason is Reason.THROTTLED,
        )

    async def _pull(self, job: Job) -> Outcome:
        seconds = min(job.grant.seconds, MOST_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                stop = await self._until_done(job, timeout=seconds + _GRACE_S)
            return Outcome(stop.reason, stop.message) if stop is not None else await self._verified(job.image.image)
        except TimeoutError:
            return Outcome(Reason.CANCELED, f"not done within the {seconds:g} s of its grant")
        except asyncio.CancelledError:
            if not job.why:
                raise
            return Outcome(Reason.CANCELED, job.why)
        except PullError as exc:
            return Outcome(exc.reason, exc.message)

    async def _until_done(self, job: Job, *, timeout: float) -> Stop | None:  # noqa: ASYNC109 - the runtime is told this deadline
        """Pull, and look now and then; why it was stopped, if it was. Raises PullError."""
        clock, image = asyncio.get_running_loop().time, job.image.image
        began = clock()
        polite = self._gave_way[image] < _POLITE
        observed = Observed(image, self._downloads, patience=self._patience, began=began, polite=polite)
        job.observed = observed
        pull = asyncio.create_task(self._store.pull(image, timeout=timeout), name=f"CRI pull {image}")
        told = False
        try:
            while not (await asyncio.wait([pull], timeout=self._patience.look_s))[0]:
                stop = await observed.look(clock)
                if stop is not None and not pull.done():
                    self._gave_way[image] += stop.reason is Reason.CANCELED
                    return stop
                if not told and _is_worth_saying(job, observed.received, clock() - began):
                    told = True
                    job.progressed(observed.received)
            pull.result()
            del self._gave_way[image]
            return None
        finally:
            if not pull.done():
                pull.cancel()
                await asyncio.wait([pull], timeout=_LET_GO_S)

    async def _verified(self, image: str) -> Outcome:
        """What was pulled must be found under the name that pods use."""
        try:
            found = await self._store.present(image)
        except CriError:
            return Outcome()  # the runtime said that it has it; the next look will tell
        return Outcome() if found else Outcome(Reason.OTHER, "pulled, but the runtime does not know it by this name")

    def _count(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Durations and bytes; results and throttles are the controller's to count, which is told of all."""
        if not outcome.reason:
            self._metrics.pull_duration.labels(job.registry).observe(seconds)
            self._metrics.pull_bytes.labels(job.registry).inc(job.image.bytes)


def _received(job: Job) -> int:
    return job.observed.received if job.observed is not None else 0


def _is_worth_saying(job: Job, received: int, seconds: float) -> bool:
    """Whether now is the moment for the one report on the way: it is long, and half of it is here."""
    return seconds >= _WORTH_SAYING_S and (not job.image.bytes or received * 2 >= job.image.bytes)


def canceled(status: NodeImageStatus, why: str, *, at: str) -> NodeImageStatus:
    """The status of a pull that was stopped before it had begun."""
    return msgspec.structs.replace(
        status, phase=Phase.FAILED, reason=Reason.CANCELED, message=why or "stopped", finished_at=at
    )
