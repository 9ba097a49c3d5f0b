"""What people read when something is refused: which image, on which replica, what is missing, and what to do."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from tidegate.findings import Finding, ImageFinding, Missing
from tidegate.policy import Decision

WARNING_LIMIT = 120
"""Characters of a warning, as the API server's own convention has it."""
MOST_WARNINGS = 8
"""Of one answer: the API server cuts all of them short beyond 4,096 characters together."""
IMAGES_LIMIT = 512
"""Characters of the audit annotation that lists images."""
_IMAGE_LIMIT = 200
_DETAIL_LIMIT = 120
_REST_ROOM = len("+1000")
"""For how many there are besides; no object has more images."""
_SHORT_DIGEST = 12
_DIGEST_MARK = "@sha256:"


def denial(decision: Decision, *, since: datetime | None = None) -> str:
    """The whole sentence for kubectl: the worst image, since when it is so (if that is known), and how many more."""
    worst = decision.worst
    says = _says(worst) + (f" (since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC)" if since is not None else "")
    return f"{worst.finding.value}: {_middle(_subject(worst), _IMAGE_LIMIT)} {says}; {_advice(worst)}{_more(decision)}"


def warning(finding: ImageFinding, *, waits: bool = False, ran: bool = False) -> str:
    """The same in at most `WARNING_LIMIT` characters.

    Nothing is refused, but Pods wait for the image (`waits`), or only what ran before may go on (`ran`).
    """
    said = f" {_says(finding)}"
    end = "; Pods wait" if waits else "; ran here before" if ran else ""
    prefix = f"tidegate: {finding.finding.value}: "
    room = WARNING_LIMIT - len(prefix) - len(said) - len(end)
    least = 24
    if room < least:
        said = said[: WARNING_LIMIT - len(prefix) - least - len(end) - 1] + "…"
        room = least
    return prefix + _middle(_short(_subject(finding)), room) + said + end


def annotations(decision: Decision) -> dict[str, str]:
    """What the API server's audit log is told with every answer."""
    return {
        "verdict": decision.verdict.value,
        "finding": decision.worst.finding.value,
        "images": images(decision),
    }


def images(decision: Decision) -> str:
    """`image=finding` of all images, as far as they fit."""
    return _listed([finding for finding, _ in decision.judged])


def grandfathered(decision: Decision) -> str:
    """The same of those that are let through because they ran before."""
    return _listed([finding for finding, _ in decision.judged if finding.image in decision.grandfathered])


def exemption(decision: Decision) -> str:
    """The reasons why images were not judged, each once, as far as they fit."""
    said = dict.fromkeys(one.detail for one, _ in decision.judged if one.finding is Finding.EXEMPT and one.detail)
    return _middle(printable("; ".join(said)), IMAGES_LIMIT)


def _listed(findings: Sequence[ImageFinding]) -> str:
    parts: list[str] = []
    room = IMAGES_LIMIT - _REST_ROOM
    for finding in findings:
        part = f"{_middle(_short(printable(finding.image)), _IMAGE_LIMIT)}={finding.finding.value}"
        if len(part) + 1 > room:
            parts.append(f"+{len(findings) - len(parts)}")
            break
        parts.append(part)
        room -= len(part) + 1
    return ",".join(parts)


