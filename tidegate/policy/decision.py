"""Finding + policy → verdict.

Guarantees: an exempt image is never judged; what the text alone shows is found before any I/O; a failure to ask is
never a proof of absence; the verdict of a review is its worst image's, and the same findings in any order give the
same verdict.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tidegate.findings import (
    DETAIL_LIMIT,
    FAILURES,
    FINDINGS_WORST_FIRST,
    VERDICTS_WORST_FIRST,
    Finding,
    ImageFinding,
    Verdict,
)
from tidegate.policy.settings import DEFAULT_VERDICTS, CannotHold, Policy, Settings, Tags, Unlisted
from tidegate.reference import ImageReference, InvalidReference

REFERENCE_LIMIT = 1024
"""Characters of an image string. The longest name in DNS with a port, path, tag and digest has 800."""
_NEEDS_IO = FAILURES | {Finding.ABSENT, Finding.INCOMPLETE, Finding.MISMATCH, Finding.UNSUPPORTED}
REFUSING = frozenset({Verdict.DENY, Verdict.HOLD})
"""Verdicts that may keep an object out."""
_VERDICT_RANK = {verdict: rank for rank, verdict in enumerate(VERDICTS_WORST_FIRST)}
_FINDING_RANK = {finding: rank for rank, finding in enumerate(FINDINGS_WORST_FIRST)}


class Holding(StrEnum):
    """Whether an object's images can wait for their replica."""

    POSSIBLE = "possible"
    """A Pod that may be gated, or a workload whose Pods will be."""
    NEVER = "never"
    """A Pod with a node name, a template, anything that nobody can gate."""
    ALWAYS_ADMIT = "always-admit"
    """DaemonSet Pods and ephemeral containers: a node's own, or somebody's at 2 a.m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose images are judged."""

    namespace: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    holding: Holding = Holding.POSSIBLE
    runs_already: frozenset[str] = frozenset()
    """Image strings known to have run in this namespace before; empty where nobody knows."""
    runs_in_cluster: frozenset[str] = frozenset()
    """The same of any namespace."""
    exempt_reason: str = ""
    """What its author gives as a reason; see `exemptions.exempt_reason`."""
    owned_pod: bool = False
    """A Pod with a controller owner, at its creation: its workload was admitted before."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Which of some image strings ran before: kubelets pulled them then, so they were there."""

    here: frozenset[str] = frozenset()
    """In the namespace that was asked about."""
    anywhere: frozenset[str] = frozenset()
    """In any namespace of the cluster."""


NOTHING_RUNS = Runs()


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy chose for a review, before any mode softens it."""

    verdict: Verdict
    worst: ImageFinding
    """Whose finding speaks for the review."""
    judged: tuple[tuple[ImageFinding, Verdict], ...]
    grandfathered: frozenset[str] = frozenset()
    """Images that only warn because they ran here before."""


def static_finding(
    image: str,
    reference: ImageReference | InvalidReference,
    *,
    policy: Policy,
    settings: Settings,
    subject: Subject,
    listed: Container[str],
) -> ImageFinding | None:
    """What the text and the policy alone show; None where a replica has to be asked.

    `listed`: the configuration's registry hosts. Exemptions come first, so that a platform's own odd images pass.
    """
    parsed = reference if isinstance(reference, ImageReference) else None
    if reason := _exempt_for(parsed, policy=policy, settings=settings, subject=subject):
        return ImageFinding(image, Finding.EXEMPT, detail=reason[:DETAIL_LIMIT])
    if isinstance(reference, InvalidReference):
        return ImageFinding(image, Finding.MALFORMED, detail=reference.reason[:DETAIL_LIMIT])
    if len(image) > REFERENCE_LIMIT:
        return ImageFinding(image, Finding.MALFORMED, detail=f"it has more than {REFERENCE_LIMIT} characters")
    if reference.domain not in listed:
        return _unlisted(image, reference, settings.unlisted)
    if reference.digest is None and settings.tags is not Tags.ALLOW:
        return ImageFinding(image, Finding.NOT_PINNED)
    return None


def _exempt_for(reference: ImageReference | None, *, policy: Policy, settings: Settings, subject: Subject) -> str:
    """The reason; empty for what is judged."""
    for exemption in policy.exemptions:
        if exemption.covers(reference, namespace=subject.namespace, user=subject.user, labels=subject.labels):
            return exemption.reason
    return subject.exempt_reason if settings.exempt_annotation else ""


def _unlisted(image: str, reference: ImageReference, unlisted: Unlisted) -> ImageFinding:
    if unlisted is Unlisted.DENY:
        return ImageFinding(image, Finding.UNLISTED, digest=reference.digest)
    if unlisted is Unlisted.REQUIRE_DIGEST and reference.digest is None:
        return ImageFinding(image, Finding.NOT_PINNED)
    return ImageFinding(image, Finding.OK, digest=reference.digest)


def verdict_of(finding: ImageFinding, *, settings: Settings, subject: Subject) -> Verdict:
    """Policy's choice for one image. Failures pass with a warning where the image is known, and wait elsewhere."""
    verdict = settings.verdicts.get(finding.finding) or DEFAULT_VERDICTS.get(finding.finding)
    if verdict is None:  # one of FAILURES, and nothing was chosen for it
        verdict = Verdict.WARN if _is_known(finding, subject) else Verdict.HOLD
    if subject.holding is Holding.POSSIBLE:
        return verdict
    return _without_holding(finding.finding, verdict, settings.cannot_hold, subject.holding)


