"""What is let through unjudged. Guarantees: a pattern matches whole normalised names, never raw text.

`DOMAIN/PATH` with `*`: in the domain a `*` stays within one label (`*.azurecr.io` is one label deep) and never
reaches the port, in the path it spans. A pattern that could match every host by accident, one without a domain, is
refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.policy.selectors import Selector
from tidegate.reference import ImageReference, InvalidReference

EXEMPT_ANNOTATION = "tidegate.dev/exempt"
"""On a Pod, or a workload's template: why it is exempt, where policy lets authors say so."""
REASON_LIMIT = 256
_DOMAIN = re.compile(r"[A-Za-z0-9.*\[\]:-]+", re.ASCII)
_PATH = re.compile(r"[a-z0-9._/*-]+", re.ASCII)
_LONGEST = 512
_MOST_STARS = 4
_LONGEST_DOMAIN = 300
"""Characters; no name in DNS with a port is longer, and matching stays cheap."""


def exempt_reason(annotations: Mapping[str, str]) -> str:
    """What an author gives as a reason, in at most `REASON_LIMIT` printable characters; empty where that is none."""
    said = annotations.get(EXEMPT_ANNOTATION, "")[: 4 * REASON_LIMIT]
    if not said:
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:REASON_LIMIT]


@dataclass(frozen=True, slots=True)
class ImagePattern:
    """One pattern of image names. Raises ValueError for text that is none."""

    text: str
    domain: re.Pattern[str]
    path: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> "ImagePattern":
        domain, slash, path = text.partition("/")
        if not slash or len(text) > _LONGEST or not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
            message = (
                f"{text!r:.64} is not a pattern; write DOMAIN/PATH like mcr.microsoft.com/* (docker.io/library/nginx)"
            )
            raise ValueError(message)
        if max(domain.count("*"), path.count("*")) > _MOST_STARS:
            message = f"{text!r:.64} has more than {_MOST_STARS} * in its domain or its path"
            raise ValueError(message)
        _check_spelling(text)
        return cls(text, _compiled(domain, r"[^.:/\[\]]"), _compiled(path, "."))

    def matches(self, reference: ImageReference) -> bool:
        if len(reference.domain) > _LONGEST_DOMAIN:
            return False
        return self.domain.fullmatch(reference.domain) is not None and self.path.fullmatch(reference.path) is not None


def _check_spelling(text: str) -> None:
    """Refuse a name without `*` that no reference is ever normalised to: it would exempt nothing, silently."""
    if "*" in text:
        return
    try:
        name = ImageReference.parse(text).name
    except InvalidReference as exc:
        message = f"{text!r:.64}: {exc.reason}"
        raise ValueError(message) from exc
    if name != text:
        message = f"{text!r:.64}: references spell it {name!r:.64}"
        raise ValueError(message)


def _compiled(text: str, char: str) -> re.Pattern[str]:
    """`*` is any number of `char`.

    What follows one is taken where it is first found, and never tried further on: that finds every match there is,
    and no name that an author thinks of takes long.
    """
    first, *others = re.sub(r"\*+", "*", text).split("*")
    pattern = re.escape(first)
    for position, part in enumerate(others, start=1):
        last = position == len(others)
        pattern += f"{char}*{re.escape(part)}" if last else f"(?>{char}*?{re.escape(part)})"
    return re.compile(pattern, re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Everything that is given must match."""

    images: tuple[ImagePattern, ...] = ()
    namespaces: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    labels: Selector | None = None
    """Of the object."""
    reason: str

    def covers(self, reference: ImageReference | None, *, namespace: str, user: str, labels: Mapping[str, str]) -> bool:
        """Whether an image of such an object is exempt; a malformed one (None) only where no images are given."""
        if self.namespaces and namespace not in self.namespaces:
            return False
        if self.users and user not in self.users:
            return False
        if self.labels is not None and not self.labels.matches(labels):
            return False
        if not self.images:
            return True
        return reference is not None and any(pattern.matches(reference) for pattern in self.images)
