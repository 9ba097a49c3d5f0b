"""What is true of an object's images, and what policy says: the part that `/mutate` and `/validate` share.

The hot path asks nobody and waits for nothing: where all images are remembered, it is gone through without one await.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from cachetools import TTLCache

from tidegate.findings import Finding, ImageFinding, Mode, Verdict
from tidegate.kube.own import REPLICA_GATE
from tidegate.policy import (
    EFFECTIVE_MODE_LABEL,
    NAME_LABEL,
    REFUSING,
    Decision,
    Holding,
    Runs,
    Settings,
    Subject,
    Tags,
    breaks_glass,
    decide,
    decided,
    mode_of,
    static_finding,
)
from tidegate.pull_secrets import wearer_of
from tidegate.reference import ImageReference, InvalidReference, try_parse
from tidegate.workload import WorkloadView
from webhook.claims import Claims
from webhook.review import Review
from webhook.rules import Asked, Asking, Namespaces, Rules, Running, Tenants
from webhook.subjects import is_born

HOLDING_PATIENCE_S = 1.0
"""How long a review waits for a registry where the controller goes on asking."""
NAMESPACE_PATIENCE_S = 0.25
"""How long a review waits for the watch to tell of a namespace that nobody has heard of."""
_REMEMBERED_REFERENCES = 8192
_LONGEST_REMEMBERED = 512
"""Characters: an author may write megabytes, and memory is for what is likely to come again."""
_REMEMBERED_CAUSES = 1024
_CAUSE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """By what a review is judged."""

    rules: Rules
    settings: Settings
    mode: Mode
    asked: Asked
    checker: Asking
    """In whose name replicas are asked."""


@dataclass(frozen=True, slots=True)
class Sifted:
    """Images by what it takes to know about them."""

    known: list[ImageFinding]
    """From the text and policy alone, or as the old object had them."""
    asking: dict[str, ImageReference]
    """Those that a replica has to be asked about."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A decision, and how it came about."""

    decision: Decision
    learned: Decision | None = None
    """About the images that had to be asked about, where that was done here and now."""
    held: bool = False
    """The verdict is `hold`, and somebody is there who holds and releases."""


