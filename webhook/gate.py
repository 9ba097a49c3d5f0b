"""One review → one answer: what is judged, what is true of its images, what policy says, and how the mode takes it.

The hot path asks nobody and waits for nothing: a review whose images are all remembered is answered without one await.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from cachetools import LRUCache
from prometheus_client import Counter

from tidegate.findings import FAILURES, Finding, ImageFinding, Mode, Verdict
from tidegate.metrics import Metrics
from tidegate.policy import (
    NAME_LABEL,
    Decision,
    Policy,
    Settings,
    Subject,
    breaks_glass,
    decide,
    mode_of,
    static_finding,
)
from tidegate.reference import ImageReference, InvalidReference
from tidegate.workload import MalformedObject, WorkloadView
from webhook import texts
from webhook.review import Response, Review, Status
from webhook.subjects import object_of, subject_of, uses_to_judge

log = structlog.get_logger()

_REMEMBERED_REFERENCES = 8192
_LONGEST_REMEMBERED = 512
"""Characters: an author may write megabytes, and memory is for what is likely to come again."""
_OTHER_REGISTRIES = "other"


class Checker(Protocol):
    """What the gate asks about an image of a listed registry."""

    def recall(self, image: str, reference: ImageReference) -> ImageFinding | None:
        """From memory alone, in microseconds; None where somebody has to be asked."""
        ...

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        """By asking; not past `deadline` (the loop's time), and raising nothing of a registry's."""
        ...


class Namespaces(Protocol):
    """What the gate knows of namespaces."""

    def labels(self, name: str) -> Mapping[str, str]:
        """Of the namespace with that name; none where it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What follows from one configuration file."""

    policy: Policy
    hosts: frozenset[str]
    checker: Checker

    def listed_as(self, reference: ImageReference) -> ImageReference:
        """The reference under the configuration's spelling of its host.

        Case and `:443` make another string for the same registry, which a node would pull from all the same: they must
        not be a way past the check.
        """
        if reference.domain in self.hosts:
            return reference
        plain = _plain(reference.domain)
        same = next((host for host in self.hosts if _plain(host) == plain), None)
        return reference if same is None else replace(reference, domain=same)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a review came in."""

    webhook: str
    """The path's name, as metrics have it: `validate`, `enforce`, `other`."""
    mode: Mode | None
    """Fixed by the path; None: follows from the namespace."""
    deadline: float
    """The loop's time by which the answer must be on its way."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, and what led to it."""

    decision: Decision
    mode: Mode
    subject: str
    """`Kind namespace/name`, for the log."""


class Gate:
    """Judges reviews by the rules that are in force when they come."""

    def __init__(self, rules: Rules, *, namespaces: Namespaces, metrics: Metrics) -> None:
        self.rules = rules
        """Replaced as a whole when the configuration changes."""
        self._namespaces = namespaces
        self._metrics = metrics
        self._references: LRUCache[str, ImageReference | InvalidReference] = LRUCache(_REMEMBERED_REFERENCES)
        self._reviews = _Labelled(metrics.reviews)
        self._findings = _Labelled(metrics.findings)

    async def answer(self, review: Review, asked: Asked) -> Response:
        """Never raises for anything that an author or a registry did."""
        began = time.perf_counter()
        judged = await self._judge(review, asked)
        self._count(judged, asked)
        self._log(review, asked, judged, time.perf_counter() - began)
        return respond(review.uid, judged.decision, judged.mode)

    def answer_to_fault(self, review: Review, asked: Asked) -> Response:
        """When judging itself failed: nothing was learned, which policy treats as a replica that cannot be asked."""
        labels = self._labels(review.namespace)
        settings = self.rules.policy.settings_for(labels)
        finding = ImageFinding("", Finding.UNREACHABLE, detail="a fault in tidegate; see its log")
        decision = decide([finding], settings=settings, subject=Subject(namespace=review.namespace))
        judged = Judged(decision, self._mode(labels, settings, asked), review.kind.kind)
        self._count(judged, asked)
        return respond(review.uid, decision, judged.mode)

    async def _judge(self, review: Review, asked: Asked) -> Judged:
        rules = self.rules
        labels = self._labels(review.namespace)
        settings = rules.policy.settings_for(labels)
        mode = self._mode(labels, settings, asked)
        name = f"{review.kind.kind} {review.namespace}/{review.name}"
        try:
            seen = object_of(review)
            if seen is None:
                return Judged(decide((), settings=settings, subject=Subject()), mode, name)
            name = f"{review.kind.kind} {review.namespace}/{review.name or seen.name or seen.generate_name}"
            decision = await self._decide(seen, review, rules, settings, asked)
        except MalformedObject as exc:
            decision = _of_malformed(exc, review, rules, settings)
        return Judged(decision, mode, name)

    async def _decide(
        self, seen: WorkloadView, review: Review, rules: Rules, settings: Settings, asked: Asked
    ) -> Decision:
        subject = subject_of(seen, review)
        fresh = dict.fromkeys(use.image for use in uses_to_judge(seen, review))
        findings: list[ImageFinding] = []
        unknown: list[tuple[str, ImageReference]] = []
        for image in dict.fromkeys(use.image for use in seen.images):
            if image not in fresh:
                findings.append(ImageFinding(image, Finding.UNCHANGED))
                continue
            reference = self._reference(image)
            if isinstance(reference, ImageReference):
                reference = rules.listed_as(reference)
            finding = static_finding(
                image, reference, policy=rules.policy, settings=settings, subject=subject, listed=rules.hosts
            )
            if finding is None and isinstance(reference, ImageReference):
                finding = rules.checker.recall(image, reference)
                if finding is None:
                    unknown.append((image, reference))
            if finding is not None:
                findings.append(finding)
        if unknown:
            findings.extend(await _check(rules.checker, unknown, _patience(settings, asked)))
        return decide(findings, settings=settings, subject=subject)

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

    def _labels(self, namespace: str) -> Mapping[str, str]:
        return {**self._namespaces.labels(namespace), NAME_LABEL: namespace}

    def _mode(self, labels: Mapping[str, str], settings: Settings, asked: Asked) -> Mode:
        """Break-glass wins over the path: the label that the API server selects by may lag behind."""
        if asked.mode is None or breaks_glass(labels):
            return mode_of(labels, settings)
        return asked.mode

    def _reference(self, image: str) -> ImageReference | InvalidReference:
        known = self._references.get(image)
        if known is None:
            try:
                known = ImageReference.parse(image)
            except InvalidReference as exc:
                known = exc.with_traceback(None)
            if len(image) <= _LONGEST_REMEMBERED:
                self._references[image] = known
        return known

    def _count(self, judged: Judged, asked: Asked) -> None:
        decision = judged.decision
        self._reviews[asked.webhook, judged.mode.value, decision.verdict.value].inc()
        for finding, verdict in decision.judged:
            self._findings[self._host(finding.image), finding.finding.value].inc()
            if finding.finding in FAILURES and verdict in {Verdict.ALLOW, Verdict.WARN}:
                self._metrics.fail_open.labels(finding.finding.value).inc()

    def _host(self, image: str) -> str:
        """The label of an image's registry: a listed host, or one word for all others."""
        reference = self._references.get(image)
        domain = self.rules.listed_as(reference).domain if isinstance(reference, ImageReference) else ""
        return domain if domain in self.rules.hosts else _OTHER_REGISTRIES


def _plain(host: str) -> str:
    return host.lower().removesuffix(":443")


class _Labelled(dict[tuple[str, ...], Counter]):
    """A metric's children by their labels, without its lock and its checks; as many as the metric itself keeps."""

    def __init__(self, metric: Counter) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...]) -> Counter:
        child = self[labels] = self._metric.labels(*labels)
        return child


