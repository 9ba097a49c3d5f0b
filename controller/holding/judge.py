"""The whole verdict on a held Pod, taken again from the namespace's policy and what is known of its images. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.holding.gates import Held
from tidegate.availability import name_of, spec_of, where_they_run
from tidegate.findings import Finding, ImageFinding, Mode
from tidegate.kube.own import ImageAvailability
from tidegate.policy import NAME_LABEL, Decision, Policy, Runs, Settings, Subject, decide, mode_of, static_finding
from tidegate.policy.listing import listed_as
from tidegate.reference import ImageReference, InvalidReference, try_parse

_NO_OBJECTS: Mapping[str, ImageAvailability] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`decision` is None while a replica has not answered yet."""

    decision: Decision | None
    mode: Mode
    settings: Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """What follows from the configuration file. `hosts`: the listed registries."""

    policy: Policy
    hosts: frozenset[str]
    pull_secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The namespaces whose Pods' own pull secrets count, by host."""

    def pull_secrets_count(self, image: str, namespace: str) -> bool:
        """Whether what a replica tells of an image depends on who asks."""
        if not self.pull_secrets:
            return False
        reference = self.reference(image)
        return reference is not None and namespace in self.pull_secrets.get(reference.domain, frozenset())

    def reference(self, image: str) -> ImageReference | None:
        """What a replica can be asked about; None for what is no reference, or of a registry that is not listed."""
        parsed = self._reference(image)
        return parsed if isinstance(parsed, ImageReference) and parsed.domain in self.hosts else None

    def mode(self, namespace: str, labels: Mapping[str, str]) -> Mode:
        """Of a namespace with these labels."""
        labels = {**labels, NAME_LABEL: namespace}
        return mode_of(labels, self.policy.settings_for(labels))

    def object_of(self, image: str) -> str | None:
        """The name of the `ImageAvailability` that stands for it, listed or not."""
        parsed = self._reference(image)
        return name_of(spec_of(parsed, image)) if isinstance(parsed, ImageReference) else None

    def judge(
        self,
        held: Held,
        labels: Mapping[str, str],
        known: Mapping[str, ImageFinding],
        objects: Mapping[str, ImageAvailability] = _NO_OBJECTS,
    ) -> Judged:
        """`labels` are the namespace's, `known` what replicas answered, by image string.

        `objects`, by name, say where images run already, and so may go on.
        """
        labels = {**labels, NAME_LABEL: held.namespace}
        settings = self.policy.settings_for(labels)
        subject = Subject(
            namespace=held.namespace, labels=held.labels, exempt_reason=held.exempt_reason, owned_pod=held.owned
        )
        findings = [self._finding(image, settings, subject, known) for image in held.images]
        there = [finding for finding in findings if finding is not None]
        whole = len(there) == len(findings)

        def running(images: Sequence[str]) -> Runs:
            references = {image: self._reference(image) for image in images}
            parsed = {image: one for image, one in references.items() if isinstance(one, ImageReference)}
            return where_they_run(parsed, namespace=held.namespace, objects=objects)

        decision = decide(there, settings=settings, subject=subject, running=running) if whole else None
        return Judged(decision=decision, mode=mode_of(labels, settings), settings=settings)

    def _finding(
        self, image: str, settings: Settings, subject: Subject, known: Mapping[str, ImageFinding]
    ) -> ImageFinding | None:
        parsed = self._reference(image)
        static = static_finding(
            image, parsed, policy=self.policy, settings=settings, subject=subject, listed=self.hosts
        )
        return known.get(image) if static is None else static

    def _reference(self, image: str) -> ImageReference | InvalidReference:
        parsed = try_parse(image)
        return listed_as(parsed, self.hosts) if isinstance(parsed, ImageReference) else parsed


def is_final(finding: Finding) -> bool:
    """Waiting is not what such a finding needs."""
    return finding in {Finding.MISMATCH, Finding.UNSUPPORTED}
