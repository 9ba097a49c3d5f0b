"""Whether one replica holds a whole image: its manifests for the given platforms, their configs and layers.

A manifest alone proves nothing, and neither does one blob: everything is asked for, in parallel, each thing once. The
first proof of absence ends the walk where no count is wanted; with `count` all that is missing is counted. Proof once
found stands: a failure after it does not turn `incomplete` into `unreachable`. Caps and needs are those of `tree` and
`manifests`, and 256 distinct blobs.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tidegate.completeness.manifests import Blob
from tidegate.completeness.platforms import parse_platform
from tidegate.completeness.source import Source, Tally
from tidegate.completeness.tree import Leaf, Tree, blobs_of
from tidegate.findings import FAILURES, FINDINGS_WORST_FIRST, NOTHING_MISSING, Finding, Missing
from tidegate.reference import Digest
from tidegate.registry.errors import NotFound, RegistryError, Throttled, Unsupported, evidence

BLOBS_LIMIT = 256
LACKING_LIMIT = 10
"""Missing digests that are named; all are counted."""
_BLOBS_AT_ONCE = 16
"""Of one walk; the replica's own limits bound all walks together."""


@dataclass(frozen=True, slots=True)
class PullCost:
    """What one pull costs a registry, for a node that has nothing of the image yet."""

    requests: int
    """A HEAD of the root, a GET of each manifest on the way, and of each blob that the manifest does not carry."""
    bytes: int
    """Compressed bytes of config and layers."""
    blobs: frozenset[Digest] = frozenset()
    """Config and layers that take a request each."""
    platforms: frozenset[str] = field(default=frozenset(), compare=False)
    """Of those that were asked about, the ones that the image is for, normalised. What is paid is the same."""


NO_COST = PullCost(0, 0)


@dataclass(frozen=True, slots=True)
class Presence:
    """What one walk found out."""

    finding: Finding
    digest: Digest | None = None
    """Of the root; None where not even that was learned."""
    missing: Missing = NOTHING_MISSING
    detail: str = ""
    requests: int = 0
    cost: PullCost = NO_COST
    """Of the dearest platform."""
    retry_after_s: float | None = None
    lacking: tuple[str, ...] = ()
    """Digests of what is missing, the first `LACKING_LIMIT` in their own order."""


async def walk(source: Source, repository: str, reference: str, *, platforms: Sequence[str], count: bool) -> Presence:
    """Raises nothing of the registry's; unbounded in time, so bound it from outside."""
    return await _Walk(source, repository, count=count).run(reference, platforms)


async def measure(source: Source, repository: str, reference: str, *, platforms: Sequence[str]) -> PullCost:
    """The cost of a pull, from the manifests alone. Raises RegistryError, also where a manifest is not there."""
    measured = _Walk(source, repository, count=False)
    failed: RegistryError | None = None
    try:
        await measured.leaves(reference, platforms)
    except* RegistryError as group:
        failed = _worst(group)
    if failed is not None:  # raised out here: Python before 3.11.4 wraps what an except* block raises in a group
        raise failed
    if measured.tree.missing:
        message = f"the manifest {next(iter(measured.tree.missing))} of the image is not there"
        raise NotFound(message, replica=source.name)
    return measured.cost


class _Proven(Exception):
    pass


