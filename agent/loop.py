"""The agent's loop: look at what is there, pull what is granted, say how it went.

- A pull needs a grant, starts before the grant expires, and ends when the grant's seconds have passed, when the grant
  is taken back or replaced, or when the agent is stopped.
- `at_once` pulls at most, oldest grant first. A failed pull is not tried again under the same grant, so a node that
  waits for its next grant holds none. A grant that cannot be used (its time is over by this node's clock, the runtime
  does not answer) is given back at once: others wait for its place.
- Nothing is reported of an image before the runtime was asked for it.
- A pull is not begun while somebody else pulls on this node, nor where its image has no room on the disk, nor of an
  image that the node's garbage collection has taken too often: such an image is Skipped, and looked at again.
- While the API server cannot be reached, what was granted goes on and the status is kept until it can be sent.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Never

import msgspec
import structlog

from agent.observed import Neighbours
from agent.plan import About, Queue, agrees, inherited, is_usable, registry_of, summary
from agent.ports import Disk, ImageStore, PlanSource
from agent.pull import Job, Pulls, canceled
from agent.report import Report, Reporter
from agent.room import need
from agent.sightings import Sightings
from tidegate.cri import CriError, registered
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, NodePull, Phase, Reason
from tidegate.kube.times import milli_time

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the agent behaves on its node."""

    at_once: int = 1
    """Images pulled at once. The runtime's download slots are shared with kubelet: two slow layers leave it one."""
    recheck_s: float = 60.0
    """Between two looks at everything: an image that kubelet collected or pulled by itself shows after this."""
    retry_s: float = 2.0
    """Until a runtime that does not answer is asked again."""
    wait_s: float = 1.0
    """Until it is seen again whether somebody else still pulls."""
    last_words_s: float = 3.0
    """For the last status, after the agent was told to stop."""