def quantity(count: int) -> str:
    """Bytes for people: `1.1 GB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":  # noqa: PLR2004 - decimal, as registries and invoices count
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"  # noqa: PLR2004
        size /= 1000
    return f"{size:.1f} GB"


def lacking(missing: Missing) -> str:
    """`3 of 12 blobs, 1.1 GB`."""
    parts = []
    if missing.manifests:
        parts.append(f"{missing.manifests} manifest{'s' if missing.manifests > 1 else ''}")
    if missing.blobs:
        of_all = f" of {missing.of_blobs}" if missing.of_blobs else ""
        parts.append(f"{missing.blobs}{of_all} blob{'s' if max(missing.blobs, missing.of_blobs) > 1 else ''}")
    if missing.bytes:
        parts.append(quantity(missing.bytes))
    return ", ".join(parts) or "a part of it"


def printable(text: str) -> str:
    """Without what the API server drops a whole warning for: control characters and lone surrogates."""
    kept = text[:4096]
    return kept if kept.isprintable() else "".join(c if c.isprintable() else "?" for c in kept)


def _subject(finding: ImageFinding) -> str:
    return printable(finding.image) or "the object"


def _says(finding: ImageFinding) -> str:
    where = finding.replica or "its replica"
    detail = f" ({_middle(printable(finding.detail), _DETAIL_LIMIT)})" if finding.detail else ""
    if not finding.image:
        return ("cannot be read" if finding.finding is Finding.MALFORMED else "could not be checked") + detail
    match finding.finding:
        case Finding.MALFORMED:
            return f"is no image reference{detail}"
        case Finding.NOT_PINNED:
            return f"is not pinned by digest{detail}"
        case Finding.UNLISTED:
            return "is from a registry that is not listed"
        case Finding.ABSENT:
            return f"is not on {where} yet"
        case Finding.INCOMPLETE:
            return f"is not whole on {where}: {lacking(finding.missing)} missing"
        case Finding.MISMATCH:
            return f"is something else on {where}{detail}"
        case Finding.UNSUPPORTED:
            return f"cannot run from {where}{detail}"
        case Finding.UNAUTHORIZED:
            return f"could not be checked: {where} refused tidegate{detail}"
        case Finding.THROTTLED:
            return f"could not be checked: {where} is throttling"
        case Finding.UNREACHABLE:
            return f"could not be checked: {where} does not answer{detail}"
        case Finding.DEADLINE:
            return f"could not be checked in time on {where}"
        case Finding.OK | Finding.EXEMPT | Finding.UNCHANGED:
            return f"is {finding.finding.value}"


def _advice(finding: ImageFinding) -> str:
    if not finding.image:
        return "correct it" if finding.finding is Finding.MALFORMED else "apply again"
    match finding.finding:
        case Finding.MALFORMED:
            return "correct the image string"
        case Finding.NOT_PINNED if finding.detail:
            return "apply again, or write it as NAME:TAG@sha256:…"
        case Finding.NOT_PINNED:
            return "write it as NAME:TAG@sha256:…"
        case Finding.UNLISTED:
            return "use a listed registry, or have this one added to tidegate's configuration"
        case Finding.ABSENT:
            return "if it was pushed, replication is under way: apply again in a minute; else push it"
        case Finding.INCOMPLETE:
            return "replication is under way: apply again in a minute"
        case Finding.MISMATCH:
            return "do not run it; have the registry's owner compare the replica with home"
        case Finding.UNSUPPORTED:
            return "build it for this cluster's platforms with a current builder"
        case Finding.UNAUTHORIZED:
            return "check `auth` in tidegate's configuration"
        case Finding.THROTTLED:
            after = f"{math.ceil(finding.retry_after_s)} s" if finding.retry_after_s else "a minute"
            return f"apply again in {after}"
        case Finding.UNREACHABLE | Finding.DEADLINE:
            return "apply again; if it stays so, check the replica"
        case Finding.OK | Finding.EXEMPT | Finding.UNCHANGED:
            return "nothing is to be done"


def _more(decision: Decision) -> str:
    others = Counter(
        finding.finding.value
        for finding, _ in decision.judged
        if finding is not decision.worst and finding.finding not in _HARMLESS
    )
    if not others:
        return ""
    listed = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    return f" (and {others.total()} more: {listed})"


_HARMLESS = frozenset({Finding.OK, Finding.EXEMPT, Finding.UNCHANGED})


def _short(image: str) -> str:
    """With the digest cut to what people compare."""
    at = image.find(_DIGEST_MARK)
    return image if at < 0 else image[: at + len(_DIGEST_MARK) + _SHORT_DIGEST]


def _middle(text: str, limit: int) -> str:
    """At most `limit` characters, the middle left out: both ends of an image name tell something."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
