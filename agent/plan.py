"""Which image is pulled next, and what a status says. Pure.

- Without a grant nothing is pulled; a grant is used at most once, also over restarts of the agent.
- A grant whose time is over by the wall clock, or whose times make no sense, starts nothing.
- The grant that was seen first is used first.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, NodePullStatus, Phase, Reason, RegistryAddresses
from tidegate.reference import ImageReference, InvalidReference

MOST_SECONDS = 86_400.0
"""No pull takes longer than a day, whatever a grant says."""


class Queue:
    """The order in which grants were first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._count = 0

    def see(self, images: Iterable[NodeImage]) -> None:
        """Take note of what is granted now; what no longer is, is forgotten."""
        seen: dict[str, int] = {}
        for image in images:
            if image.grant is not None:
                self._count += 1
                seen[image.grant.id] = self._seen.get(image.grant.id, self._count)
        self._seen = seen

    def next(
        self,
        images: Sequence[NodeImage],
        *,
        answered: Mapping[str, str],
        running: Container[str],
        now: datetime,
    ) -> tuple[NodeImage, Grant] | None:
        """What to pull next. `answered`: the grant that each image's status answers; `running`: images being pulled."""
        ready = [
            (self._seen.get(image.grant.id, 0), position, image, image.grant)
            for position, image in enumerate(images)
            if image.grant is not None
            and image.image not in running
            and image.grant.id != answered.get(image.image)
            and is_usable(image.grant, now=now)
        ]
        if not ready:
            return None
        *_, image, grant = min(ready, key=lambda entry: entry[:2])
        return image, grant


def is_usable(grant: Grant, *, now: datetime) -> bool:
    """Whether a pull may be started under this grant."""
    if not math.isfinite(grant.seconds) or grant.seconds <= 0:
        return False
    try:
        return datetime.fromisoformat(grant.expires_at) > now
    except (ValueError, TypeError):  # not RFC 3339, or without an offset
        return False


def registry_of(image: str) -> str | None:
    """The registry that an image string names; None when it is no reference."""
    try:
        return ImageReference.parse(image).domain
    except InvalidReference:
        return None


def inherited(status: NodePullStatus, *, node_uid: str) -> dict[str, NodeImageStatus]:
    """What an agent before this one on this very node had to say: its grants are used up, its pulls are dead."""
    if status.node_uid != node_uid:
        return {}
    return {image.image: _after_restart(image) for image in status.images}


def _after_restart(image: NodeImageStatus) -> NodeImageStatus:
    if image.phase is not Phase.PULLING:
        return image
    return msgspec.structs.replace(
        image, phase=Phase.FAILED, reason=Reason.CANCELED, message="the agent was restarted during this pull"
    )


@dataclass(frozen=True, slots=True)
class About:
    """What the agent says of its node beside images."""

    addresses: tuple[RegistryAddresses, ...] = ()
    advice: tuple[str, ...] = ()


def summary(
    images: Sequence[NodeImageStatus],
    *,
    node_uid: str,
    agent: str,
    observed_generation: int,
    about: About = About(),
) -> NodePullStatus:
    """The whole status, in the order of the plan."""
    return NodePullStatus(
        node_uid=node_uid,
        agent=agent,
        observed_generation=observed_generation,
        wanted=len(images),
        present=sum(image.phase is Phase.PRESENT for image in images),
        pulling=next((image.image for image in images if image.phase is Phase.PULLING), ""),
        images=list(images),
        addresses=list(about.addresses),
        advice=list(about.advice),
    )


def agrees(there: NodePullStatus, ours: NodePullStatus) -> bool:
    """Whether a status that is there says what matters of ours; another one was written by somebody else."""
    return _gist(there) == _gist(ours)


def _gist(status: NodePullStatus) -> tuple[str, str, list[tuple[str, Phase, str]]]:
    return status.node_uid, status.agent, [(image.image, image.phase, image.grant) for image in status.images]


def as_patch(status: NodePullStatus) -> dict[str, Any]:
    """A merge patch that leaves nothing of an older status: scalars at their default are spelled out too."""
    body = {field: getattr(status, field) for field in NodePullStatus.__struct_fields__}
    names = dict(zip(NodePullStatus.__struct_fields__, NodePullStatus.__struct_encode_fields__, strict=True))
    patch = {names[field]: value for field, value in body.items()}
    patch["images"] = [{"phase": image.phase.value, **msgspec.to_builtins(image)} for image in status.images]
    patch["addresses"] = msgspec.to_builtins(status.addresses)
    return {"status": patch}
