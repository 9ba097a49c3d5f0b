"""From an image's root to the manifests that the nodes of some platforms would use, read from one replica.

Of an index each platform takes one child: the best entry that names a matching platform (the first of equals), else
the first whose config says so, where entries name none; nested indexes likewise (containerd's Manifest and
LimitManifests). A root that is a manifest already is every platform's: runtimes run it without looking at its config.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tidegate.completeness.manifests import (
    MANIFEST_LIMIT,
    Blob,
    Child,
    ImageManifest,
    Index,
    Unrunnable,
    distinct,
    parse,
    parse_config_platform,
)
from tidegate.completeness.platforms import Platform, acceptable, best
from tidegate.completeness.source import Served, Tally
from tidegate.reference import Digest, InvalidReference, parse_digest
from tidegate.registry.errors import Mismatch, NotFound, Unsupported

DEPTH_LIMIT = 4
"""Indexes on the way from the root to a manifest."""
MANIFESTS_LIMIT = 64
"""Manifests and indexes read for one image, and children of one index that its platforms could mean."""
_MANIFESTS_AT_ONCE = 4
"""Each may be `MANIFEST_LIMIT` bytes."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The manifest that a platform uses, and how many manifests led to it (itself included)."""

    manifest: ImageManifest
    manifests: int

    @property
    def fetched(self) -> dict[Digest, Blob]:
        """The blobs that a node downloads."""
        return distinct([blob for blob in self.manifest.blobs if blob.fetched])


@dataclass(frozen=True, slots=True)
class _Node:
    """Where the descent stands: `indexes` counts those above."""

    content: Index | ImageManifest
    indexes: int


