"""What is true of an image on the replicas that count, within a deadline.

- By digest: complete on every local replica is `ok`; what one of them proves not to have whole decides, whatever
  others say. Only where a local replica cannot be asked are the failovers, in order, and the first that answers
  decides. A replica that stays silent for half of the time gives way to the failovers; one that is merely slow does
  not, as its word is worth more than theirs.
- By tag and digest, the digest counts and the tag is never looked at, as on the node.
- By tag alone: home says what it stands for, and each local replica must say the same and hold it. One whose tag
  points elsewhere lags (`absent`) if home has that too; if home has not, it rewrites (`mismatch`).
- A `tenant` (a namespace's object with its pull secrets) counts where `auth` lets it: it is told only what one of its
  credentials, or a configured one, may read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from tidegate.completeness.looks import Looks
from tidegate.completeness.memory import ImageKey, Memory, PresenceKey
from tidegate.completeness.walk import Presence, PullCost
from tidegate.findings import FAILURES, FINDINGS_WORST_FIRST, Finding, ImageFinding, ReplicaFinding
from tidegate.metrics import Metrics
from tidegate.reference import DEFAULT_TAG, Digest, ImageReference
from tidegate.registry.auth.tenants import NOBODY, Asker, Tenant
from tidegate.registry.errors import (
    Mismatch,
    NotFound,
    RegistryError,
    Throttled,
    Unauthorized,
    Unreachable,
    Unsupported,
    evidence,
)
from tidegate.replicas.registries import RegistryReplicas
from tidegate.replicas.replica import Replica

Ask = Callable[[Replica, float], Awaitable[ReplicaFinding]]
"""A question to one replica, with the loop's time by which it must be answered."""


