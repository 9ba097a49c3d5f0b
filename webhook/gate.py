"""One review → one answer: what is judged, what is true of its images, what policy says, and how the mode takes it.

The hot path asks nobody and waits for nothing: a review whose images are all remembered is answered without one await.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from prometheus_client import Counter

from tidegate.findings import FAILURES, Finding, ImageFinding, Mode, Verdict
from tidegate.metrics import Metrics
from tidegate.policy import Decision, Subject, decide, decided, static_finding
from tidegate.reference import InvalidReference
from tidegate.workload import MalformedObject
from webhook import texts
from webhook.claims import Claims
from webhook.facts import NoFacts
from webhook.judge import Judge, Standing
from webhook.keys import NoKeys
from webhook.mutation import mutated, unjudged
from webhook.review import Response, Review, Status
from webhook.rules import Asked, KeySource, Namespaces, NoTenants, Rules, Running, Tenants
from webhook.subjects import object_of, subject_of, uses_to_judge

log = structlog.get_logger()

_OTHER_REGISTRIES = "other"


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, and what led to it."""

    decision: Decision
    mode: Mode
    subject: str
    """`Kind namespace/name`, for the log."""
    held: bool = False


class Gate:
    """Answers reviews. `holds`: a controller is there, which releases what is held."""

    def __init__(
        self,
        rules: Rules,
        *,
        namespaces: Namespaces,
        metrics: Metrics,
        keys: KeySource | None = None,
        running: Running = NoFacts(),  # noqa: B008  it has no state
        clock: Callable[[], float] = time.time,
        holds: bool = False,
        tenants: Tenants = NoTenants(),  # noqa: B008  it has no state
    ) -> None:
        claims = Claims(keys or NoKeys(), clock=clock)
        self._judge = Judge(rules, namespaces=namespaces, running=running, claims=claims, holds=holds, tenants=tenants)
        self._metrics = metrics
        self._reviews = _Labelled(metrics.reviews)
        self._findings = _Labelled(metrics.findings)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._judge.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        """As a whole, when the configuration changes."""
        self._judge.rules = rules

    async def answer(self, review: Review, asked: Asked) -> Response:
        """Never raises for anything that an author or a registry did."""
        began = time.perf_counter()
        standing = await self._judge.acquainted(review.namespace, asked)
        judged = await self._judged(review, standing)
        self._count(judged, asked)
        self._log(review, asked, judged, time.perf_counter() - began)
        since = self._judge.since(judged.decision)
        return respond(review.uid, judged.decision, judged.mode, held=judged.held, since=since)

    def answer_to_fault(self, review: Review, asked: Asked) -> Response:
        """When judging itself failed: nothing was learned, which policy treats as a replica that cannot be asked."""
        standing = self._judge.standing(review.namespace, asked)
        finding = ImageFinding("", Finding.UNREACHABLE, detail="a fault in tidegate; see its log")
        decision = decide([finding], settings=standing.settings, subject=Subject(namespace=review.namespace))
        judged = Judged(decision, standing.mode, review.kind.kind)
        self._count(judged, asked)
        return respond(review.uid, decision, judged.mode)

    async def mutate(self, review: Review, asked: Asked) -> Response:
        """The answer of `/mutate`, which allows everything. Raises nothing for what an author or a registry did."""
        began = time.perf_counter()
        standing = await self._judge.acquainted(review.namespace, asked)
        response, decision = await mutated(self._judge, review, standing=standing)
        self._reviews[asked.webhook, standing.mode.value, decision.verdict.value].inc()
        if response.patch is not None:
            judged = Judged(decision, standing.mode, f"{review.kind.kind} {review.namespace}/{review.name}")
            self._log(review, asked, judged, time.perf_counter() - began)
        return response

    def mutate_nothing(self, review: Review, asked: Asked) -> Response:
        """When mutating itself failed: `/validate` judges the object as it is."""
        del asked
        return unjudged(review)

    async def _judged(self, review: Review, standing: Standing) -> Judged:
        name = f"{review.kind.kind} {review.namespace}/{review.name}"
        try:
            seen = object_of(review, standing.rules.places)
            if seen is None:
                return Judged(decided(()), standing.mode, name)
            name = f"{review.kind.kind} {review.namespace}/{review.name or seen.name or seen.generate_name}"
            images = dict.fromkeys(use.image for use in seen.images)
            fresh = frozenset(use.image for use in uses_to_judge(seen, review, standing.rules.places))
            subject = subject_of(seen, review)
            standing = self._judge.in_the_name_of(seen, review.namespace, standing)
            sentence = await self._judge.validate(seen, review, images, fresh=fresh, standing=standing, subject=subject)
        except MalformedObject as exc:
            return Judged(_of_malformed(exc, review, standing), standing.mode, name)
        return Judged(sentence.decision, standing.mode, name, held=sentence.held)

    def _log(self, review: Review, asked: Asked, judged: Judged, seconds: float) -> None:
        """One line a review."""
        decision = judged.decision
        log.info(
            "review.decided", uid=review.uid, object=judged.subject, operation=review.operation, webhook=asked.webhook,
            mode=judged.mode.value, verdict=decision.verdict.value, finding=decision.worst.finding.value,
            image=decision.worst.image[:256], replica=decision.worst.replica,
            requests=sum(r.requests for finding, _ in decision.judged for r in finding.replicas),
            ms=round(seconds * 1e3, 2),
        )  # fmt: skip

    def _count(self, judged: Judged, asked: Asked) -> None:
        decision = judged.decision
        self._reviews[asked.webhook, judged.mode.value, decision.verdict.value].inc()
        for finding, verdict in decision.judged:
            self._findings[self._judge.host(finding.image) or _OTHER_REGISTRIES, finding.finding.value].inc()
            if finding.finding in FAILURES and verdict in {Verdict.ALLOW, Verdict.WARN}:
                self._metrics.fail_open.labels(finding.finding.value).inc()
            if finding.image in decision.grandfathered:
                self._metrics.grandfathered.labels(finding.finding.value).inc()


