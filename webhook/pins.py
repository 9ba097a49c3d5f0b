"""Tags → digests: which images of an object are pinned, and to what.

Only where policy says `pin`, and never on what a controller made of something else: a ReplicaSet whose template has a
digest where its Deployment has the tag is not the Deployment's any more, and the next one is made, for ever.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.findings import Finding
from tidegate.policy import Subject, Tags
from tidegate.reference import Digest, ImageReference, InvalidReference
from tidegate.registry.errors import RegistryError
from tidegate.workload import MalformedObject, WorkloadView, view
from webhook.judge import Judge, Standing, bounded
from webhook.review import Review
from webhook.rules import Asking, Rules
from webhook.subjects import is_born, uses_to_judge


@dataclass(frozen=True, slots=True)
class Pins:
    """What became of the images that shall be pinned."""

    found: dict[str, str] = field(default_factory=dict)
    """Image string → the same with a digest behind it."""
    failed: dict[str, RegistryError] = field(default_factory=dict)


async def pins(judge: Judge, seen: WorkloadView, review: Review, *, standing: Standing, subject: Subject) -> Pins:
    """All images are resolved at once, each string once; an image that was there before stays as it is."""
    if standing.settings.tags is not Tags.PIN or review.sub_resource:
        return Pins()
    if seen.owner is not None and not is_born(seen, review):
        return Pins()
    wanted = _wanted(judge, seen, review, standing=standing, subject=subject)
    if not wanted:
        return Pins()
    until = bounded(standing.asked.deadline, standing.settings.patience_s)
    async with asyncio.TaskGroup() as tasks:
        resolving = {
            image: tasks.create_task(_resolved(standing.checker, reference, until))
            for image, reference in wanted.items()
        }
    before = _before(review, standing.rules)
    result = Pins()
    for image, task in resolving.items():
        digest = task.result()
        if isinstance(digest, RegistryError):
            kept = before.get((wanted[image].name, wanted[image].tag))
            if kept is None:
                result.failed[image] = digest
                continue
            digest = kept
        result.found[image] = f"{image}@{digest}"
    return result


def _wanted(
    judge: Judge, seen: WorkloadView, review: Review, *, standing: Standing, subject: Subject
) -> Mapping[str, ImageReference]:
    """Those that policy would call not pinned, of registries that can be asked: so what is exempt stays as it is."""
    fresh = dict.fromkeys(use.image for use in uses_to_judge(seen, review, standing.rules.places))
    found = judge.sift(fresh, fresh, standing=standing, subject=subject).known
    wanted = {}
    for image in (one.image for one in found if one.finding is Finding.NOT_PINNED):
        reference = judge.reference(image, standing.rules)
        if isinstance(reference, ImageReference) and reference.domain in standing.rules.hosts:
            wanted[image] = reference
    return wanted


async def _resolved(checker: Asking, reference: ImageReference, until: float) -> Digest | RegistryError:
    try:
        return await checker.resolve(reference, deadline=until)
    except RegistryError as exc:
        return exc


def _before(review: Review, rules: Rules) -> Mapping[tuple[str, str | None], Digest]:
    """What the old object has for a name and tag."""
    if review.old is None:
        return {}
    try:
        old = view(review.kind.group, review.kind.kind, review.old, rules.places)
    except MalformedObject:
        return {}
    found: dict[tuple[str, str | None], Digest] = {}
    for use in old.images if old is not None else ():
        try:
            reference = rules.listed_as(ImageReference.parse(use.image))
        except InvalidReference:
            continue
        if reference.digest is not None:
            found.setdefault((reference.name, reference.tag), reference.digest)
    return found