class Judge:
    """Judges by the rules that are in force when a review comes. `holds`: a controller releases what is held."""

    def __init__(
        self, rules: Rules, *, namespaces: Namespaces, running: Running, claims: Claims, holds: bool, tenants: Tenants
    ) -> None:
        self.rules = rules
        """Replaced as a whole when the configuration changes."""
        self.holds = holds
        self.claims = claims
        self._namespaces = namespaces
        self._running = running
        self._tenants = tenants
        self._remembered = lru_cache(_REMEMBERED_REFERENCES)(try_parse)
        self.causes: TTLCache[str, str] = TTLCache(_REMEMBERED_CAUSES, ttl=_CAUSE_S)
        """Why an image could not be pinned a moment ago: without it the refusal would only say that it is not."""

    async def acquainted(self, namespace: str, asked: Asked) -> Standing:
        """As `standing`; a namespace that was made just now is waited for."""
        if not self._namespaces.knows(namespace):
            await self._namespaces.appear(namespace, until=bounded(asked.deadline, NAMESPACE_PATIENCE_S))
        return self.standing(namespace, asked)

    def standing(self, namespace: str, asked: Asked) -> Standing:
        """The path fixes the mode where the API server chose it by a label, and no glass is broken: that may lag."""
        rules = self.rules
        known = self._namespaces.labels(namespace)
        labels = {**known, NAME_LABEL: namespace}
        settings = rules.policy.settings_for(labels)
        mode = asked.mode
        if mode is None or breaks_glass(labels) or (NAME_LABEL in known and EFFECTIVE_MODE_LABEL not in known):
            mode = mode_of(labels, settings)
        return Standing(rules=rules, settings=settings, mode=mode, asked=asked, checker=rules.checker)

    def labels(self, namespace: str) -> Mapping[str, str]:
        """Of a namespace, as far as it is known."""
        return self._namespaces.labels(namespace)

    def in_the_name_of(self, seen: WorkloadView, namespace: str, standing: Standing) -> Standing:
        """Where the object's own pull secrets count, it is told only what they, or the configured ones, may read."""
        rules = standing.rules
        if namespace not in rules.pull_secret_namespaces:
            return standing
        tenant = self._tenants.tenant(wearer_of(seen, namespace))
        return replace(standing, checker=rules.checker.asked_by(tenant))

    def reference(self, image: str, rules: Rules) -> ImageReference | InvalidReference:
        """Parsed, and as the configuration spells its host."""
        known = self._remembered(image) if len(image) <= _LONGEST_REMEMBERED else try_parse(image)
        return rules.listed_as(known) if isinstance(known, ImageReference) else known

    def host(self, image: str) -> str | None:
        """The listed host of an image that was judged; None for all others."""
        known = self._remembered(image) if len(image) <= _LONGEST_REMEMBERED else None
        domain = self.rules.listed_as(known).domain if isinstance(known, ImageReference) else ""
        return domain if domain in self.rules.hosts else None

    def since(self, decision: Decision) -> datetime | None:
        """When the worst finding became what it is; asked of nobody, and only for what may be refused."""
        worst = decision.worst
        if decision.verdict not in REFUSING or not worst.replica:
            return None
        reference = self.reference(worst.image, self.rules)
        return self._running.since(worst, reference) if isinstance(reference, ImageReference) else None

    def sift(self, images: Iterable[str], fresh: Collection[str], *, standing: Standing, subject: Subject) -> Sifted:
        """`fresh`: those that are new; the others are `unchanged`."""
        rules, settings = standing.rules, standing.settings
        sifted = Sifted([], {})
        for image in images:
            if image not in fresh:
                sifted.known.append(ImageFinding(image, Finding.UNCHANGED))
                continue
            reference = self.reference(image, rules)
            finding = static_finding(
                image, reference, policy=rules.policy, settings=settings, subject=subject, listed=rules.hosts
            )
            if finding is not None:
                sifted.known.append(self._with_cause(finding, settings))
            elif isinstance(reference, ImageReference):
                sifted.asking[image] = reference
        return sifted

    async def validate(
        self, seen: WorkloadView, review: Review, images: Collection[str], *, fresh: Collection[str],
        standing: Standing, subject: Subject,
    ) -> Sentence:  # fmt: skip
        """A decision that the Pod carries is taken, a held Pod needs none, and everything else is found out."""
        standing = _for(seen, standing)
        sifted = self.sift(images, fresh, standing=standing, subject=subject)
        known = self._decide(sifted.known, standing=standing, subject=subject)
        born = is_born(seen, review)
        gated = born and self.holds and REPLICA_GATE in seen.scheduling_gates
        if not sifted.asking:
            return Sentence(known)
        if born and (taken := self._taken(seen, images, sifted, known=known, subject=subject)) is not None:
            return _held(taken, known) if gated else taken
        if gated:
            decision = _together(known, _waiting(standing.checker, sifted.asking))
            return _held(Sentence(decision), known)
        sentence = await self._found_out(sifted, known=known, standing=standing, subject=subject)
        return _held(sentence, known) if self.holds and not seen.is_pod else sentence

    async def at_birth(
        self, seen: WorkloadView, images: Collection[str], *, standing: Standing, subject: Subject
    ) -> Sentence:
        """For `/mutate`: what the Pod, with these images, shall be admitted by; being gated already excuses nothing."""
        sifted = self.sift(images, images, standing=standing, subject=subject)
        known = self._decide(sifted.known, standing=standing, subject=subject)
        if not sifted.asking:
            return Sentence(known)
        taken = self._taken(seen, images, sifted, known=known, subject=subject)
        sentence = taken or await self._found_out(sifted, known=known, standing=standing, subject=subject)
        return _held(sentence, known) if subject.holding is Holding.POSSIBLE else sentence

    def _taken(
        self, seen: WorkloadView, images: Collection[str], sifted: Sifted, *, known: Decision, subject: Subject
    ) -> Sentence | None:
        claim = self.claims.accepted(seen, subject=subject, images=images, asked=sifted.asking)
        if claim is None or claim.worst.image not in sifted.asking:
            return None
        ran = frozenset((claim.worst.image,)) if claim.grandfathered else frozenset[str]()
        return Sentence(_together(known, decided([(claim.worst, claim.verdict)], grandfathered=ran)))

    async def _found_out(self, sifted: Sifted, *, known: Decision, standing: Standing, subject: Subject) -> Sentence:
        checker = standing.checker
        findings: list[ImageFinding] = []
        unknown: list[tuple[str, ImageReference]] = []
        for image, reference in sifted.asking.items():
            finding = checker.recall(image, reference)
            if finding is None:
                unknown.append((image, reference))
            else:
                findings.append(finding)
        if unknown:
            findings.extend(await _check(checker, unknown, self._until(standing, subject)))
        learned = self._decide(findings, standing=standing, subject=subject)
        return Sentence(_together(known, learned), learned)

    def _decide(self, findings: Iterable[ImageFinding], *, standing: Standing, subject: Subject) -> Decision:
        def running(images: Sequence[str]) -> Runs:
            references = {image: self.reference(image, standing.rules) for image in images}
            parsed = {image: one for image, one in references.items() if isinstance(one, ImageReference)}
            return self._running.runs(parsed, namespace=subject.namespace)

        return decide(findings, settings=standing.settings, subject=subject, running=running)

    def _until(self, standing: Standing, subject: Subject) -> float:
        patience = standing.settings.patience_s
        if patience is None and self.holds and subject.holding is Holding.POSSIBLE:
            patience = HOLDING_PATIENCE_S
        return bounded(standing.asked.deadline, patience)

    def _with_cause(self, finding: ImageFinding, settings: Settings) -> ImageFinding:
        if finding.finding is not Finding.NOT_PINNED or settings.tags is not Tags.PIN:
            return finding
        cause = self.causes.get(finding.image)
        return finding if cause is None else replace(finding, detail=cause)


