"""Held Pods and what becomes of each: the gate is opened when the whole verdict, taken again, lets the Pod through.

Guarantees:
- A Pod is released only at the very version that was judged; whoever changes its images meanwhile has it judged anew.
- A Pod whose verdict is `deny` stays held, whatever its deadline; so does one of which nothing is known yet.
- Nothing is kept but in the API server: another controller goes on where this one was killed.
"""

import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Never

import structlog
from cachetools import LRUCache

from controller.holding import words
from controller.holding.gates import Held, MalformedObject, held_of, hold_limit_s
from controller.holding.judge import Judged, Rules
from controller.holding.polls import Polls
from controller.holding.questions import Questions, TenantsChecker, known_of
from controller.holding.reports import Reports
from controller.owners.mirror import OwnerMirror
from controller.owners.superseded import Superseded
from controller.workqueue import Again, WorkQueue
from tidegate.findings import Finding, ImageFinding, Mode, Verdict
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import NotFound
from tidegate.kube.own import ImageAvailability
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import PODS
from tidegate.kube.shapes import Namespace, Pod
from tidegate.metrics import Metrics
from tidegate.pull_secrets import Wearer
from tidegate.reference import ImageReference
from tidegate.registry.auth.tenants import NOBODY, Tenant

log = structlog.get_logger()

RELEASERS = 16
"""Gates opened at once."""
_LONGEST_SLEEP_S = 600.0
"""Clocks step: a deadline is looked at again no later than this."""
_LEAST_SLEEP_S = 0.05
_OWNERS_REMEMBERED = 4096
_JOB_S = 5.0
"""A Pod may be seen before its Job: look again for the Job's deadline."""

OnFinding = Callable[[ImageFinding, ImageReference], None]


