"""Decisions of `/mutate` as the gate makes and takes them: `tidegate.decisions`, with the keys and the clock."""

from collections.abc import Callable, Iterable
from hashlib import sha256

import msgspec

from tidegate.decisions import ANNOTATION, Claim, sign, verify
from tidegate.findings import Finding, ImageFinding, Verdict
from tidegate.policy import Decision, Holding, Subject
from tidegate.workload import WorkloadView
from webhook.rules import KeySource


class Claims:
    """`clock` gives Unix seconds."""

    def __init__(self, keys: KeySource, *, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock

    def made(self, decision: Decision, *, subject: Subject, images: Iterable[str], asked: Iterable[str]) -> str | None:
        """The text for the Pod; `decision` is about `asked`, those of its images that needed asking.

        None where an image passes because nobody waited for the answer: who asks `/mutate` says how long it may take.
        """
        if subject.holding is not Holding.ALWAYS_ADMIT and any(_passes_unseen(*one) for one in decision.judged):
            return None
        claim = Claim(
            namespace=subject.namespace, images=frozenset(images), subject=_short(subject, asked),
            verdict=decision.verdict, worst=decision.worst,
            grandfathered=decision.worst.image in decision.grandfathered,
        )  # fmt: skip
        return sign(claim, keys=self._keys.keys(), now=self._clock())

    def accepted(
        self, seen: WorkloadView, *, subject: Subject, images: Iterable[str], asked: Iterable[str]
    ) -> Claim | None:
        """What the Pod carries, if it was made for just this."""
        text = seen.annotations.get(ANNOTATION)
        if not text:
            return None
        return verify(
            text, keys=self._keys.keys(), namespace=subject.namespace, images=images, subject=_short(subject, asked),
            now=self._clock(),
        )  # fmt: skip


def _passes_unseen(finding: ImageFinding, verdict: Verdict) -> bool:
    """An image that was complete before has been seen."""
    passes = verdict in {Verdict.ALLOW, Verdict.WARN}
    return finding.finding is Finding.DEADLINE and passes and not finding.known_before


def _short(subject: Subject, asked: Iterable[str]) -> str:
    """All that a verdict depends on besides the images.

    With it nobody can copy a DaemonSet's or an exempt user's decision to another Pod. Hashed, as who created a Pod is
    not for everyone who reads it.
    """
    of = [subject.user, subject.holding.value, subject.owned_pod, sorted(asked)]
    return sha256(msgspec.json.encode(of)).hexdigest()[:32]