def _of_malformed(exc: MalformedObject, review: Review, rules: Rules, settings: Settings) -> Decision:
    """An object that nobody can read is its author's fault; exemptions by namespace or user still hold."""
    subject = Subject(namespace=review.namespace, user=review.user_info.username)
    finding = static_finding(
        "", InvalidReference("", str(exc)), policy=rules.policy, settings=settings, subject=subject, listed=rules.hosts
    )
    return decide([finding] if finding is not None else (), settings=settings, subject=subject)


def respond(uid: str, decision: Decision, mode: Mode) -> Response:
    """A decision as the API server is told it; `hold` refuses, as long as nobody is there to hold and release."""
    annotations = {
        "verdict": decision.verdict.value,
        "finding": decision.worst.finding.value,
        "images": texts.images(decision),
    }
    if decision.verdict in {Verdict.DENY, Verdict.HOLD} and mode is Mode.ENFORCE:
        status = Status(message=texts.denial(decision))
        return Response(uid=uid, allowed=False, status=status, audit_annotations=annotations)
    warnings: tuple[str, ...] = ()
    if decision.verdict is not Verdict.ALLOW and mode is not Mode.AUDIT:
        warnings = tuple(texts.warning(finding) for finding, verdict in decision.judged if verdict is not Verdict.ALLOW)
    return Response(uid=uid, allowed=True, warnings=warnings[:_MOST_WARNINGS], audit_annotations=annotations)


_MOST_WARNINGS = 8
"""The API server cuts all of them short beyond 4,096 characters together."""


def _patience(settings: Settings, asked: Asked) -> float:
    if settings.patience_s is None:
        return asked.deadline
    return min(asked.deadline, asyncio.get_running_loop().time() + settings.patience_s)


async def _check(
    checker: Checker, unknown: Sequence[tuple[str, ImageReference]], deadline: float
) -> list[ImageFinding]:
    """All at once; the checker keeps the deadline, and shares what is already being asked."""
    if len(unknown) == 1:
        [(image, reference)] = unknown
        return [await checker.check(image, reference, deadline=deadline)]
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(checker.check(i, r, deadline=deadline)) for i, r in unknown]
    return [task.result() for task in asking]
