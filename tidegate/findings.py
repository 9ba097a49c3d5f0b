"""The words of the gate, spelled once: what is true of an image, and what is done about it.

These words are the metric labels, the log fields, the report categories, the audit annotations and what
the tests assert. Nothing else in the project spells an outcome.
"""

from dataclasses import dataclass, field
from enum import StrEnum

DETAIL_LIMIT = 256
"""Characters of evidence (a server's words, a parser's complaint) that a finding carries at most."""


class Finding(StrEnum):
    """What is true of one image."""

    OK = "ok"
    NOT_PINNED = "not-pinned"
    MALFORMED = "malformed"
    ABSENT = "absent"
    """An authorised 404: the replica was asked with a credential that may read, and has it not."""
    INCOMPLETE = "incomplete"
    """The manifest answers; a child manifest or a blob that a node would need does not."""
    MISMATCH = "mismatch"
    """The replica serves other bytes under the digest, or its tag has a digest that home never had."""
    UNSUPPORTED = "unsupported"
    """Schema 1, unparsable or oversized manifests, or none for the cluster's platforms."""
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    UNREACHABLE = "unreachable"
    DEADLINE = "deadline"
    """The review's time or patience ran out before the replica had answered."""
    UNLISTED = "unlisted"
    """The registry is not in the configuration, and policy cares."""
    EXEMPT = "exempt"
    UNCHANGED = "unchanged"


class Verdict(StrEnum):
    """What policy does about a finding; `VERDICTS_WORST_FIRST` has their order."""

    ALLOW = "allow"
    WARN = "warn"
    HOLD = "hold"
    DENY = "deny"


class Mode(StrEnum):
    """How a namespace takes a verdict: refuse, warn with the same text, or only count."""

    ENFORCE = "enforce"
    WARN = "warn"
    AUDIT = "audit"


FAILURES = frozenset({Finding.UNAUTHORIZED, Finding.THROTTLED, Finding.UNREACHABLE, Finding.DEADLINE})
"""Nothing was learned about the image: its registry could not be asked. Never remembered as an absence."""

VERDICTS_WORST_FIRST = (Verdict.DENY, Verdict.HOLD, Verdict.WARN, Verdict.ALLOW)

FINDINGS_WORST_FIRST = (
    Finding.MISMATCH,
    Finding.MALFORMED,
    Finding.UNSUPPORTED,
    Finding.NOT_PINNED,
    Finding.UNLISTED,
    Finding.INCOMPLETE,
    Finding.ABSENT,
    Finding.UNAUTHORIZED,
    Finding.THROTTLED,
    Finding.UNREACHABLE,
    Finding.DEADLINE,
    Finding.OK,
    Finding.UNCHANGED,
    Finding.EXEMPT,
)
"""Which image speaks for a review among those of one verdict."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What one replica lacks of an image; bytes are the descriptors' own."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    of_blobs: int = 0
    """Distinct blobs of the image as far as its manifests could be read."""


NOTHING_MISSING = Missing()


@dataclass(frozen=True, slots=True)
class ReplicaFinding:
    """What one replica answered about one image."""

    replica: str
    finding: Finding
    missing: Missing = NOTHING_MISSING
    detail: str = ""
    requests: int = 0
    seconds: float = 0.0
    retry_after_s: float | None = None
    lacking: tuple[str, ...] = ()
    """Digests of what is missing, the first few."""


@dataclass(frozen=True, slots=True)
class ImageFinding:
    """What is true of one image of an object: the finding, and the evidence of the replica that decided it."""

    image: str
    """The image string exactly as the object has it."""
    finding: Finding
    digest: str | None = None
    replica: str = ""
    missing: Missing = NOTHING_MISSING
    detail: str = ""
    """Evidence in a server's or parser's words, at most `DETAIL_LIMIT` characters, safe to show."""
    retry_after_s: float | None = None
    known_before: bool = False
    """A failure now, but the image was complete before: policy may let it pass."""
    replicas: tuple[ReplicaFinding, ...] = field(default=(), compare=False)
    """Every replica that was asked, in the order of asking."""
