"""Which image a string means, and what its object is called. Pure.

One for each registry (as it is listed, else normalised), repository and digest; where there is no digest, the tag.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tidegate.availability import name_of, spec_of
from tidegate.kube.own import ImageAvailabilitySpec
from tidegate.policy.listing import listed_as
from tidegate.reference import Digest, ImageReference, InvalidReference


@dataclass(frozen=True, slots=True)
class Image:
    """An image in use: `name` is its object's, `text` one string as a Pod writes it."""

    name: str
    text: str
    reference: ImageReference
    """Under the listed spelling of its host; a tag does not count beside a digest, as on the node."""

    @property
    def spec(self) -> ImageAvailabilitySpec:
        """The readable form of the name."""
        return spec_of(self.reference, self.text)


def image_of(text: str, hosts: Collection[str]) -> Image | None:
    """None for what is no reference. `hosts`: the listed registries."""
    try:
        reference = listed_as(ImageReference.parse(text), hosts)
    except InvalidReference:
        return None
    return Image(name_of(spec_of(reference, text)), text, reference)


def image_in(name: str, spec: ImageAvailabilitySpec) -> Image:
    """The image of an object that is there."""
    digest = Digest(spec.digest) if spec.digest else None
    reference = ImageReference(domain=spec.registry, path=spec.repository, tag=spec.tag or None, digest=digest)
    return Image(name, spec.image, reference)
