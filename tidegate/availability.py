"""How `ImageAvailability` objects are named, and what they say about where an image runs. Pure.

One object stands for a registry (as the configuration spells it), a repository, and a digest, or a tag where there is
none; its name is a hash of these, so that whoever has a reference finds its object without an index.
"""

from collections.abc import Mapping
from hashlib import sha256

from tidegate.kube.own import ImageAvailability, ImageAvailabilitySpec
from tidegate.policy import NOTHING_RUNS, Runs
from tidegate.reference import DEFAULT_TAG, ImageReference


def spec_of(reference: ImageReference, image: str) -> ImageAvailabilitySpec:
    """Where there is a digest, the tag does not count, as on the node."""
    digest = reference.digest or ""
    tag = "" if digest else reference.tag or DEFAULT_TAG
    return ImageAvailabilitySpec(
        registry=reference.domain, repository=reference.path, digest=digest, tag=tag, image=image
    )


def name_of(spec: ImageAvailabilitySpec) -> str:
    """One for each registry, repository and digest (or tag)."""
    key = "\0".join((spec.registry, spec.repository, spec.digest or f":{spec.tag}"))
    return f"img-{sha256(key.encode()).hexdigest()[:52]}"


def where_they_run(
    images: Mapping[str, ImageReference], *, namespace: str, objects: Mapping[str, ImageAvailability]
) -> Runs:
    """`images`: string → reference, as the configuration spells its host; `objects` by name."""
    here, anywhere = set(), set()
    for image, reference in images.items():
        known = objects.get(name_of(spec_of(reference, image)))
        if known is None or not known.status.namespaces:
            continue
        anywhere.add(image)
        if any(use.name == namespace for use in known.status.namespaces):
            here.add(image)
    return Runs(frozenset(here), frozenset(anywhere)) if anywhere else NOTHING_RUNS
