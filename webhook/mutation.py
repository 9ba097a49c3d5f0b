"""`/mutate`: pins tags, holds Pods whose images are on their way, and tells `/validate` what was found out.

It refuses nothing, and a fault of it changes nothing: `/validate` judges whatever comes out. Asked again about what
it made of an object, it changes nothing more.
"""

from collections.abc import Iterable

from tidegate.decisions import ANNOTATION
from tidegate.findings import Finding, ImageFinding, Mode
from tidegate.kube.own import PRE_PULL_GATE, REPLICA_GATE
from tidegate.policy import Decision, decided
from tidegate.registry.errors import evidence
from tidegate.workload import MalformedObject, WorkloadView
from webhook import patch, texts
from webhook.judge import Judge, Standing
from webhook.pins import Pins, pins
from webhook.review import Response, Review
from webhook.subjects import is_born, object_of, subject_of
from webhook.warming import starts_warm


async def mutated(judge: Judge, review: Review, *, standing: Standing) -> tuple[Response, Decision]:
    """The answer with its patch, and what was decided (`exempt` where nothing was judged)."""
    nothing = decided(())
    try:
        seen = object_of(review, standing.rules.places)
    except MalformedObject:  # whose verdict is a refusal, or the API server's own
        seen = None
    if seen is None:
        return _answer(review, nothing), nothing
    subject = subject_of(seen, review)
    standing = judge.in_the_name_of(seen, review.namespace, standing)
    pinned = await pins(judge, seen, review, standing=standing, subject=subject)
    for image, error in pinned.failed.items():
        judge.causes[image] = f"{error.finding.value} on {error.replica or 'home'}: {error.detail}"
    operations = patch.pinned(seen, pinned.found)
    decision, gates = nothing, list[str]()
    if judge.holds and standing.mode is Mode.ENFORCE and is_born(seen, review):
        images = dict.fromkeys(pinned.found.get(use.image, use.image) for use in seen.images)
        sentence = await judge.at_birth(seen, images, standing=standing, subject=subject)
        decision = sentence.decision
        if sentence.held:
            gates.append(REPLICA_GATE)
        if sentence.learned is not None:
            asked = [finding.image for finding, _ in sentence.learned.judged]
            text = judge.claims.made(sentence.learned, subject=subject, images=images, asked=asked)
            if text is not None:
                operations += patch.annotated(seen, ANNOTATION, text)
    if judge.holds and _starts_warm(judge, seen, review):
        gates.append(PRE_PULL_GATE)
    operations += patch.gated(seen, gates)
    warnings = () if standing.mode is Mode.AUDIT else _warnings(pinned)
    return _answer(review, decision, operations=operations, warnings=warnings), decision


def unjudged(review: Review) -> Response:
    """No change."""
    return _answer(review, decided(()))


def _starts_warm(judge: Judge, seen: WorkloadView, review: Review) -> bool:
    pulls_any = any(judge.host(use.image) is not None for use in seen.images)
    return starts_warm(seen, review, labels=judge.labels(review.namespace), pulls_any=pulls_any)


def _answer(
    review: Review, decision: Decision, *, operations: Iterable[patch.Operation] = (), warnings: Iterable[str] = ()
) -> Response:
    encoded = patch.encoded(tuple(operations))
    return Response(
        uid=review.uid, allowed=True, warnings=tuple(warnings), patch=encoded,
        patch_type=None if encoded is None else "JSONPatch", audit_annotations=texts.annotations(decision),
    )  # fmt: skip


def _warnings(pinned: Pins) -> list[str]:
    """Why an image has no digest: the refusal that follows may come from a process that never asked."""
    return [
        texts.warning(
            ImageFinding(image, Finding.NOT_PINNED, detail=evidence(f"{error.finding.value}: {error.detail}"))
        )
        for image, error in list(pinned.failed.items())[: texts.MOST_WARNINGS]
    ]