class Checker:
    """One per process: its memory and what it has in flight are what makes a thousand reviews cost one walk."""

    def __init__(
        self,
        registries: Mapping[str, RegistryReplicas],
        *,
        platforms: Sequence[str],
        metrics: Metrics,
        memory: Memory | None = None,
    ) -> None:
        self.registries = registries
        """By host."""
        self._looks = Looks(memory=memory or Memory(), platforms=platforms)
        self._memory = self._looks.memory
        for host in registries:  # from the start at zero, so that a first finding shows as an increase
            for finding in Finding:
                metrics.findings.labels(host, finding.value)

    async def aclose(self) -> None:
        """Cancels what is in flight."""
        await self._looks.aclose()

    def recall(self, image: str, reference: ImageReference, *, tenant: Tenant = NOBODY) -> ImageFinding | None:
        """The answer if memory alone has it, else None. Asks nobody; takes microseconds."""
        registry = self.registries.get(reference.domain)
        if registry is None:
            return _unlisted(image, reference)
        digest = reference.digest or self._agreed(registry, reference)
        if digest is None or (registry.pull_secrets and not _may_be_told(registry, reference.path, tenant)):
            return None
        known = [self._looks.recall(registry.host, r.name, reference.path, digest) for r in registry.local]
        answers = [answer for answer in known if answer is not None]
        if (worst := _proven(answers)) is not None:
            return _image_finding(image, digest, worst, answers)
        return _image_finding(image, digest, answers[0], answers) if len(answers) == len(known) else None

    def believe(self, key: PresenceKey) -> None:
        """Take in that an image is whole on a replica that may be asked about it, as somebody else found out."""
        host, name, _, digest = key
        registry = self.registries.get(host)
        if registry is not None and any(one.name == name for one in (*registry.local, *registry.failover)):
            self._memory.learn(key, Presence(Finding.OK, Digest(digest)))

    def doubt(self, key: PresenceKey) -> None:
        """Nobody says so any more: ask at the next occasion."""
        self._memory.forget(key)

    def believe_outcome(self, image: ImageKey, said: Mapping[str, Finding]) -> None:
        """Take in what the replicas, by name, said together: whole on all that count, or not on one of them."""
        if (registry := self.registries.get(image[0])) is None:
            return
        together = [said.get(replica.name, Finding.DEADLINE) for replica in registry.local]
        against = [finding for finding in together if finding is not Finding.OK]
        proof = [finding for finding in against if finding not in FAILURES]
        if proof or not against:
            self._memory.learn_outcome(image, proof[0] if proof else Finding.OK)

    async def check(
        self, image: str, reference: ImageReference, *, deadline: float, tags_resolve: bool = True,
        tenant: Tenant = NOBODY,
    ) -> ImageFinding:  # fmt: skip
        """`deadline` in the loop's time, never overrun. Raises nothing of a registry's.

        Without `tags_resolve` a reference without digest is `not-pinned`, and nobody is asked.
        """
        registry = self.registries.get(reference.domain)
        if registry is None:
            return _unlisted(image, reference)
        asker = registry.asker(tenant, reference.path)
        if reference.digest is not None:
            return await self._by_digest(image, registry, reference.path, reference.digest, until=deadline, asker=asker)
        if not tags_resolve:
            return ImageFinding(image, Finding.NOT_PINNED)
        return await self._by_tag(image, registry, reference, until=deadline, asker=asker)

    async def ask(self, replica: Replica, repository: str, digest: Digest, *, deadline: float) -> ReplicaFinding:
        """What one replica says, whatever it is for, to the configured credentials."""
        registry = self.registries.get(replica.registry)
        asker = None if registry is None else registry.asker(NOBODY, repository)
        return await self._looks.whole(replica, repository, digest, until=deadline, asker=asker)

    async def survey(
        self, reference: ImageReference, replicas: Sequence[Replica], *, deadline: float, fresh: bool = False
    ) -> Sequence[ReplicaFinding]:
        """What each of these replicas of one registry says for itself; `fresh`: whatever is remembered.

        A tag that home cannot resolve says nothing about the others: the answer is then home's alone.
        """
        registry = self._registry(reference)
        asker = registry.asker(NOBODY, reference.path)
        if (digest := reference.digest) is not None:

            async def whole(replica: Replica) -> ReplicaFinding:
                return await self._looks.whole(
                    replica, reference.path, digest, until=deadline, asker=asker, fresh=fresh
                )

            return await _all(replicas, whole)
        tag = reference.tag or DEFAULT_TAG
        meant = await self._looks.named(registry.home, reference.path, tag, until=deadline, asker=asker)
        if isinstance(meant, ReplicaFinding):
            return [meant]

        async def same_and_whole(replica: Replica) -> ReplicaFinding:
            return await self._same_and_whole(
                registry, reference, meant, replica, until=deadline, asker=asker, fresh=fresh
            )

        return await _all(replicas, same_and_whole)

    async def resolve(self, reference: ImageReference, *, deadline: float, tenant: Tenant = NOBODY) -> Digest:
        """What a tag stands for at home (a digest stands for itself). Raises RegistryError."""
        if reference.digest is not None:
            return reference.digest
        registry = self._registry(reference)
        path, tag, asker = reference.path, reference.tag or DEFAULT_TAG, registry.asker(tenant, reference.path)
        named = await self._looks.named(registry.home, path, tag, until=deadline, asker=asker)
        if isinstance(named, ReplicaFinding):
            raise _error(named)
        return named

    def asked_by(self, tenant: Tenant) -> "TenantChecker":
        """The same checker for one tenant's questions."""
        return TenantChecker(self, tenant)

    async def pull_cost(self, reference: ImageReference, *, deadline: float, tenant: Tenant = NOBODY) -> PullCost:
        """What a pull from the local replica costs, from its manifests. Raises RegistryError."""
        registry = self._registry(reference)
        digest = await self.resolve(reference, deadline=deadline, tenant=tenant)
        asker = registry.asker(tenant, reference.path)
        failures: list[ReplicaFinding] = []
        for replica in (registry.local[0], *registry.failover):
            answer = await self._looks.cost(replica, reference.path, digest, until=deadline, asker=asker)
            if isinstance(answer, PullCost):
                return answer
            if answer.finding not in FAILURES:
                raise _error(answer)
            failures.append(answer)
        raise _error(failures[0])

    def _registry(self, reference: ImageReference) -> RegistryReplicas:
        if (registry := self.registries.get(reference.domain)) is None:
            message = f"{reference.domain} is not among the configured registries"
            raise Unsupported(message, replica="")
        return registry

    async def _by_digest(
        self, image: str, registry: RegistryReplicas, path: str, digest: Digest, *, until: float, asker: Asker | None
    ) -> ImageFinding:
        async def whole(replica: Replica, by: float) -> ReplicaFinding:
            return await self._looks.whole(replica, path, digest, until=by, asker=asker)

        decisive, answers = await _consult(registry, whole, until)
        before = self._before(registry, path, digest, decisive.finding, asker)
        return _image_finding(image, digest, decisive, answers, known_before=before)

    async def _by_tag(
        self, image: str, registry: RegistryReplicas, reference: ImageReference, *, until: float, asker: Asker | None
    ) -> ImageFinding:
        path, tag = reference.path, reference.tag or DEFAULT_TAG
        digest = await self._looks.named(registry.home, path, tag, until=until, asker=asker)
        if isinstance(digest, ReplicaFinding):
            before = self._before(registry, path, tag, digest.finding, asker)
            return _image_finding(image, None, digest, [digest], known_before=before)

        async def same_and_whole(replica: Replica, by: float) -> ReplicaFinding:
            return await self._same_and_whole(registry, reference, digest, replica, until=by, asker=asker)

        decisive, answers = await _consult(registry, same_and_whole, until)
        before = self._before(registry, path, tag, decisive.finding, asker)
        return _image_finding(image, digest, decisive, answers, known_before=before)

    async def _same_and_whole(
        self,
        registry: RegistryReplicas,
        reference: ImageReference,
        digest: Digest,
        replica: Replica,
        *,
        until: float,
        asker: Asker | None,
        fresh: bool = False,
    ) -> ReplicaFinding:
        """Whether the replica's tag is what home's is (`digest`), and all of that is there."""
        path, tag = reference.path, reference.tag or DEFAULT_TAG
        if replica.name != registry.home.name:
            there = await self._looks.named(replica, path, tag, until=until, asker=asker)
            if isinstance(there, ReplicaFinding):
                return there
            if there != digest:
                known_at_home = await self._looks.named(registry.home, path, there, until=until, asker=asker)
                return _astray(replica, there, registry.home, digest, known_at_home)
        return await self._looks.whole(replica, path, digest, until=until, asker=asker, fresh=fresh)

    def _agreed(self, registry: RegistryReplicas, reference: ImageReference) -> Digest | None:
        """The digest that home and every local replica named a moment ago, if they did and it was one."""
        names = {registry.home.name, *(replica.name for replica in registry.local)}
        tag = reference.tag or DEFAULT_TAG
        digests = {self._memory.tag((registry.host, name, reference.path, tag)) for name in names}
        return digests.pop() if len(digests) == 1 else None

    def _before(self, registry: RegistryReplicas, path: str, name: str, finding: Finding, asker: Asker | None) -> bool:
        """Whether this failure is of an image that was complete before; takes in what was found.

        Where right depends on who asks, an asker that never read there is believed nothing and excused nothing, and
        that the image was complete excuses no refusal.
        """
        key = (registry.host, path, name)
        reads = asker is None or any(replica.did_read(path, asker) for replica in registry.every)
        if reads or finding is Finding.OK:
            self._memory.learn_outcome(key, finding)
        if finding not in FAILURES or not reads or (asker is not None and finding is Finding.UNAUTHORIZED):
            return False
        return self._memory.was_complete(key)


