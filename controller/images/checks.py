"""Questions to every replica about every image in use, at a pace that leaves most of the limits to others.

One line for each registry, `AT_ONCE` questions at a time, and no more requests a second than `SHARE` of what the
configuration allows; pulls that wait for their registry go first, and a look is paid for out of their budget. A
replica that asks for a pause, or whose circuit is open, is left alone. What others asked (about held Pods' images) is
taken in, and not asked again.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Never, Protocol

from controller.images.naming import Image
from controller.images.pace import LEAST_GAP_S, Asked, after, at_start, heard, spared
from controller.workqueue import Again, WorkQueue
from tidegate.config.registries import LimitsConfig
from tidegate.findings import Finding, ReplicaFinding
from tidegate.kube.own import ReplicaAvailability
from tidegate.reference import DEFAULT_TAG, ImageReference
from tidegate.replicas import RegistryReplicas, Replica

AT_ONCE = 4
CHECK_S = 30.0
SHARE = 0.5
"""Of `limits`, for all that nobody waits for."""
LOOK = 16
"""Requests that a look takes as a rule: a manifest, a config and some layers."""
_GIVES_WAY_S = 60.0
"""So long a look waits for pulls."""
_SOON_S = 0.1
_FOR_A_TAG = 2
"""Requests that resolve it, at home and there."""
_LEAST_WAIT_S, _MOST_WAIT_S = 0.01, 60.0

OnAnswers = Callable[[Image, Sequence[ReplicaFinding]], None]


class Surveyor(Protocol):
    """See `tidegate.completeness.Checker`."""

    async def survey(
        self, reference: ImageReference, replicas: Sequence[Replica], *, deadline: float, fresh: bool = False
    ) -> Sequence[ReplicaFinding]: ...


class Pulls(Protocol):
    """Who grants pulls from the registries; see `controller.core.Controller`."""

    def room_s(self, host: str) -> float:
        """Seconds until a look takes nothing from pulls."""
        ...

    def asking(self, host: str, requests: int) -> None:
        """So many requests are about to be sent."""
        ...


class Pacer:
    """When the next question to a registry may begin, by the requests that earlier ones took.

    Urgent ones may run ahead by another burst.
    """

    def __init__(self, limits: LimitsConfig, *, clock: Callable[[], float]) -> None:
        self._rate = limits.requests_per_second * SHARE
        self._ahead_s = limits.burst * SHARE / self._rate
        self._clock = clock
        self._paid_until = clock()

    def wait_s(self, *, urgent: bool) -> float:
        return max(0.0, self._paid_until - self._clock() - self._ahead_s * (2 if urgent else 1))

    def pay(self, requests: int) -> None:
        self._paid_until = max(self._paid_until, self._clock()) + requests / self._rate


class Checks:
    """Asks about images while they are wanted; `found` is called with what each replica answered."""

    def __init__(
        self,
        surveyor: Surveyor,
        registries: Mapping[str, RegistryReplicas],
        *,
        limits: Mapping[str, LimitsConfig],
        pulls: Pulls,
        found: OnAnswers,
        clock: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self._surveyor = surveyor
        self._registries = registries
        self._pulls = pulls
        self._found = found
        self._clock = clock
        self._chance = chance
        self._wanted: dict[str, Image] = {}
        self._asked: dict[str, dict[str, Asked]] = {}
        """By image and replica."""
        self._hurried: set[str] = set()
        self._by_name: dict[str, set[str]] = {}
        """Images by `domain/path`."""
        self._pacers = {host: Pacer(limits[host], clock=clock) for host in registries}
        self._queues = {
            host: WorkQueue(f"checks of {host}", self._ask, workers=AT_ONCE, chance=chance) for host in registries
        }

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        return {f"look at images of {host}": queue.run for host, queue in self._queues.items()}

    def want(self, image: Image, known: Iterable[ReplicaAvailability] = ()) -> None:
        """Ask about an image from now on; `known` is what its object says."""
        host = image.reference.domain
        if image.name in self._wanted or host not in self._registries:
            return
        now = self._clock()
        self._wanted[image.name] = image
        self._by_name.setdefault(image.reference.name, set()).add(image.name)
        self._asked[image.name] = {
            entry.name: at_start(complete=entry.complete, now=now, chance=self._chance) for entry in known
        }
        self._queues[host].add(image.name)

    def drop(self, name: str) -> None:
        """Nobody uses it any more."""
        if (image := self._wanted.pop(name, None)) is None:
            return
        del self._asked[name]
        self._hurried.discard(name)
        names = self._by_name[image.reference.name]
        names.discard(name)
        if not names:
            del self._by_name[image.reference.name]

    def heard(self, name: str, answers: Iterable[ReplicaFinding]) -> None:
        """Take in what somebody else asked."""
        if (asked := self._asked.get(name)) is not None:
            now = self._clock()
            for answer in answers:
                asked[answer.replica] = heard(answer, asked.get(answer.replica), now=now, chance=self._chance)

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int:
        """Something is said to have happened to `name` (`domain/path`).

        Looks at once at what has the digest or the tag, and at what some replica lacks, of which a part may have come;
        without digest and tag at all of it. Returns how many that are. Never more than one look a second at each,
        however often it is called.
        """
        concerned = [one for one in sorted(self._by_name.get(name, ())) if self._concerns(one, digest, tag)]
        for one in concerned:
            self._hurried.add(one)
            self._queues[self._wanted[one].reference.domain].add(one, urgent=True)
        return len(concerned)

    def _concerns(self, name: str, digest: str | None, tag: str | None) -> bool:
        reference = self._wanted[name].reference
        named = reference.digest == digest if reference.digest else (reference.tag or DEFAULT_TAG) == tag
        registry = self._registries[reference.domain]
        return named or not (digest or tag) or not all(self._is_whole(name, r) for r in registry.every)

    async def _ask(self, name: str) -> None:
        """One look at one image, at those replicas whose time has come."""
        if (image := self._wanted.get(name)) is None:
            return
        registry = self._registries[image.reference.domain]
        if due := self._due(name, registry):
            await self._turn(registry, due, urgent=name in self._hurried)
        if self._wanted.get(name) is not image:
            return
        if due := self._due(name, registry):
            self._hurried.discard(name)
            await self._look(image, registry, due)
        if self._wanted.get(name) is image:
            next_at = min(self._due_at(name, replica) for replica in self._pressed(name, registry))
            raise Again(max(_SOON_S, next_at - self._clock()))

    async def _look(self, image: Image, registry: RegistryReplicas, due: Sequence[Replica]) -> None:
        """Each replica by itself: a silent one keeps no other's answer back."""
        open_to_calls = [replica for replica in due if not self._spares(image.name, replica)]
        async with asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(self._survey(image, replica)) for replica in open_to_calls]
        self._pacers[registry.host].pay(max((task.result() for task in asking), default=0))

    def _spares(self, name: str, replica: Replica) -> bool:
        pause_s, asked = replica.pause_left_s(), self._asked[name]
        if pause_s <= 0 and replica.closed_to_calls() is None:
            return False
        asked[replica.name] = spared(asked.get(replica.name), now=self._clock(), least_s=pause_s, chance=self._chance)
        return True

    async def _survey(self, image: Image, replica: Replica) -> int:
        """Ask one replica; returns the requests that it took."""
        asked, deadline = self._asked[image.name], self._clock() + CHECK_S
        answers = await self._surveyor.survey(
            image.reference, [replica], deadline=deadline, fresh=replica.name in asked
        )
        (answer,) = answers  # home's own, where that could not say what a tag means
        asked[replica.name] = after(answer, asked.get(replica.name), now=self._clock(), chance=self._chance)
        if self._wanted.get(image.name) is image:
            self._found(image, answers)
        return answer.requests + (0 if image.reference.digest else _FOR_A_TAG)

    async def _turn(self, registry: RegistryReplicas, due: Sequence[Replica], *, urgent: bool) -> None:
        """Wait for it; behind pulls only where they go."""
        host = registry.host
        while (wait_s := self._pacers[host].wait_s(urgent=urgent)) > 0:  # noqa: ASYNC110  others may go ahead
            await asyncio.sleep(min(max(wait_s, _LEAST_WAIT_S), _MOST_WAIT_S))
        if not any(replica in registry.local for replica in due):
            return
        until = self._clock() + _GIVES_WAY_S
        while not urgent and (room_s := self._pulls.room_s(host)) > 0 and self._clock() < until:  # noqa: ASYNC110  as above
            await asyncio.sleep(min(max(room_s, _LEAST_WAIT_S), _GIVES_WAY_S))
        self._pulls.asking(host, LOOK)

    def _due(self, name: str, registry: RegistryReplicas) -> list[Replica]:
        now = self._clock()
        return [replica for replica in self._pressed(name, registry) if self._due_at(name, replica) <= now]

    def _pressed(self, name: str, registry: RegistryReplicas) -> Sequence[Replica]:
        """Whom a hurry means: those that lack something, all where none does."""
        if name not in self._hurried:
            return registry.every
        return [r for r in registry.every if not self._is_whole(name, r)] or registry.every

    def _due_at(self, name: str, replica: Replica) -> float:
        if (asked := self._asked[name].get(replica.name)) is None:
            return float("-inf")
        return min(asked.due_at, asked.at + LEAST_GAP_S) if name in self._hurried else asked.due_at

    def _is_whole(self, name: str, replica: Replica) -> bool:
        asked = self._asked[name].get(replica.name)
        return asked is not None and asked.finding is Finding.OK
