"""What people read about a held Pod. Pure."""

from tidegate.findings import FAILURES, ImageFinding

_MOST = 900
"""Characters of an Event's note: the API server takes 1,024 bytes."""
_LONGEST_IMAGE = 256


def seconds(value: float) -> str:
    """`43s`, `2m05s`, `1h02m`."""
    whole = max(0, round(value))
    minutes, left = divmod(whole, 60)
    if minutes < 1:
        return f"{whole}s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h{minutes_left:02d}m" if hours else f"{minutes}m{left:02d}s"


def lacking(finding: ImageFinding) -> str:
    """What is missing and where: `3 of 12 blobs on westeurope`."""
    missing, where = finding.missing, f" on {finding.replica}" if finding.replica else ""
    if missing.blobs and missing.of_blobs:
        return f"{missing.blobs} of {missing.of_blobs} blobs{where}"
    if missing.blobs:
        return f"{counted(missing.blobs, 'blob')}{where}"
    if missing.manifests:
        return f"{counted(missing.manifests, 'manifest')}{where}"
    if finding.finding in FAILURES:
        return f"an answer{where} ({finding.finding.value})"
    return f"the image{where}"


def counted(number: int, noun: str) -> str:
    """`1 blob`, `3 blobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def started(finding: ImageFinding) -> str:
    """Why it waits."""
    return bounded(f"held: {finding.image[:_LONGEST_IMAGE]} is {finding.finding.value}; waiting for {lacking(finding)}")


def owner_waits(finding: ImageFinding) -> str:
    """Why a workload has no new Pods that run."""
    image = finding.image[:_LONGEST_IMAGE]
    return bounded(f"new Pods are held: {image} is {finding.finding.value}; waiting for {lacking(finding)}")


def released(waited_s: float, finding: ImageFinding | None) -> str:
    """How long, and for what, if that is still known."""
    words = f"waited {seconds(waited_s)}"
    return bounded(words if finding is None else f"{words} for {lacking(finding)}")


def ran_before(waited_s: float, finding: ImageFinding) -> str:
    """Released though not complete, as it takes the place of what ran."""
    image = finding.image[:_LONGEST_IMAGE]
    return bounded(f"released after {seconds(waited_s)}: {image} is {finding.finding.value}, but ran here before")


def denied(finding: ImageFinding) -> str:
    """Why waiting will not help."""
    detail = f" ({finding.detail})" if finding.detail else ""
    image = finding.image[:_LONGEST_IMAGE]
    return bounded(
        f"stays held: {image} is {finding.finding.value}{detail}, which policy denies; waiting will not help"
    )


def overdue(waited_s: float, finding: ImageFinding) -> str:
    """Longer than policy likes."""
    return bounded(f"still held after {seconds(waited_s)}, waiting for {lacking(finding)}")


def let_go(waited_s: float, finding: ImageFinding) -> str:
    """Released though not complete."""
    return bounded(f"released after {seconds(waited_s)} without {lacking(finding)}: the time to hold it is over")


def lifted(waited_s: float, mode: str) -> str:
    """Released as nothing is enforced here any more."""
    return bounded(f"released after {seconds(waited_s)}: the namespace's mode is {mode}")


def bounded(text: str) -> str:
    """As much of it as an Event takes."""
    return text if len(text.encode()) <= _MOST else text.encode()[:_MOST].decode(errors="ignore")
