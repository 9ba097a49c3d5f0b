"""Pods that wait for nodes, and what becomes of each: the gate is opened when its group is warm, or need not wait.

Guarantees:
- A Pod waits no longer than `deadline_s` from its creation, or, if it had to wait for the replica before, from when its
  image was whole there; one of a Job no longer than half of the Job's own deadline.
- The gate `tidegate.dev/replica` goes first: no node could pull what is not there.
- The patch that opens the gate names the warm nodes, and is right for the version that was looked at only.
- Nothing is kept but in the API server: another controller goes on where this one was killed.
"""

import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Never

import structlog
from cachetools import LRUCache

from controller.derive import controller_of, template_word
from controller.holding.gates import hold_limit_s
from controller.holding.reports import Reports
from controller.mirror import Mirror
from controller.owners.mirror import OwnerMirror
from controller.owners.superseded import Superseded
from controller.placement import facts
from controller.warm import words
from controller.warm.groups import Groups
from controller.warm.pods import MalformedObject, Waiting, waiting_of
from controller.warm.standing import Outcome, Standing, at_once
from controller.workqueue import Again, WorkQueue
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import Invalid, NotFound
from tidegate.kube.own import HOLD, PRE_PULL_ANNOTATION, NodePull, PrePull
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import PODS, REPLICASETS, Resource
from tidegate.kube.shapes import Namespace, Node, ObjectReference, Pod, ReplicaSet, Workload
from tidegate.policy import breaks_glass

log = structlog.get_logger()