class Tree:
    """Reads one image's manifests from one source, each at most once."""

    def __init__(self, source: Tally, repository: str) -> None:
        self._source = source
        self._repository = repository
        self._turn = asyncio.Semaphore(_MANIFESTS_AT_ONCE)
        self._reading: dict[Digest, asyncio.Task[Index | ImageManifest | None]] = {}
        self._read = 0
        self._configs: dict[Digest, Platform | None] = {}
        self._in_vain: set[tuple[Digest | None, Platform]] = set()
        """Children that lead to nothing for a platform: met again by other ways, they would cost exponential time."""
        self.missing: dict[Digest, int] = {}
        """Manifests below the root that the source has not, with the sizes their descriptors claim."""
        self.known: dict[Digest, bool] = {}
        """Blobs that had to be read on the way: whether the source has them."""

    async def root(self, reference: str) -> tuple[Digest, Index | ImageManifest]:
        """What a tag or digest stands for. Raises RegistryError, `NotFound` too."""
        self._count()
        served = await self._source.manifest(self._repository, reference)
        _is_what_was_asked(served, reference, self._source.name)
        return served.digest, self._runnable(parse(served.body, served.media_type))

    async def leaves(
        self, content: Index | ImageManifest, platforms: Sequence[Platform], tasks: asyncio.TaskGroup
    ) -> dict[Platform, Leaf]:
        """The leaf of each platform that has one. Raises RegistryError; what is not there is in `missing` instead."""
        return await self._descend(_Node(content, indexes=0), platforms, tasks)

    async def _descend(
        self, node: _Node, platforms: Sequence[Platform], tasks: asyncio.TaskGroup
    ) -> dict[Platform, Leaf]:
        if isinstance(node.content, ImageManifest):
            leaf = Leaf(node.content, manifests=node.indexes + 1)
            return dict.fromkeys(platforms, leaf)
        if node.indexes >= DEPTH_LIMIT:
            self._refuse(f"indexes nested more than {DEPTH_LIMIT} deep")
        children = self._candidates(node.content, platforms)
        found: dict[Platform, Leaf] = {}
        declared = [child.platform for child in children]
        chosen: dict[int, list[Platform]] = {}
        for platform in platforms:
            if (position := best(declared, platform)) is not None:
                chosen.setdefault(position, []).append(platform)
        branches = [
            tasks.create_task(self._below(node, children[position], wanting, tasks))
            for position, wanting in chosen.items()
        ]
        for branch in branches:
            found |= await branch
        undecided = [p for p in platforms if not any(p in wanting for wanting in chosen.values())]
        for child in children:
            if child.platform is None and undecided:
                found |= await self._undeclared(node, child, undecided, tasks)
                undecided = [platform for platform in undecided if platform not in found]
        return found

    async def _below(
        self, node: _Node, child: Child, platforms: Sequence[Platform], tasks: asyncio.TaskGroup
    ) -> dict[Platform, Leaf]:
        content = await self._fetch(child, tasks)
        if content is None:
            return {}
        return await self._descend(_Node(content, node.indexes + 1), platforms, tasks)

    async def _undeclared(
        self, node: _Node, child: Child, platforms: Sequence[Platform], tasks: asyncio.TaskGroup
    ) -> dict[Platform, Leaf]:
        """A child whose entry names no platform, for platforms that have not met it in vain before."""
        seeking = [platform for platform in platforms if (child.digest, platform) not in self._in_vain]
        content = await self._fetch(child, tasks) if seeking else None
        found: dict[Platform, Leaf] = {}
        if isinstance(content, ImageManifest):
            fitting = await self._fitting(content.config, seeking)
            found = dict.fromkeys(fitting, Leaf(content, manifests=node.indexes + 2))
        elif content is not None:
            found = await self._descend(_Node(content, node.indexes + 1), seeking, tasks)
        self._in_vain.update((child.digest, platform) for platform in seeking if platform not in found)
        return found

    async def _fitting(self, config: Blob, platforms: Sequence[Platform]) -> list[Platform]:
        """The platforms that take an image of this config: all, where it is not there, as then it is missing."""
        if config.digest not in self._configs:
            self._configs[config.digest] = await self._config_platform(config)
        if self.known.get(config.digest) is False:
            return list(platforms)
        actual = self._configs[config.digest]
        return [platform for platform in platforms if actual in acceptable(platform)]

    async def _config_platform(self, config: Blob) -> Platform | None:
        content = config.inline
        if content is None and config.required:
            try:
                content = await self._source.blob(self._repository, config.digest, most=MANIFEST_LIMIT)
            except NotFound:
                self.known[config.digest] = False
                return None
            self.known[config.digest] = True
        return parse_config_platform(content or b"{}")

    async def _fetch(self, child: Child, tasks: asyncio.TaskGroup) -> Index | ImageManifest | None:
        if child.digest is None:
            self._refuse("the index names a child by a digest that no runtime takes")
        if child.digest not in self._reading:
            self._reading[child.digest] = tasks.create_task(self._get(child, child.digest))
        return await self._reading[child.digest]

    async def _get(self, child: Child, digest: Digest) -> Index | ImageManifest | None:
        self._count()
        async with self._turn:
            try:
                served = await self._source.manifest(self._repository, digest)
            except NotFound:
                self.missing[digest] = child.size
                return None
            _is_what_was_asked(served, digest, self._source.name)
            return self._runnable(parse(served.body, child.media_type))

    def _candidates(self, index: Index, platforms: Sequence[Platform]) -> list[Child]:
        wanted = {accepted for platform in platforms for accepted in acceptable(platform)}
        children = [child for child in index.children if child.platform is None or child.platform in wanted]
        if len(children) > MANIFESTS_LIMIT:
            self._refuse(f"more than {MANIFESTS_LIMIT} children for these platforms in one index")
        return children

    def _count(self) -> None:
        self._read += 1
        if self._read > MANIFESTS_LIMIT:
            self._refuse(f"more than {MANIFESTS_LIMIT} manifests")

    def _runnable(self, parsed: Index | ImageManifest | Unrunnable) -> Index | ImageManifest:
        if isinstance(parsed, Unrunnable):
            self._refuse(parsed.reason)
        return parsed

    def _refuse(self, reason: str) -> NoReturn:
        raise Unsupported(reason, replica=self._source.name)


def blobs_of(leaves: Mapping[Platform, Leaf]) -> dict[Digest, Blob]:
    """Every distinct blob that the leaves name, needed or not."""
    return distinct([blob for leaf in leaves.values() for blob in leaf.manifest.blobs])


def _is_what_was_asked(served: Served, reference: str, replica: str) -> None:
    """A source hashes what it reads; this holds those to it that only say so."""
    try:
        asked = parse_digest(reference)
    except InvalidReference:
        return  # a tag
    if served.digest != asked:
        message = f"asked for {asked}, served {served.digest}"
        raise Mismatch(message, replica=replica)