def _is_known(finding: ImageFinding, subject: Subject) -> bool:
    """Whether an image that nobody could ask about was there before.

    That somebody else may read it says nothing about who is refused: only what ran in the same namespace does.
    """
    if finding.image in subject.runs_already:
        return True
    return finding.finding is not Finding.UNAUTHORIZED and (
        finding.known_before or finding.image in subject.runs_in_cluster
    )


def _without_holding(finding: Finding, verdict: Verdict, cannot_hold: CannotHold, holding: Holding) -> Verdict:
    if cannot_hold is CannotHold.DEFAULT and holding is Holding.ALWAYS_ADMIT and finding in _NEEDS_IO:
        return max(verdict, Verdict.WARN, key=lambda one: _VERDICT_RANK[one])  # the milder one
    if verdict is not Verdict.HOLD:
        return verdict
    if cannot_hold is CannotHold.DEFAULT:
        return Verdict.WARN if finding in FAILURES else Verdict.DENY
    return Verdict.WARN if cannot_hold is CannotHold.WARN else Verdict.DENY


def decide(
    findings: Iterable[ImageFinding],
    *,
    settings: Settings,
    subject: Subject,
    running: Callable[[Sequence[str]], Runs] | None = None,
) -> Decision:
    """The verdict of a review; one without images is allowed as `exempt`.

    `running` tells which of some images run already; it is asked only where that may turn a refusal into a warning.
    """
    findings = tuple(findings)
    decision = _decide(findings, settings, subject)
    if running is None or decision.verdict not in REFUSING:
        return decision
    runs = running([finding.image for finding, verdict in decision.judged if verdict in REFUSING])
    if not runs.anywhere:
        return decision
    subject = replace(subject, runs_already=runs.here, runs_in_cluster=runs.anywhere)
    return _decide(findings, settings, subject)


def _decide(findings: Sequence[ImageFinding], settings: Settings, subject: Subject) -> Decision:
    judged = []
    grandfathered = set()
    for finding in findings:
        verdict = verdict_of(finding, settings=settings, subject=subject)
        if verdict in REFUSING and _ran_before(finding, settings, subject):
            verdict = Verdict.WARN
            grandfathered.add(finding.image)
        judged.append((finding, verdict))
    return decided(judged, grandfathered=frozenset(grandfathered))


def decided(judged: Sequence[tuple[ImageFinding, Verdict]], *, grandfathered: frozenset[str] = frozenset()) -> Decision:
    """The decision that follows when each image has its verdict."""
    if not judged:
        return Decision(Verdict.ALLOW, ImageFinding("", Finding.EXEMPT), ())
    worst, verdict = min(judged, key=lambda pair: (_VERDICT_RANK[pair[1]], _FINDING_RANK[pair[0].finding]))
    return Decision(verdict, worst, tuple(judged), grandfathered)


def _ran_before(finding: ImageFinding, settings: Settings, subject: Subject) -> bool:
    """What runs goes on running, whatever is found now: a drained node's replacement Pod is a CREATE."""
    return settings.grandfather and subject.owned_pod and finding.image in subject.runs_already
