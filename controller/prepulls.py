"""The PrePulls that we keep for annotated workloads, and the status of every PrePull.

Only a PrePull that is owned by a workload and named after it is ever changed or deleted; one of that name that
somebody else made stays as it is, and is then what counts. A status is written when it differs, and at most once in
`STATUS_S` for one PrePull, however many nodes finish.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import structlog

from controller.derive import Derived, controller_of, is_derived
from controller.plan import Progress
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import AlreadyExists, Conflict, NotFound
from tidegate.kube.own import PrePull, PrePullStatus
from tidegate.kube.patch import difference
from tidegate.kube.resources import PREPULLS
from tidegate.kube.shapes import Condition, Metadata
from tidegate.kube.times import timestamp

log = structlog.get_logger()

STATUS_S = 1.0
READY = "Ready"
PROGRESSING = "Progressing"
_MOST_NAMED = 3


def status_of(prepull: PrePull, progress: Progress, *, now: str) -> PrePullStatus:
    """What the status should be; a condition's time moves only when its status does."""
    said = {READY: _ready(progress), PROGRESSING: _progressing(progress)}
    return PrePullStatus(
        observed_generation=prepull.metadata.generation,
        nodes=progress.nodes,
        ready=progress.ready,
        conditions=[
            *(c for c in prepull.status.conditions if c.type not in said),
            *(_condition(prepull, kind, words, now=now) for kind, words in said.items()),
        ],
    )


def _condition(prepull: PrePull, kind: str, words: tuple[str, str, str], *, now: str) -> Condition:
    status, reason, message = words
    before = next((c for c in prepull.status.conditions if c.type == kind), None)
    since = before.last_transition_time if before is not None and before.status == status else now
    return Condition(
        type=kind, status=status, reason=reason, message=message,
        observed_generation=prepull.metadata.generation, last_transition_time=since,
    )  # fmt: skip


def _progressing(progress: Progress) -> tuple[str, str, str]:
    """Whether there is anything left to do, status, reason and message."""
    left = progress.nodes - progress.ready
    if left > 0:
        return "True", "Pulling", f"{left} of {progress.nodes} nodes still lack images"
    return "False", "Complete", "no node lacks an image that can be pulled"


def _ready(progress: Progress) -> tuple[str, str, str]:
    """Status, reason and message of the condition."""
    if progress.refused:
        named = ", ".join(progress.refused[:_MOST_NAMED])
        more = f" and {len(progress.refused) - _MOST_NAMED} more" if len(progress.refused) > _MOST_NAMED else ""
        return "False", "NotListed", f"not of a registry in tidegate's configuration: {named}{more}"
    if progress.ready < progress.nodes:
        return "False", "Pulling", f"{progress.ready} of {progress.nodes} nodes have all images"
    if progress.nodes == 0:
        return "True", "NoNodes", "no node matches"
    return "True", "Present", f"all of {progress.nodes} nodes have all images"


class PrePulls:
    """Writes PrePulls. `observed`: the local copy of them, `wanted`: what workloads ask for, both by NAMESPACE/NAME."""

    def __init__(
        self,
        client: KubeClient,
        *,
        wanted: Mapping[str, Derived],
        observed: Mapping[str, PrePull],
        progress: Callable[[str], Progress | None],
        wall: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._observed = observed
        self._progress = progress
        self._wall = wall

    async def keep(self, key: str) -> None:
        """Make the PrePull of a workload what it should be: there, right, or gone. Raises KubeError."""
        wanted, observed = self._wanted.get(key), self._observed.get(key)
        if observed is None:
            if wanted is not None:
                await self._create(wanted)
            return
        if not is_derived(observed):
            if wanted is not None:
                log.warning("prepull.not_ours", prepull=key, workload=wanted.owner.name)
            return
        owner = controller_of(observed)
        if wanted is None or owner is None or owner.uid != wanted.owner.uid:
            await self._delete(observed)  # when it is gone, its deletion brings us here again
        elif observed.spec != wanted.spec and observed.metadata.deletion_timestamp is None:
            await self._update(observed, wanted)

    async def report(self, key: str) -> None:
        """Make the status of a PrePull what it should be. Raises KubeError."""
        observed, progress = self._observed.get(key), self._progress(key)
        if observed is None or progress is None:
            return
        status = status_of(observed, progress, now=timestamp(self._wall()))
        if status == observed.status:
            return
        patch = {"status": difference(observed.status, status) | {"nodes": status.nodes, "ready": status.ready}}
        metadata = observed.metadata
        with suppress(NotFound, Conflict):  # its next version is on its way, and brings us here again
            await self._client.merge_patch(
                PREPULLS, metadata.name, patch, namespace=metadata.namespace, subresource="status",
                resource_version=metadata.resource_version,
            )  # fmt: skip

    async def _create(self, wanted: Derived) -> None:
        metadata = Metadata(name=wanted.name, namespace=wanted.namespace, owner_references=[wanted.owner])
        with suppress(AlreadyExists):  # it is on its way to us
            await self._client.create(PREPULLS, PrePull(metadata=metadata, spec=wanted.spec))
            log.info("prepull.created", prepull=wanted.key, images=wanted.spec.images)

    async def _update(self, observed: PrePull, wanted: Derived) -> None:
        patch = {"spec": difference(observed.spec, wanted.spec)}
        with suppress(NotFound):
            await self._client.merge_patch(
                PREPULLS, wanted.name, patch, namespace=wanted.namespace,
                resource_version=observed.metadata.resource_version,
            )  # fmt: skip
            log.info("prepull.updated", prepull=wanted.key, images=wanted.spec.images)

    async def _delete(self, observed: PrePull) -> None:
        metadata = observed.metadata
        with suppress(NotFound):
            await self._client.delete(PREPULLS, metadata.name, namespace=metadata.namespace, uid=metadata.uid)
            log.info("prepull.deleted", prepull=f"{metadata.namespace}/{metadata.name}")