class Agent:
    """See the module. `nonce` tells this start of the agent from any other."""

    def __init__(
        self,
        *,
        plans: PlanSource,
        store: ImageStore,
        pulls: Pulls,
        neighbours: Neighbours,
        disk: Disk,
        sightings: Sightings,
        reporter: Reporter,
        listed: frozenset[str],
        nonce: str,
        wall: Callable[[], datetime],
        settings: Settings = Settings(),
    ) -> None:
        self._plans = plans
        self._store = store
        self._pulls = pulls
        self._neighbours = neighbours
        self._disk = disk
        self._sightings = sightings
        self._reporter = reporter
        self._listed = listed
        self._nonce = nonce
        self._wall = wall
        self._settings = settings
        self._queue = Queue()
        self._jobs: dict[str, Job] = {}
        self._statuses: dict[str, NodeImageStatus] = {}
        self._plan_uid = ""
        self._node_uid = ""
        self._asked_for = ""
        self._about = About()
        self._changed: set[str] = set()
        self._waits: set[str] = set()
        """Grants that wait for others' pulls to end."""
        self._all_seen = False
        self._recheck_at = 0.0
        self._wake = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping`; then cancel what is being pulled, say so, and return within a few seconds."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._wake_on_plans(), name="plans")
            working = tasks.create_task(self._work(tasks), name="work")
            reporting = tasks.create_task(self._reporter.run(), name="report")
            await stopping.wait()
            working.cancel()
            watching.cancel()
            await asyncio.wait([working])
            await self._stop_pulls()
            reporting.cancel()
        await self._reporter.flush(within_s=self._settings.last_words_s)

    def configure(self, *, listed: frozenset[str], at_once: int) -> None:
        """Go on like this: what is being pulled goes on as it was."""
        self._listed = listed
        self._settings = replace(self._settings, at_once=at_once)
        self._wake.set()

    @property
    def listed(self) -> frozenset[str]:
        """The registries that may be pulled from."""
        return self._listed

    def describe(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of About, which say their types
        """Say this of the node too, from the next report on."""
        self._about = replace(self._about, **changes)
        self._wake.set()

    def image_changed(self, name: str) -> None:
        """The runtime says that something happened to this name."""
        self._changed.add(name)
        self._wake.set()

    def runtime_is_back(self) -> None:
        """Nothing is known of what the runtime holds any more."""
        self._recheck_at = 0.0
        self._wake.set()

    async def _wake_on_plans(self) -> Never:
        revision = 0
        while True:
            revision = await self._plans.changed(revision)
            self._wake.set()

    async def _stop_pulls(self) -> None:
        running = [job.task for job in self._jobs.values() if job.task is not None]
        for job in list(self._jobs.values()):
            job.cancel("the agent was stopped")
        if running:
            await asyncio.wait(running, timeout=self._settings.last_words_s)
        plan = self._plans.current()
        if plan is not None:
            self._tell(plan)

    async def _work(self, tasks: asyncio.TaskGroup) -> Never:
        clock = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            try:
                await self._step(tasks)
            except CriError as exc:
                log.warning("runtime.no_answer", error=str(exc))
                pause = self._settings.retry_s
            else:
                pause = self._recheck_at - clock()
                pause = pause if pause > 0 else self._settings.recheck_s
                pause = min(pause, self._settings.wait_s) if self._waits else pause
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _step(self, tasks: asyncio.TaskGroup) -> None:
        """One look at the plan. Raises CriError when the runtime cannot be asked: then nothing new is begun."""
        plan = self._plans.current()
        wanted = {entry.image: entry for entry in plan.spec.images} if plan is not None else {}
        self._take_back(wanted)
        if plan is None:
            return
        mine = await self._is_mine(plan)
        clock = asyncio.get_running_loop().time
        due = clock() >= self._recheck_at
        try:
            await self._look(wanted, everything=due)
        except CriError as exc:
            if self._all_seen:
                self._give_back(wanted.values(), f"the runtime does not answer: {exc}")
                self._tell(plan)
            raise
        if due:
            self._all_seen = True
            self._recheck_at = clock() + self._settings.recheck_s
        if mine:
            self._give_back_late(wanted)
            await self._begin(list(wanted.values()), tasks)
        self._tell(plan, also_generation=due)

    def _take_back(self, wanted: Mapping[str, NodeImage]) -> None:
        """Stop pulls whose grant is gone or another one; forget images that are no longer wanted."""
        for image, job in self._jobs.items():
            grant = wanted[image].grant if image in wanted else None
            if grant is None:
                job.cancel("the grant was taken back")
            elif grant.id != job.grant.id:
                job.cancel("the grant was replaced")
        self._statuses = {image: status for image, status in self._statuses.items() if image in wanted}
        self._sightings.keep(set(wanted))

    async def _is_mine(self, plan: NodePull) -> bool:
        """Whether the plan is for the node that this is now: names are reused, UIDs are not."""
        told = plan.spec.node_uid
        if not self._node_uid or (told and told not in {self._node_uid, self._asked_for}):
            self._node_uid = await self._plans.node_uid()
            self._asked_for = told
            self._plan_uid = ""
        if self._plan_uid != plan.metadata.uid:
            self._plan_uid = plan.metadata.uid
            before = inherited(plan.status, node_uid=self._node_uid)
            self._sightings.inherit(before, asyncio.get_running_loop().time())
            self._statuses = {**before, **self._statuses}
            self._all_seen, self._recheck_at = False, 0.0
        return told in {"", self._node_uid}

    async def _look(self, wanted: Mapping[str, NodeImage], *, everything: bool) -> None:
        """Ask the runtime for what is not known, what a new grant is for, what changed, and now and then for all."""
        self._queue.see(wanted.values())
        changed, self._changed = self._changed, set()
        for image, entry in wanted.items():
            known = self._statuses.get(image)
            granted = entry.grant is not None and (known is None or entry.grant.id != known.grant)
            if image in self._jobs or not (everything or known is None or granted or registered(image) in changed):
                continue
            try:
                found = await self._store.present(image)
            except CriError:
                self._changed |= changed
                raise
            if image not in self._jobs:
                now = asyncio.get_running_loop().time()
                seen = self._sightings.seen(entry, known, now, found=found)
                if everything and seen.reason is Reason.NO_SPACE and seen.phase is Phase.SKIPPED:
                    seen = await self._with_room(entry, seen)
                self._statuses[image] = seen

    async def _with_room(self, entry: NodeImage, skipped: NodeImageStatus) -> NodeImageStatus:
        """Pending again, once there is room: that is what the controller waits for."""
        if await self._shortfall(entry):
            return skipped
        return msgspec.structs.replace(skipped, phase=Phase.PENDING, reason=Reason.NONE, message="")

    async def _shortfall(self, entry: NodeImage) -> str:
        coming = sum(job.image.bytes for job in self._jobs.values())
        return await self._disk.shortfall(need(entry.bytes + coming))

    async def _begin(self, images: list[NodeImage], tasks: asyncio.TaskGroup) -> None:
        self._waits = set()
        while len(self._jobs) < self._settings.at_once:
            answered = {image: status.grant for image, status in self._statuses.items()}
            picked = self._queue.next(images, answered=answered, running=self._jobs, now=self._wall())
            if picked is None:
                return
            entry, grant = picked
            refusal = await self._refusal(entry, grant)
            if refusal is not None:
                self._statuses[entry.image] = refusal
                continue
            if await self._others_pull():
                self._waits = {e.grant.id for e in images if e.grant is not None and e.image not in self._jobs}
                return
            self._start(entry, grant, tasks)

    async def _refusal(self, entry: NodeImage, grant: Grant) -> NodeImageStatus | None:
        """The status of an image that is not pulled, whatever its grant says."""
        registry = registry_of(entry.image)
        if registry is None or registry not in self._listed:
            message = "not an image reference" if registry is None else f"not a listed registry: {registry:.100}"
            return self._refused(entry, grant, Phase.FAILED, Reason.OTHER, message)
        given_up = self._sightings.given_up(entry.image, asyncio.get_running_loop().time())
        if given_up:
            return self._refused(entry, grant, Phase.SKIPPED, Reason.COLLECTED, given_up)
        shortfall = await self._shortfall(entry)
        if shortfall:
            return self._refused(entry, grant, Phase.SKIPPED, Reason.NO_SPACE, shortfall)
        return None

    async def _others_pull(self) -> bool:
        running = [job.observed for job in self._jobs.values() if job.observed is not None]
        return await self._neighbours.are_pulling(running, asyncio.get_running_loop().time())

    def _start(self, entry: NodeImage, grant: Grant, tasks: asyncio.TaskGroup) -> None:
        job = Job(entry, grant, registry_of(entry.image) or "", partial(self._progressed, entry.image))
        status = self._pulls.started(job, self._statuses.get(entry.image))
        self._statuses[entry.image] = status
        self._jobs[entry.image] = job
        job.task = tasks.create_task(self._pulls.run(job, status), name=f"pull {entry.image}")
        job.task.add_done_callback(partial(self._ended, job, status))

    def _progressed(self, image: str, received: int) -> None:
        if image in self._jobs and image in self._statuses:
            self._statuses[image] = msgspec.structs.replace(self._statuses[image], bytes=received)
            self._wake.set()

    def _ended(self, job: Job, status: NodeImageStatus, task: asyncio.Task[NodeImageStatus]) -> None:
        image = job.image.image
        del self._jobs[image]
        if task.cancelled():  # before it had begun: its own code would have told
            status = canceled(status, job.why, at=milli_time(self._wall()))
        elif task.exception() is None:
            status = task.result()
        if image in self._statuses:
            self._statuses[image] = status
        self._wake.set()

    def _give_back_late(self, wanted: Mapping[str, NodeImage]) -> None:
        for entry in wanted.values():
            if entry.grant is not None and not is_usable(entry.grant, now=self._wall()):
                waited = entry.grant.id in self._waits
                why = "its time is over by this node's clock" if not waited else "kubelet was pulling for all its time"
                self._give_back([entry], f"the grant cannot be used: {why}")

    def _give_back(self, images: Iterable[NodeImage], why: str) -> None:
        """Answer grants that are neither answered nor in use, of images that were looked at before."""
        for entry in images:
            known = self._statuses.get(entry.image)
            if entry.grant is None or known is None or entry.image in self._jobs:
                continue
            if known.grant != entry.grant.id and known.phase is not Phase.PRESENT:
                self._statuses[entry.image] = self._refused(entry, entry.grant, Phase.FAILED, Reason.CANCELED, why)

    def _refused(self, entry: NodeImage, grant: Grant, phase: Phase, reason: Reason, message: str) -> NodeImageStatus:
        before = self._statuses.get(entry.image)
        log.warning("pull.refused", image=entry.image[:300], grant=grant.id, message=message)
        return NodeImageStatus(
            image=entry.image,
            phase=phase,
            reason=reason,
            message=message,
            grant=grant.id,
            attempts=before.attempts if before is not None else 0,
            collected=before.collected if before is not None else 0,
            finished_at=milli_time(self._wall()),
        )

    def _tell(self, plan: NodePull, *, also_generation: bool = False) -> None:
        """Report, once there is something to say of every image."""
        images = [self._statuses.get(image) for image in dict.fromkeys(entry.image for entry in plan.spec.images)]
        known = [image for image in images if image is not None]
        if self._node_uid and len(known) == len(images):
            status = summary(
                known,
                node_uid=self._node_uid,
                agent=self._nonce,
                observed_generation=plan.metadata.generation,
                about=self._about,
            )
            if also_generation and not agrees(plan.status, status):
                self._reporter.forget()
            self._reporter.tell(Report(plan.metadata.uid, status), also_generation=also_generation)
