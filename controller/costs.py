"""What a pull of each image costs, asked of its registry once and remembered while the image is wanted.

- What is asked keeps to the registry's budget, as pulls do: sixty images that come at once are no reason for a flood.
- A registry that throttles us is told to the budget, and asked again after its pause.
- An image that is not there yet, or a registry that cannot be reached, is asked again later, at growing and jittered
  intervals; nothing is granted meanwhile.
- A registry that refuses us may let in those who want the image, with their pull secrets, and else nodes, which have
  credentials of their own: then `GUESS` stands for the cost.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from controller.granted import Cost
from controller.pauses import Registries
from controller.plan import host_of
from controller.workqueue import Again, WorkQueue
from tidegate.completeness import Checker
from tidegate.completeness.walk import PullCost
from tidegate.findings import Finding
from tidegate.reference import DEFAULT_TAG, ImageReference, InvalidReference
from tidegate.registry.auth.tenants import NOBODY, Tenant
from tidegate.registry.errors import RegistryError, Throttled, Unauthorized

log = structlog.get_logger()

GUESS = Cost(requests=20, bytes=0)
"""Of an image whose manifest only the nodes may read: more layers than most have."""
ASKED = 2
"""Requests that finding a cost takes as a rule: an index and a manifest, or a tag and a manifest."""
ASK_S = 10.0
_WORKERS = 4
_WAIT_S = 1.0
"""So long a worker waits for the budget; for longer, it turns to other registries."""
_FIRST_PAUSE_S = 1.0
_MOST_PAUSE_S = 120.0
_MOST_REFUSED_S = 3600.0


class PullCosts(Registries, Protocol):
    """Who asks registries, and knows what a pull costs."""

    async def cost(self, image: str) -> Cost:
        """Of one pull of the image as it is now. Raises RegistryError."""
        ...

    def sent(self, host: str) -> int:
        """Requests that this process has sent to where nodes pull from, whatever for."""
        ...


def _nobody(_: str) -> Sequence[Tenant]:
    return ()


class FromManifests:
    """Asks the replica that the nodes pull from. `tenants` of an image: who may be let in where we are refused."""

    def __init__(self, checker: Checker, *, tenants: Callable[[str], Sequence[Tenant]] = _nobody) -> None:
        self._checker = checker
        self._tenants = tenants

    async def cost(self, image: str) -> Cost:
        deadline = asyncio.get_running_loop().time() + ASK_S
        reference, refusals = ImageReference.parse(image), list[Unauthorized]()
        for tenant in (NOBODY, *self._tenants(image)):
            try:
                return _cost(await self._checker.pull_cost(reference, deadline=deadline, tenant=tenant))
            except Unauthorized as exc:
                refusals.append(exc)
        raise refusals[0]

    def sent(self, host: str) -> int:
        return sum(replica.requests for replica in self._checker.registries[host].local)

    async def look(self, image: str) -> None:
        reference = ImageReference.parse(image)
        registry = self._checker.registries[reference.domain]
        await registry.local[0].has_manifest(reference.path, reference.digest or reference.tag or DEFAULT_TAG)

    def leave_alone(self, host: str, seconds: float) -> None:
        self._checker.registries[host].local[0].pause(seconds)


def _cost(found: PullCost) -> Cost:
    return Cost(
        requests=found.requests, bytes=found.bytes, blobs=frozenset[str](found.blobs), platforms=found.platforms
    )


class Asked(Protocol):
    """Who wants to know."""

    def priced(self, image: str, cost: Cost) -> None:
        """The answer."""
        ...

    def unpriced(self, image: str, finding: Finding) -> None:
        """There is no answer yet, and why."""
        ...

    def wait_to_find(self, image: str, requests: int) -> float:
        """Seconds until the budget of its registry has room for so many requests, or it is worth asking again."""
        ...

    def asking(self, host: str, requests: int) -> None:
        """So many requests are about to be sent to the registry."""
        ...

    def throttled(self, host: str, retry_after_s: float | None) -> None:
        """The registry answered 429."""
        ...


class Costs:
    """See the module. `wanted(image)`: whether anybody still wants to know."""

    def __init__(
        self, source: PullCosts, *, asked: Asked, wanted: Callable[[str], bool], chance: random.Random
    ) -> None:
        self._source = source
        self._asked = asked
        self._wanted = wanted
        self._chance = chance
        self._failures: dict[str, int] = {}
        self._queue = WorkQueue("costs", self._find, workers=_WORKERS, chance=chance)
        self.run = self._queue.run

    def find(self, image: str, *, urgent: bool = False) -> None:
        """Find the cost of an image, and tell it; `urgent`: a pull waits for it."""
        self._queue.add(image, urgent=urgent)

    async def _find(self, image: str) -> None:
        if not self._wanted(image):
            self._failures.pop(image, None)
            return
        host = host_of(image)
        while (left := self._asked.wait_to_find(image, ASKED)) > 0:
            if left > _WAIT_S:
                raise Again(left * self._chance.uniform(1.0, 1.5))
            await asyncio.sleep(left)
        self._asked.asking(host, ASKED)
        try:
            cost = await self._source.cost(image)
        except Unauthorized as exc:
            raise Again(self._guessed(image, exc)) from exc
        except RegistryError as exc:
            self._asked.unpriced(image, exc.finding)
            raise Again(self._pause(image, exc)) from exc
        except InvalidReference:
            return  # a plan wants none such
        self._failures.pop(image, None)
        self._asked.priced(image, cost)

    def _guessed(self, image: str, exc: Unauthorized) -> float:
        """A pull secret may come a moment after who needs it; one that never comes is not asked for all day."""
        refusals = self._failures[image] = self._failures.get(image, 0) + 1
        log.warning("cost.guessed", image=image, requests=GUESS.requests, refusals=refusals, error=exc.detail)
        self._asked.priced(image, GUESS)
        return min(_MOST_REFUSED_S, _FIRST_PAUSE_S * 2.0 ** min(refusals - 1, 16)) * self._chance.uniform(0.5, 1.0)

    def _pause(self, image: str, exc: RegistryError) -> float:
        failures = self._failures[image] = self._failures.get(image, 0) + 1
        pause = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16)) * self._chance.uniform(0.5, 1.0)
        if isinstance(exc, Throttled):
            self._asked.throttled(host_of(image), exc.retry_after_s)
            pause = max(pause, min(exc.retry_after_s or 0.0, _MOST_PAUSE_S))
        log.warning(
            "cost.unknown", image=image, finding=exc.finding, failures=failures, again_s=round(pause, 1),
            error=exc.detail,
        )  # fmt: skip
        return pause