class _Labelled(dict[tuple[str, ...], Counter]):
    """A metric's children by their labels, without its lock and its checks; as many as the metric itself keeps."""

    def __init__(self, metric: Counter) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Counter:
        child = self[labels] = self._metric.labels(*labels)
        return child


def _of_malformed(exc: MalformedObject, review: Review, standing: Standing) -> Decision:
    """An object that nobody can read is its author's fault; exemptions by namespace or user still hold."""
    rules, settings = standing.rules, standing.settings
    subject = Subject(namespace=review.namespace, user=review.user_info.username)
    finding = static_finding(
        "", InvalidReference("", str(exc)), policy=rules.policy, settings=settings, subject=subject, listed=rules.hosts
    )
    return decide([finding] if finding is not None else (), settings=settings, subject=subject)


def respond(uid: str, decision: Decision, mode: Mode, *, held: bool = False, since: datetime | None = None) -> Response:
    """A decision as the API server is told it; `hold` refuses where nobody holds and releases.

    `since`: when the worst finding became what it is, if somebody knows.
    """
    annotations = texts.annotations(decision)
    if decision.grandfathered:
        annotations["grandfathered"] = texts.grandfathered(decision)
    if said := texts.exemption(decision):
        annotations["exemption"] = said
    refused = decision.verdict is Verdict.DENY or (decision.verdict is Verdict.HOLD and not held)
    if refused and mode is Mode.ENFORCE:
        status = Status(message=texts.denial(decision, since=since))
        return Response(uid=uid, allowed=False, status=status, audit_annotations=annotations)
    warnings: tuple[str, ...] = ()
    if decision.verdict is not Verdict.ALLOW and mode is not Mode.AUDIT:
        warnings = tuple(
            texts.warning(finding, waits=held and verdict is Verdict.HOLD, ran=finding.image in decision.grandfathered)
            for finding, verdict in decision.judged
            if verdict is not Verdict.ALLOW
        )
    return Response(uid=uid, allowed=True, warnings=warnings[: texts.MOST_WARNINGS], audit_annotations=annotations)
