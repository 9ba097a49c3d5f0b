"""What reviews are judged by: the rules of one configuration, and how a review came in."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Never, Protocol

from tidegate.completeness.memory import ImageKey, PresenceKey
from tidegate.decisions import Keys
from tidegate.findings import Finding, ImageFinding, Mode
from tidegate.policy import Policy, Runs
from tidegate.policy.listing import listed_as
from tidegate.pull_secrets import Wearer
from tidegate.reference import Digest, ImageReference
from tidegate.registry.auth.tenants import NOBODY, Tenant
from tidegate.workload import NO_PLACES, GroupKind, Places


class Learner(Protocol):
    """Who is told what others found out; see `tidegate.completeness.Checker`."""

    def believe(self, key: PresenceKey) -> None:
        """An image is whole on a replica."""
        ...

    def doubt(self, key: PresenceKey) -> None:
        """Nobody says so any more."""
        ...

    def believe_outcome(self, image: ImageKey, said: Mapping[str, Finding]) -> None:
        """What the replicas, by name, said together."""
        ...


class Asking(Protocol):
    """What the gate asks about an image of a listed registry, in somebody's name."""

    def recall(self, image: str, reference: ImageReference) -> ImageFinding | None:
        """From memory alone, in microseconds; None where somebody has to be asked."""
        ...

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        """By asking; not past `deadline` (the loop's time), and raising nothing of a registry's."""
        ...

    async def resolve(self, reference: ImageReference, *, deadline: float) -> Digest:
        """What a tag stands for at home. Raises RegistryError; not past `deadline`."""
        ...


class Checker(Asking, Learner, Protocol):
    """The same with the credentials that everybody has."""

    def asked_by(self, tenant: Tenant) -> Asking:
        """For the questions of one tenant."""
        ...


class Namespaces(Protocol):
    """What the gate knows of namespaces."""

    def knows(self, name: str) -> bool:
        """Whether there is nothing to wait for."""
        ...

    async def appear(self, name: str, *, until: float) -> None:
        """Wait until it is known, or the loop's time `until` has come."""
        ...

    def labels(self, name: str) -> Mapping[str, str]:
        """Of the namespace with that name; none where it is not known."""
        ...


class Running(Protocol):
    """What the gate knows of images in use: where they run, and since when replicas lack them."""

    def runs(self, images: Mapping[str, ImageReference], *, namespace: str) -> Runs:
        """Which of these strings ran in that namespace, and which in any."""
        ...

    def since(self, finding: ImageFinding, reference: ImageReference) -> datetime | None:
        """When the replica that decided was first found so; None where nobody says that it is."""
        ...


class KeySource(Protocol):
    """Where the keys of decisions come from."""

    def keys(self) -> Keys:
        """Those that verify now; none where nobody gave any."""
        ...


class Tenants(Protocol):
    """Who objects are, where their own pull secrets count."""

    def tenant(self, wearer: Wearer) -> Tenant:
        """With the secrets as they are now; asks nobody."""
        ...


class NoTenants:
    """No API server: nobody brings anything."""

    async def run(self, wanted: Callable[[], Collection[str]]) -> Never:
        """Nothing to follow."""
        del wanted
        await asyncio.Event().wait()
        raise AssertionError  # nothing sets that event

    def tenant(self, wearer: Wearer) -> Tenant:
        """Always nobody."""
        del wearer
        return NOBODY


@dataclass(frozen=True, slots=True)
class Rules:
    """What follows from one configuration file."""

    policy: Policy
    hosts: frozenset[str]
    checker: Checker
    pull_secret_namespaces: frozenset[str] = frozenset()
    """Where objects' own pull secrets count."""
    places: Mapping[GroupKind, Places] = field(default_factory=lambda: NO_PLACES)
    """Where custom resources hold images, besides the presets."""

    def listed_as(self, reference: ImageReference) -> ImageReference:
        """The reference under the configuration's spelling of its host."""
        return listed_as(reference, self.hosts)


@dataclass(frozen=True, slots=True)
class Asked:
    """How a review came in."""

    webhook: str
    """The path's name, as metrics have it: `validate`, `enforce`, `other`, `mutate`."""
    mode: Mode | None
    """Fixed by the path; None: follows from the namespace."""
    deadline: float
    """The loop's time by which the answer must be on its way."""