class _Walk:
    def __init__(self, source: Source, repository: str, *, count: bool) -> None:
        self._source = Tally(source)
        self._repository = repository
        self._count = count
        self.tree = Tree(self._source, repository)
        self._digest: Digest | None = None
        self._needed: dict[Digest, Blob] = {}
        self._absent: dict[Digest, int] = {}
        self.cost = NO_COST

    async def run(self, reference: str, platforms: Sequence[str]) -> Presence:
        failed: RegistryError | None = None
        try:
            await self._look(reference, platforms)
        except* _Proven:
            pass
        except* RegistryError as group:
            failed = _worst(group)
        return self._found() if failed is None else self._failed(failed)

    async def leaves(self, reference: str, platforms: Sequence[str]) -> None:
        """Find out what is needed, and what it costs. Raises groups of RegistryError."""
        wanted = list(dict.fromkeys(map(parse_platform, platforms)))
        async with asyncio.TaskGroup() as tasks:
            self._digest, root = await self.tree.root(reference)
            found = await self.tree.leaves(root, wanted, tasks)
        if not found and not self.tree.missing:
            self._refuse(f"it has no manifest for {', '.join(map(str, wanted))}")
        blobs = blobs_of(found)
        if len(blobs) > BLOBS_LIMIT:
            self._refuse(f"more than {BLOBS_LIMIT} blobs")
        self._needed = {digest: blob for digest, blob in blobs.items() if blob.required}
        leaves = list(dict.fromkeys(found.values()))
        self.cost = replace(_dearest(leaves), platforms=frozenset(map(str, found)))

    async def _look(self, reference: str, platforms: Sequence[str]) -> None:
        await self.leaves(reference, platforms)
        self._absent.update({d: blob.size for d, blob in self._needed.items() if self.tree.known.get(d) is False})
        if not self._count and (self.tree.missing or self._absent):
            return
        unknown = [blob for digest, blob in self._needed.items() if digest not in self.tree.known]
        queue = iter(unknown)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_BLOBS_AT_ONCE, len(unknown))):
                tasks.create_task(self._ask(queue))

    async def _ask(self, queue: Iterable[Blob]) -> None:
        """One of several that share a queue."""
        for blob in queue:
            if not await self._source.has_blob(self._repository, blob.digest):
                self._absent[blob.digest] = blob.size
                if not self._count:
                    raise _Proven

    def _found(self) -> Presence:
        missing = Missing(
            manifests=len(self.tree.missing),
            blobs=len(self._absent),
            bytes=sum(self.tree.missing.values()) + sum(self._absent.values()),
            of_blobs=len(self._needed),
        )
        lacking = [*self.tree.missing, *self._absent]
        return Presence(
            Finding.INCOMPLETE if lacking else Finding.OK,
            digest=self._digest,
            missing=missing,
            detail=_lacks(lacking),
            requests=self._source.requests,
            cost=self.cost,
            lacking=tuple(sorted(lacking)[:LACKING_LIMIT]),
        )

    def _failed(self, exc: RegistryError) -> Presence:
        if exc.finding in FAILURES and (self.tree.missing or self._absent):
            return self._found()
        return Presence(
            exc.finding,
            digest=self._digest,
            missing=Missing(manifests=1) if exc.finding is Finding.ABSENT else NOTHING_MISSING,
            detail=exc.detail,
            requests=self._source.requests,
            cost=self.cost,
            retry_after_s=exc.retry_after_s if isinstance(exc, Throttled) else None,
        )

    def _refuse(self, reason: str) -> NoReturn:
        raise Unsupported(reason, replica=self._source.name)


def _worst(group: BaseExceptionGroup[RegistryError]) -> RegistryError:
    """Of errors at the same moment the one that says most, so that answers do not depend on their order."""
    flat: list[RegistryError] = []
    for exc in group.exceptions:
        flat.extend(_flat(exc))
    return min(flat, key=lambda exc: FINDINGS_WORST_FIRST.index(exc.finding))


def _flat(exc: RegistryError | BaseExceptionGroup[RegistryError]) -> list[RegistryError]:
    if isinstance(exc, BaseExceptionGroup):
        return [inner for part in exc.exceptions for inner in _flat(part)]
    return [exc]


def _dearest(leaves: Iterable[Leaf]) -> PullCost:
    costs = []
    for leaf in leaves:
        fetched = leaf.fetched
        size = sum(blob.size for blob in fetched.values())
        costs.append(PullCost(1 + leaf.manifests + len(fetched), size, frozenset(fetched)))
    return max(costs, key=lambda cost: (cost.bytes, cost.requests), default=NO_COST)


def _lacks(digests: Sequence[Digest]) -> str:
    if not digests:
        return ""
    rest = f" and {len(digests) - 1} more" if len(digests) > 1 else ""
    return evidence(f"lacks {digests[0]}{rest}")
