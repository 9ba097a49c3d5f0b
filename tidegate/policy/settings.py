"""What policy says for one namespace, and how the namespace's labels choose it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy.exemptions import Exemption
from tidegate.policy.selectors import Selector

NAME_LABEL = "kubernetes.io/metadata.name"
"""The API server puts it on every namespace."""
MODE_LABEL = "tidegate.dev/mode"
BREAK_GLASS_LABEL = "tidegate.dev/break-glass"
EFFECTIVE_MODE_LABEL = "tidegate.dev/effective-mode"
"""What the controller writes: `mode_of` the namespace, for selectors."""

DEFAULT_VERDICTS: Mapping[Finding, Verdict] = MappingProxyType({
    Finding.MALFORMED: Verdict.DENY,
    Finding.NOT_PINNED: Verdict.DENY,
    Finding.MISMATCH: Verdict.DENY,
    Finding.UNSUPPORTED: Verdict.DENY,
    Finding.UNLISTED: Verdict.DENY,
    Finding.ABSENT: Verdict.HOLD,
    Finding.INCOMPLETE: Verdict.HOLD,
    Finding.OK: Verdict.ALLOW,
    Finding.EXEMPT: Verdict.ALLOW,
    Finding.UNCHANGED: Verdict.ALLOW,
})  # fmt: skip
"""For the failures there is no single default: see `decision.verdict_of`."""


class Tags(StrEnum):
    """What a reference without a digest is worth."""

    REQUIRE_DIGEST = "require-digest"
    PIN = "pin"
    """As require-digest for what could have been pinned; what a controller made may keep its tag, but not its Pods."""
    ALLOW = "allow"


class Unlisted(StrEnum):
    """What an image of a registry that the configuration does not list is worth; nobody is asked about it."""

    REQUIRE_DIGEST = "require-digest"
    ALLOW = "allow"
    DENY = "deny"


class CannotHold(StrEnum):
    """What becomes of `hold` where nothing can be held."""

    DEFAULT = "default"
    WARN = "warn"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The choices for one namespace."""

    mode: Mode = Mode.AUDIT
    tags: Tags = Tags.REQUIRE_DIGEST
    unlisted: Unlisted = Unlisted.REQUIRE_DIGEST
    verdicts: Mapping[Finding, Verdict] = field(default_factory=dict)
    """Only what was chosen; `DEFAULT_VERDICTS` and the rule for failures fill in the rest."""
    patience_s: float | None = None
    """How long a review may wait for a registry; None: a second where Pods can be held, else what the call allows."""
    cannot_hold: CannotHold = CannotHold.DEFAULT
    grandfather: bool = True
    hold_deadline_s: float = 240.0
    """From a Pod's creation."""
    hold_releases: bool = False
    """What happens then: the Pod is released, or kept."""
    exempt_annotation: bool = False
    """Whether an object's author may exempt it, by the annotation `tidegate.dev/exempt`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings for the namespaces that a selector matches."""

    namespaces: Selector
    settings: Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy."""

    base: Settings = Settings()
    rules: tuple[Rule, ...] = ()
    exemptions: tuple[Exemption, ...] = ()

    def settings_for(self, labels: Mapping[str, str]) -> Settings:
        """Those of the first rule that matches the namespace's labels, else the policy's own."""
        return next((rule.settings for rule in self.rules if rule.namespaces.matches(labels)), self.base)

    @property
    def label_keys(self) -> frozenset[str]:
        """The namespace labels that rules look at."""
        return frozenset().union(*(rule.namespaces.keys for rule in self.rules))


def breaks_glass(labels: Mapping[str, str]) -> bool:
    """Whether a namespace is in emergency: the label with any value but `false`."""
    return labels.get(BREAK_GLASS_LABEL, "false") != "false"


def mode_of(labels: Mapping[str, str], settings: Settings) -> Mode:
    """Break-glass, then the namespace's own label, then rule and policy. A label that is no mode is passed over."""
    if breaks_glass(labels):
        return Mode.AUDIT
    own = labels.get(MODE_LABEL)
    return Mode(own) if own in set(Mode) else settings.mode