class Holds:
    """Make it once pods and namespaces are synced, call `start`, and run what `loops` names."""

    def __init__(
        self,
        client: KubeClient,
        *,
        pods: Reflector[Pod],
        namespaces: Reflector[Namespace],
        availabilities: Reflector[ImageAvailability],
        owners: OwnerMirror,
        rules: Rules,
        checker: TenantsChecker,
        tenant: Callable[[Wearer], Tenant] = lambda _: NOBODY,
        reports: Reports,
        on_finding: OnFinding,
        metrics: Metrics,
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._client = client
        self._pods = pods
        self._namespaces = namespaces
        self._availabilities = availabilities
        self._owners = owners
        self._rules = rules
        self._superseded = Superseded(client, owners=owners, reports=reports)
        self._reports = reports
        self._on_finding = on_finding
        self._metrics = metrics
        self._wall = wall
        self._held: dict[str, Held] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        """Keys of the held Pods by question, as all that follows: the image, unless who asks matters."""
        self._named: dict[str, set[str]] = {}
        """Questions that somebody waits for, by the name of what says where their images run."""
        self._known: dict[str, ImageFinding] = {}
        self._lagged: dict[str, ImageFinding] = {}
        """What an image first lacked while somebody waited for it."""
        self._said: dict[str, set[str]] = {}
        """Reasons told by Pod."""
        self._overdue: set[str] = set()
        self._told_owners: LRUCache[str, None] = LRUCache(_OWNERS_REMEMBERED)
        """Owners that were told what their Pods wait for; the API server, too, keeps each Event only once."""
        self._questions = Questions(checker, rules=rules, tenant=tenant)
        self._polls = Polls(self._questions, found=self._found, clock=clock, chance=chance)
        self._queue = WorkQueue("held pods", self._look, workers=RELEASERS, chance=chance)

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {
            "ask about held images": self._polls.run,
            "look after held Pods": self._queue.run,
            "tell of held Pods": self._reports.run,
        }

    def start(self) -> None:
        """Take in all that is there, and every change from now on."""
        for key, pod in self._pods.objects.items():
            self._take_pod(key, None, pod)
        self._pods.subscribe(self._take_pod)
        self._namespaces.subscribe(self._take_namespace)
        self._superseded.subscribe(self._take_owner)
        self._availabilities.subscribe(self._take_availability)

    def awaits(self, image: str) -> bool:
        """Whether a held Pod needs this image."""
        return image in {self._questions.image(question) for question in self._waiting}

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int:
        """Something is said to have come to `name` (`domain/path`): see `Polls.hurry`."""
        return self._polls.hurry(name, digest=digest, tag=tag)

    # What is told

    def _take_pod(self, key: str, _: Pod | None, new: Pod | None) -> None:
        try:
            held = held_of(new, now=self._wall())
        except MalformedObject as exc:
            log.warning("pod.unreadable", pod=key, error=str(exc)[:256])
            return
        before = self._held.get(key)
        if before is not None and (held is None or held.uid != before.uid):
            self._forget(before)
            before = None
        if held is None:
            return
        self._held[key] = held
        self._wait_for(held.key, before, held)
        self._metrics.held_pods.set(len(self._held))
        self._queue.add(key)

    def _take_namespace(self, name: str, old: Namespace | None, new: Namespace | None) -> None:
        if (old.metadata.labels if old else {}) != (new.metadata.labels if new else {}):
            for held in self._held.values():
                if held.namespace == name:
                    self._queue.add(held.key)

    def _take_owner(self, uid: str) -> None:
        for held in self._held.values():
            if held.owner is not None and held.owner.uid == uid:
                self._queue.add(held.key)

    def _take_availability(self, name: str, old: ImageAvailability | None, new: ImageAvailability | None) -> None:
        """What waits for an image may go on where it is now known to have run."""
        if new is None or (old is not None and old.status.namespaces == new.status.namespaces):
            return
        for image in self._named.get(name, ()):
            for key in self._waiting.get(image, ()):
                self._queue.add(key)

    def _found(self, finding: ImageFinding, reference: ImageReference) -> None:
        question = finding.image
        before, self._known[question] = self._known.get(question), finding
        if finding.finding is not Finding.OK:
            self._lagged.setdefault(question, finding)
        if self._questions.is_for_all(finding):
            self._on_finding(replace(finding, image=self._questions.image(question)), reference)
        if before is None or (before.finding, before.known_before) != (finding.finding, finding.known_before):
            for key in self._waiting.get(question, ()):
                self._queue.add(key)

    # What follows

    async def _look(self, key: str) -> None:
        """Do what is to be done with one held Pod; come back at its next deadline."""
        held = self._held.get(key)
        if held is None:
            return
        if await self._superseded.deleted(held):
            return
        namespace = self._namespaces.objects.get(held.namespace)
        labels = namespace.metadata.labels if namespace else {}
        judged = self._rules.judge(
            held, labels, known_of(self._questions.of(held), self._known), self._availabilities.objects
        )
        waited_s = (self._wall() - held.created).total_seconds()
        if judged.mode is not Mode.ENFORCE:
            note = words.lifted(waited_s, judged.mode.value)
            await self._release(held, waited_s, reason="HoldLifted", note=note)
        elif judged.decision is None:
            return  # the answer brings us here again
        elif judged.decision.verdict is Verdict.DENY:
            note = words.denied(judged.decision.worst)
            self._say(held, reason="ReplicaDenied", action="Hold", note=note, warning=True)
        elif judged.decision.verdict is Verdict.HOLD:
            await self._hold(held, judged, judged.decision.worst, waited_s)
        elif judged.decision.grandfathered:
            note = words.ran_before(waited_s, judged.decision.worst)
            await self._release(held, waited_s, reason="RanBefore", note=note)
        else:
            note = words.released(waited_s, self._lag_of(held))
            await self._release(held, waited_s, reason="ReplicaComplete", note=note)

    async def _hold(self, held: Held, judged: Judged, worst: ImageFinding, waited_s: float) -> None:
        """Say why it waits, and mind the deadlines: policy's, and half of its Job's."""
        self._say(held, reason="ReplicaLagging", action="Hold", note=words.started(worst))
        self._say_to_owner(held, worst)
        job = self._owners.job(held.owner, held.namespace)
        policy_s, own_s = judged.settings.hold_deadline_s, hold_limit_s(job)
        late = waited_s >= policy_s
        if (late and judged.settings.hold_releases) or (own_s is not None and waited_s >= own_s):
            note = words.let_go(waited_s, worst)
            await self._release(held, waited_s, reason="HoldExpired", note=note, warning=True)
            return
        if late:
            self._overdue.add(held.key)
            self._metrics.held_pods_overdue.set(len(self._overdue))
            self._say(held, reason="HoldOverdue", action="Hold", note=words.overdue(waited_s, worst), warning=True)
        ahead = [at - waited_s for at in (policy_s, own_s) if at is not None and at > waited_s]
        if held.is_of_job and job is None:
            ahead.append(_JOB_S)
        if ahead:
            raise Again(min(max(min(ahead), _LEAST_SLEEP_S), _LONGEST_SLEEP_S))

    async def _release(self, held: Held, waited_s: float, *, reason: str, note: str, warning: bool = False) -> None:
        """Open the gate of the version that was judged. Raises KubeError; a Conflict has the next one judged."""
        with suppress(NotFound):
            await self._client.merge_patch(
                PODS, held.name, held.without_gate(), namespace=held.namespace,
                resource_version=held.resource_version,
            )  # fmt: skip
            self._metrics.hold_duration.observe(max(waited_s, 0.0))
            self._say(held, reason=reason, action="Release", note=note, warning=warning)
        if (now := self._held.get(held.key)) is not None and now.uid == held.uid:
            self._forget(now)

    def _say_to_owner(self, held: Held, worst: ImageFinding) -> None:
        """One Event for each owner and image, on what people look at."""
        if held.owner is not None:
            top = self._owners.top(held.owner, held.namespace)
            if (once := f"{top.uid}/{worst.image}") not in self._told_owners:
                self._told_owners[once] = None
                note = words.owner_waits(worst)
                self._reports.tell(top, reason="ReplicaLagging", action="Hold", note=note, of=worst.image)

    def _say(self, held: Held, *, reason: str, action: str, note: str, warning: bool = False) -> None:
        said = self._said.setdefault(held.key, set())
        if reason not in said:
            said.add(reason)
            self._reports.tell(held.reference, reason=reason, action=action, note=note, warning=warning)

    def _lag_of(self, held: Held) -> ImageFinding | None:
        questions = self._questions.of(held).values()
        return next((self._lagged[question] for question in questions if question in self._lagged), None)

    def _forget(self, held: Held) -> None:
        del self._held[held.key]
        self._said.pop(held.key, None)
        self._overdue.discard(held.key)
        self._wait_for(held.key, held, None)
        self._metrics.held_pods.set(len(self._held))
        self._metrics.held_pods_overdue.set(len(self._overdue))

    def _wait_for(self, key: str, before: Held | None, now: Held | None) -> None:
        """A Pod waited for some images, and now waits for others."""
        questions = {} if now is None else self._questions.of(now)
        for image, question in questions.items():
            if question not in self._waiting and (name := self._rules.object_of(image)) is not None:
                self._named.setdefault(name, set()).add(question)
            self._waiting.setdefault(question, {})[key] = None
            if (reference := self._rules.reference(image)) is not None:
                self._polls.want(question, reference)
        asked = {} if before is None else self._questions.of(before)
        for question in set(asked.values()) - set(questions.values()):
            keys = self._waiting.get(question, {})
            keys.pop(key, None)
            if not keys:
                self._stop_asking(question)

    def _stop_asking(self, question: str) -> None:
        self._waiting.pop(question, None)
        self._known.pop(question, None)
        self._lagged.pop(question, None)
        self._polls.drop(question)
        name = self._rules.object_of(self._questions.image(question))
        self._questions.drop(question)
        if name is not None and (questions := self._named.get(name)) is not None:
            questions.discard(question)
            if not questions:
                del self._named[name]