def bounded(deadline: float, patience_s: float | None) -> float:
    """The loop's time until which a registry may be waited for."""
    if patience_s is None:
        return deadline
    return min(deadline, asyncio.get_running_loop().time() + patience_s)


def _for(seen: WorkloadView, standing: Standing) -> Standing:
    """Where tags are pinned, what a controller made keeps its tag, and its Pods are pinned: there it is no fault."""
    if standing.settings.tags is not Tags.PIN or seen.owner is None or seen.is_pod:
        return standing
    return replace(standing, settings=replace(standing.settings, tags=Tags.ALLOW))


def _held(sentence: Sentence, known: Decision) -> Sentence:
    """`hold` as the verdict of what the text alone shows refuses: nothing that arrives would ever change it."""
    if sentence.decision.verdict is not Verdict.HOLD or known.verdict is Verdict.HOLD:
        return sentence
    return replace(sentence, held=True)


def _together(one: Decision, other: Decision) -> Decision:
    """About all the images of both; either may be about none."""
    if not one.judged or not other.judged:
        return one if one.judged else other
    return decided((*one.judged, *other.judged), grandfathered=one.grandfathered | other.grandfathered)


def _waiting(checker: Asking, asking: Mapping[str, ImageReference]) -> Decision:
    """Of a held Pod: whoever opens its gate takes the whole verdict again."""
    judged = []
    for image, reference in asking.items():
        known = checker.recall(image, reference)
        finding = known or ImageFinding(image, Finding.DEADLINE, detail="held; the controller goes on asking")
        judged.append((finding, Verdict.ALLOW if finding.finding is Finding.OK else Verdict.HOLD))
    return decided(judged)


async def _check(checker: Asking, unknown: Sequence[tuple[str, ImageReference]], deadline: float) -> list[ImageFinding]:
    """All at once; the checker keeps the deadline, and shares what is already being asked."""
    if len(unknown) == 1:
        [(image, reference)] = unknown
        return [await checker.check(image, reference, deadline=deadline)]
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(checker.check(i, r, deadline=deadline)) for i, r in unknown]
    return [task.result() for task in asking]