class TenantChecker:
    """The same memory and the same flights; only the credentials are the tenant's too. Made for one review."""

    def __init__(self, checker: Checker, tenant: Tenant) -> None:
        self._checker = checker
        self._tenant = tenant

    def recall(self, image: str, reference: ImageReference) -> ImageFinding | None:
        """From memory alone, where this tenant may be told."""
        return self._checker.recall(image, reference, tenant=self._tenant)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        """By asking."""
        return await self._checker.check(image, reference, deadline=deadline, tenant=self._tenant)

    async def resolve(self, reference: ImageReference, *, deadline: float) -> Digest:
        """What a tag stands for at home. Raises RegistryError."""
        return await self._checker.resolve(reference, deadline=deadline, tenant=self._tenant)


def _may_be_told(registry: RegistryReplicas, path: str, tenant: Tenant) -> bool:
    """Whether what is remembered of the local replicas is for this tenant."""
    asker = registry.asker(tenant, path)
    return asker is None or all(replica.may_read(path, asker) for replica in registry.local)


async def _consult(
    registry: RegistryReplicas, ask: Ask, until: float
) -> tuple[ReplicaFinding, Sequence[ReplicaFinding]]:
    """The answer that decides, and all that were given, in the order of asking."""
    spares = [r for r in registry.failover if r.name not in {local.name for local in registry.local}]

    async def ask_local(replica: Replica) -> ReplicaFinding:
        return await (_with_spare(replica, ask, until) if spares else ask(replica, until))

    answers = await _all(registry.local, ask_local)
    if (worst := _proven(answers)) is not None:
        return worst, answers
    failures = [answer for answer in answers if answer.finding in FAILURES]
    if not failures:
        return answers[0], answers
    for position, replica in enumerate(spares, start=1):
        last = position == len(spares)
        answer = await (ask(replica, until) if last else _with_spare(replica, ask, until))
        answers.append(answer)
        if answer.finding not in FAILURES:
            return answer, answers
    return _worst(failures), answers


