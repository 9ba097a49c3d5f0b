"""What is asked for held Pods: about an image once for all, or once for each tenant where pull secrets count.

A question is a string: the image itself, or, in the name of a tenant, a key that stands for both. What a tenant's
secrets hold is looked up each time anew, so that a Secret that comes late, or is changed, counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from controller.holding.gates import Held
from controller.holding.judge import Rules
from controller.holding.polls import Checker
from tidegate.findings import Finding, ImageFinding
from tidegate.pull_secrets import NO_WEARER, Wearer
from tidegate.reference import ImageReference
from tidegate.registry.auth.tenants import Tenant


class TenantsChecker(Checker, Protocol):
    """See `tidegate.completeness.Checker`."""

    def asked_by(self, tenant: Tenant) -> Checker: ...


class Questions:
    """A checker for polls. `tenant` tells who wears some secrets now."""

    def __init__(self, checker: TenantsChecker, *, rules: Rules, tenant: Callable[[Wearer], Tenant]) -> None:
        self._checker = checker
        self._rules = rules
        self._tenant = tenant
        self._named: dict[str, tuple[str, Wearer]] = {}
        """Questions in a tenant's name, while somebody waits for their answer."""

    def of(self, held: Held) -> dict[str, str]:
        """Image → the question about it, for all images of a Pod."""
        return {image: self._question(image, held) for image in held.images}

    def image(self, question: str) -> str:
        """What it is about."""
        return self._named.get(question, (question, NO_WEARER))[0]

    def is_for_all(self, finding: ImageFinding) -> bool:
        """Whether an answer is true of the replica, and not only of who asked."""
        return finding.image not in self._named or finding.finding is not Finding.UNAUTHORIZED

    def drop(self, question: str) -> None:
        """Nobody waits for it any more."""
        self._named.pop(question, None)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        """Ask; the finding's image is the question."""
        if (named := self._named.get(image)) is None:
            return await self._checker.check(image, reference, deadline=deadline)
        about, wearer = named
        checker = self._checker.asked_by(self._tenant(wearer))
        return replace(await checker.check(about, reference, deadline=deadline), image=image)

    def _question(self, image: str, held: Held) -> str:
        if not self._rules.pull_secrets_count(image, held.namespace):
            return image
        question = "\n".join((image, held.namespace, *held.pull_secrets))
        self._named.setdefault(question, (image, Wearer(held.namespace, held.pull_secrets)))
        return question


def known_of(questions: Mapping[str, str], known: Mapping[str, ImageFinding]) -> dict[str, ImageFinding]:
    """What is known of a Pod's images, by image."""
    found = ((image, known.get(question)) for image, question in questions.items())
    return {
        image: finding if finding.image == image else replace(finding, image=image)
        for image, finding in found
        if finding is not None
    }