RELEASERS = 16
"""Gates opened at once."""
_RECKONERS = 1
_SETTLE_S = 0.1
"""Changes of nodes are taken together for so long."""
_LONGEST_SLEEP_S = 600.0
"""Clocks step: a deadline is looked at again no later than this."""
_LEAST_SLEEP_S = 0.05
_JOB_S = 5.0
"""A Pod may be seen before its Job: look again for the Job's deadline."""
_OWNERS_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What of the configuration file matters here. `platforms`: empty means any."""

    listed: frozenset[str]
    platforms: tuple[str, ...] = ()
    deadline_s: float = 600.0


class Warming:
    """Make it once nodes, Pods and namespaces are synced, call `start`, and run what `loops` names."""

    def __init__(
        self,
        client: KubeClient,
        *,
        pods: Reflector[Pod],
        namespaces: Reflector[Namespace],
        pulls: Mirror,
        owners: OwnerMirror,
        settings: Settings,
        reports: Reports,
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._pods = pods
        self._namespaces = namespaces
        self._pulls = pulls
        self._owners = owners
        self._settings = settings
        self._superseded = Superseded(client, owners=owners, reports=reports)
        self._reports = reports
        self._wall = wall
        self._waiting: dict[str, Waiting] = {}
        self._whole_since: dict[str, datetime] = {}
        """When the other gate was seen to open."""
        self._told: LRUCache[str, None] = LRUCache(_OWNERS_REMEMBERED)
        """Pods and owners that were told what is waited for; the API server, too, keeps each Event only once."""
        self._groups = Groups(
            listed=settings.listed,
            platforms=settings.platforms,
            nodepulls=pulls.nodepulls.objects,
            at_once=self._at_once,
            owners=self._uids_of_owners,
            clock=clock,
        )
        self._reckoning = WorkQueue("groups of Pods", self._reckon, workers=_RECKONERS, chance=chance)
        self._queue = WorkQueue("warming Pods", self._look, workers=RELEASERS, chance=chance)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "reckon where Pods would start warm": self._reckoning.run,
            "look after warming Pods": self._queue.run,
            "tell of warming Pods": self._reports.run,
        }

    def start(self) -> None:
        """Take in all that is there, nodes first, and every change from now on."""
        told: list[tuple[Reflector[Any], Callable[[str, Any, Any], None]]] = [
            (self._pulls.nodes, self._take_node),
            (self._pulls.nodepulls, self._take_nodepull),
            (self._pulls.prepulls, self._take_prepull),
            *((reflector, partial(self._take_workload, kind)) for kind, reflector in self._pulls.workloads.items()),
            (self._pods, self._take_pod),
        ]
        for reflector, take in told:
            for key, value in reflector.objects.items():
                take(key, None, value)
            reflector.subscribe(take)
        for kind, reflector in self._owners.owning():
            if kind is REPLICASETS:
                reflector.subscribe(self._take_replicaset)
        self._namespaces.subscribe(self._take_namespace)
        self._superseded.subscribe(self._take_owner)

    # What is told

    def _take_node(self, name: str, _: Node | None, new: Node | None) -> None:
        self._groups.put_node(name, facts(new) if new is not None else None)
        self._moved()

    def _take_nodepull(self, name: str, _: NodePull | None, _new: NodePull | None) -> None:
        self._groups.put_nodepull(name)
        self._moved()

    def _take_prepull(self, _: str, old: PrePull | None, new: PrePull | None) -> None:
        self._groups.put_prepull(old, new)
        self._moved()

    def _take_workload(self, kind: Resource[Workload], _: str, _old: Workload | None, new: Workload | None) -> None:
        """A rollout goes on. Besides, tell whoever wants Pods held, and says so where Pods do not show it."""
        if new is None:
            return
        self._groups.put_owner(new.metadata.uid)
        self._moved()
        if new.metadata.annotations.get(PRE_PULL_ANNOTATION) != HOLD or template_word(new) == HOLD:
            return
        about = ObjectReference(
            api_version=kind.api_version, kind=kind.kind, namespace=new.metadata.namespace, name=new.metadata.name,
            uid=new.metadata.uid,
        )  # fmt: skip
        if new.metadata.uid not in self._told:
            self._told[new.metadata.uid] = None
            self._reports.tell(about, reason="HoldNotOnTemplate", action="Hold", note=words.NOT_ON_TEMPLATE)

    def _take_replicaset(self, _: str, _old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        if new is not None:
            self._groups.put_owner(new.metadata.uid)
            self._moved()

    def _take_namespace(self, name: str, _: Namespace | None, new: Namespace | None) -> None:
        if new is not None and breaks_glass(new.metadata.labels):
            for waiting in self._waiting.values():
                if waiting.namespace == name:
                    self._queue.add(waiting.key)

    def _take_owner(self, uid: str) -> None:
        for waiting in self._waiting.values():
            if waiting.owner is not None and waiting.owner.uid == uid:
                self._queue.add(waiting.key)

    def _take_pod(self, key: str, _: Pod | None, new: Pod | None) -> None:
        before = self._waiting.get(key)
        try:
            now = waiting_of(new, listed=self._settings.listed, now=self._wall())
        except (MalformedObject, ValueError) as exc:
            log.warning("pod.unreadable", pod=key, error=str(exc)[:256])
            return
        if before is not None and (now is None or now.uid != before.uid):
            self._forget(before)
            before = None
        if now is not None:
            if before is not None and now.is_free and not before.is_free:
                self._whole_since[key] = self._wall()
            self._waiting[key] = now
            self._groups.put_pod(before, now, whole_since=self._whole_since.get(key))
            self._queue.add(key)
        self._moved(after_s=0.0)

    def _moved(self, after_s: float = _SETTLE_S) -> None:
        for key in self._groups.take_moved():
            self._reckoning.add_later(key, after_s)

    # What follows

    async def _reckon(self, key: str) -> None:
        """See where a group stands, and look at its Pods if that is somewhere else."""
        group = self._groups.get(key)
        if group is None:
            return
        before, ahead = group.standing, list(self._groups.reckon(key))
        self._moved()
        outcome = group.standing.outcome if group.standing is not None else None
        if before is None or outcome is not before.outcome:
            for pod in group.pods:
                self._queue.add(pod)
        if ahead:
            raise Again(max(min(ahead), _LEAST_SLEEP_S))

    async def _look(self, key: str) -> None:
        """Do what is to be done with one Pod; come back at its next deadline."""
        waiting = self._waiting.get(key)
        if waiting is None:
            return
        waited_s = (self._wall() - waiting.created).total_seconds()
        if await self._superseded.deleted(waiting):
            return
        if (why := self._lifted(waiting)) is not None:
            await self._release(waiting, None, reason="WarmLifted", note=words.lifted(waited_s, why))
            return
        group = self._groups.get(waiting.group)
        standing = group.standing if group is not None else None
        if not waiting.is_free or standing is None:
            return  # the other gate's opening, or the reckoning, brings us here again
        if standing.outcome is Outcome.WARM:
            await self._release(waiting, standing, reason="WarmReady", note=words.ready(waited_s, standing))
        elif standing.outcome is Outcome.IMPOSSIBLE:
            note = words.impossible(waited_s, standing)
            await self._release(waiting, standing, reason="WarmImpossible", note=note, warning=True)
        else:
            await self._wait(waiting, standing, waited_s)

    async def _wait(self, waiting: Waiting, standing: Standing, waited_s: float) -> None:
        """Say what for, unless the time for it is over."""
        job = self._owners.job(waiting.owner, waiting.namespace)
        limit_s = self._settings.deadline_s
        if (whole := self._whole_since.get(waiting.key)) is not None:
            limit_s += max((whole - waiting.created).total_seconds(), 0.0)
        limit_s = min(limit_s, hold_limit_s(job) or limit_s)
        if waited_s >= limit_s:
            note = words.expired(waited_s, standing)
            await self._release(waiting, standing, reason="WarmExpired", note=note, warning=True)
            return
        self._say_what_for(waiting, standing)
        sleep_s = max(limit_s - waited_s, _LEAST_SLEEP_S)
        unknown = waiting.owner is not None and waiting.owner.kind == "Job" and job is None
        raise Again(min(sleep_s, _JOB_S if unknown else _LONGEST_SLEEP_S))

    async def _release(
        self, waiting: Waiting, standing: Standing | None, *, reason: str, note: str, warning: bool = False
    ) -> None:
        """Open the gate of the version that was looked at. Raises KubeError; a Conflict has the next one looked at."""
        warm = standing.warm if standing is not None else frozenset[str]()
        with suppress(NotFound):
            try:
                await self._patch(waiting, warm)
            except Invalid as exc:  # then without a preference: nobody is held by an affinity that is not taken
                log.warning("pod.affinity_refused", pod=waiting.key, error=str(exc)[:256])
                await self._patch(waiting, frozenset())
            self._reports.tell(waiting.reference, reason=reason, action="Release", note=note, warning=warning)
        if (now := self._waiting.get(waiting.key)) is not None and now.uid == waiting.uid:
            self._forget(now)
            self._moved()

    async def _patch(self, waiting: Waiting, warm: frozenset[str]) -> None:
        await self._client.merge_patch(
            PODS, waiting.name, waiting.let_go(warm), namespace=waiting.namespace,
            resource_version=waiting.resource_version,
        )  # fmt: skip

    def _lifted(self, waiting: Waiting) -> str | None:
        """Why nobody wants it to wait; None where somebody does."""
        if not waiting.wishes:
            return 'its annotation tidegate.dev/pre-pull is not "hold" any more'
        namespace = self._namespaces.objects.get(waiting.namespace)
        if namespace is not None and breaks_glass(namespace.metadata.labels):
            return "the namespace carries tidegate.dev/break-glass"
        return None

    def _owner_of(self, waiting: Waiting) -> ReplicaSet | Workload | None:
        return None if waiting.owner is None else self._owners.find(waiting.owner, waiting.namespace)

    def _at_once(self, waiting: Waiting) -> int:
        owner = self._owner_of(waiting)
        reference = controller_of(owner) if owner is not None else None
        above = self._owners.find(reference, waiting.namespace) if reference is not None else None
        return at_once(owner, above if isinstance(above, Workload) else None)

    def _uids_of_owners(self, waiting: Waiting) -> set[str]:
        if waiting.owner is None:
            return set()
        return {waiting.owner.uid, self._owners.top(waiting.owner, waiting.namespace).uid}

    def _say_what_for(self, waiting: Waiting, standing: Standing) -> None:
        """Once for each Pod, and once for each owner and its images on what people look at."""
        if waiting.uid not in self._told:
            self._told[waiting.uid] = None
            note = words.started(waiting.images, standing)
            self._reports.tell(waiting.reference, reason="WarmingUp", action="Hold", note=note)
        if waiting.owner is None:
            return
        top = self._owners.top(waiting.owner, waiting.namespace)
        images = "\n".join(waiting.images)
        if (once := f"{top.uid}/{images}") not in self._told:
            self._told[once] = None
            note = words.owner_waits(waiting.images, standing)
            self._reports.tell(top, reason="WarmingUp", action="Hold", note=note, of=images)

    def _forget(self, waiting: Waiting) -> None:
        self._waiting.pop(waiting.key, None)
        self._whole_since.pop(waiting.key, None)
        self._groups.put_pod(waiting, None)