async def _with_spare(replica: Replica, ask: Ask, until: float) -> ReplicaFinding:
    """Ask one that others can stand in for: all the time if it is heard from within half of it."""
    began = asyncio.get_running_loop().time()
    answer = await ask(replica, began + (until - began) / 2)
    if answer.finding is Finding.DEADLINE and replica.last_answer >= began:
        return await ask(replica, until)
    return answer


async def _all(
    replicas: Sequence[Replica], ask: Callable[[Replica], Coroutine[Any, Any, ReplicaFinding]]
) -> list[ReplicaFinding]:
    if len(replicas) == 1:
        return [await ask(replicas[0])]
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(ask(replica)) for replica in replicas]
    return [task.result() for task in asking]


def _worst(answers: Sequence[ReplicaFinding]) -> ReplicaFinding:
    return min(answers, key=lambda answer: FINDINGS_WORST_FIRST.index(answer.finding))


def _proven(answers: Sequence[ReplicaFinding]) -> ReplicaFinding | None:
    """The worst of what is proven against the image."""
    against = [a for a in answers if a.finding is not Finding.OK and a.finding not in FAILURES]
    return _worst(against) if against else None


def _astray(
    replica: Replica, there: Digest, home: Replica, digest: Digest, known_at_home: Digest | ReplicaFinding
) -> ReplicaFinding:
    """A tag that does not point where home's does: either way, the nodes would not get what was meant."""
    if isinstance(known_at_home, ReplicaFinding) and known_at_home.finding is Finding.ABSENT:
        detail = f"its tag is {there}, which {home.name} has not; {home.name}'s is {digest}"
        return ReplicaFinding(replica.name, Finding.MISMATCH, detail=evidence(detail))
    detail = f"its tag is still {there}; {home.name}'s is {digest}"
    return ReplicaFinding(replica.name, Finding.ABSENT, detail=evidence(detail))


def _unlisted(image: str, reference: ImageReference) -> ImageFinding:
    return ImageFinding(image, Finding.UNLISTED, digest=reference.digest)


def _image_finding(
    image: str,
    digest: Digest | None,
    decisive: ReplicaFinding,
    answers: Sequence[ReplicaFinding],
    *,
    known_before: bool = False,
) -> ImageFinding:
    return ImageFinding(
        image,
        decisive.finding,
        digest=digest,
        replica=decisive.replica,
        missing=decisive.missing,
        detail=decisive.detail,
        retry_after_s=decisive.retry_after_s,
        known_before=known_before,
        replicas=tuple(answers),
    )


def _error(answer: ReplicaFinding) -> RegistryError:
    """A failure as the exception that it was."""
    match answer.finding:
        case Finding.ABSENT:
            return NotFound(answer.detail, replica=answer.replica)
        case Finding.UNAUTHORIZED:
            return Unauthorized(answer.detail, replica=answer.replica)
        case Finding.THROTTLED:
            return Throttled(answer.detail, replica=answer.replica, retry_after_s=answer.retry_after_s)
        case Finding.MISMATCH:
            return Mismatch(answer.detail, replica=answer.replica)
        case Finding.UNREACHABLE | Finding.DEADLINE:
            return Unreachable(answer.detail, replica=answer.replica, step="timeout")
    return Unsupported(answer.detail, replica=answer.replica)
