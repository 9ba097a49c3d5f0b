"""One NodePull per Node: what its spec should be, and writing it when it is not.

A NodePull that belongs to an earlier Node of the same name is deleted and made anew; one whose Node is gone is left to
the garbage collector. Every write of a spec carries the version that it was made from, so that what another
controller wrote is never overwritten unseen.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from controller.granted import Cost, Granted
from controller.plan import Want
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound
from tidegate.kube.own import Grant, NodeImage, NodePull, NodePullSpec, Phase
from tidegate.kube.patch import difference
from tidegate.kube.resources import NODEPULLS, NODES
from tidegate.kube.shapes import Metadata, OwnerReference

log = structlog.get_logger()

MOST_IMAGES = 256
"""Images of one NodePull, as its CRD allows; the least urgent are left out."""
_CONFLICT_PAUSE_S = 0.02
_CONFLICT_TRIES = 5


def desired(
    node_uid: str, wants: Sequence[Want], live: Mapping[str, Granted], costs: Callable[[str], Cost | None]
) -> NodePullSpec:
    """What the spec should be. An image under a live grant stays in it, wanted or not: its agent is at it."""
    order = list(dict.fromkeys([want.image for want in wants] + list(live)))
    kept = set(sorted(order, key=lambda image: image not in live)[:MOST_IMAGES])
    return NodePullSpec(node_uid=node_uid, images=[_image(i, live.get(i), costs(i)) for i in order if i in kept])


def differs(observed: NodePull, spec: NodePullSpec) -> bool:
    """Whether the spec is worth a write: its images, their order, and their grants.

    Not worth one are a size alone, which matters only to who has a grant, and a grant that led to its image's being
    there, which nobody uses again.
    """
    return observed.spec.node_uid != spec.node_uid or _unspent(observed) != [_key(image, {}) for image in spec.images]


def _unspent(observed: NodePull) -> list[tuple[str, str]]:
    spent: dict[str, str] = {}
    if observed.status.node_uid == observed.spec.node_uid:
        spent = {entry.image: entry.grant for entry in observed.status.images if entry.phase is Phase.PRESENT}
    return [_key(image, spent) for image in observed.spec.images]


def _key(image: NodeImage, spent: Mapping[str, str]) -> tuple[str, str]:
    """An image and the grant that it is under."""
    grant = image.grant.id if image.grant is not None else ""
    return image.image, "" if spent.get(image.image) == grant else grant


class Wanted(Protocol):
    """Where the writer learns what should be, at the moment of writing."""

    def node_uid(self, name: str) -> str | None:
        """UID of the Node; None when there is none (any more)."""
        ...

    def desired(self, name: str) -> NodePullSpec:
        """What the spec of its NodePull should be."""
        ...


class NodePulls:
    """Writes NodePulls. `observed`: the local copy of them, by name."""

    def __init__(self, client: KubeClient, *, wanted: Wanted, observed: Mapping[str, NodePull]) -> None:
        self._client = client
        self._wanted = wanted
        self._observed = observed
        self._written: dict[str, NodePull] = {}
        """What we wrote and the local copy has not seen yet."""

    def seen(self, name: str) -> None:
        """The local copy of this NodePull has changed, so it is no older than what we wrote."""
        self._written.pop(name, None)

    async def write(self, name: str) -> None:
        """Make the NodePull of a node what it should be. Raises KubeError."""
        uid = self._wanted.node_uid(name)
        if uid is None:
            return
        for _ in range(_CONFLICT_TRIES):
            copy = self._observed.get(name)
            observed = self._written.get(name) or copy
            try:
                await self._once(name, uid, observed)
            except Conflict:
                self._written.pop(name, None)
                if self._observed.get(name) is copy:
                    await asyncio.sleep(_CONFLICT_PAUSE_S)  # the change that we lost against is on its way
            else:
                return
        message = f"NodePull {name}: somebody else keeps writing it"
        raise Conflict(message)

    async def _once(self, name: str, uid: str, observed: NodePull | None) -> None:
        if observed is None:
            await self._create(name, uid)
        elif not _is_of(observed, uid):
            log.info("nodepull.replaced", node=name)
            with suppress(NotFound):
                await self._client.delete(NODEPULLS, name, uid=observed.metadata.uid)
        elif differs(observed, spec := self._wanted.desired(name)):
            await self._patch(name, observed, spec)

    async def _create(self, name: str, uid: str) -> None:
        owner = OwnerReference(api_version=NODES.api_version, kind=NODES.kind, name=name, uid=uid)
        made = NodePull(metadata=Metadata(name=name, owner_references=[owner]), spec=self._wanted.desired(name))
        with suppress(AlreadyExists):  # then it is on its way to us
            self._remember(name, None, await self._client.create(NODEPULLS, made))

    async def _patch(self, name: str, observed: NodePull, spec: NodePullSpec) -> None:
        patch = {"spec": difference(observed.spec, spec)}
        version = observed.metadata.resource_version
        with suppress(NotFound):  # then that is on its way to us
            self._remember(
                name, observed, await self._client.merge_patch(NODEPULLS, name, patch, resource_version=version)
            )

    def _remember(self, name: str, before: NodePull | None, written: NodePull) -> None:
        """Unless the local copy has moved on meanwhile: then it has what we wrote."""
        if self._observed.get(name) is before or self._written.get(name) is before:
            self._written[name] = written


def _is_of(nodepull: NodePull, uid: str) -> bool:
    return nodepull.spec.node_uid == uid and any(o.uid == uid for o in nodepull.metadata.owner_references)


def _image(image: str, granted: Granted | None, cost: Cost | None) -> NodeImage:
    grant = None
    if granted is not None:
        grant = Grant(id=granted.id, expires_at=granted.expires_at, seconds=granted.seconds)
    return NodeImage(image=image, bytes=cost.bytes if cost is not None else 0, grant=grant)
