"""Room for an image on the node's disk, against the threshold at which kubelet stops collecting. Pure.

kubelet collects images from its high threshold (85 % by default) down to its low one (80 %), those first that nothing
has used yet. What would fill the disk past the low threshold would be pulled only to be collected.
"""

from dataclasses import dataclass

LOW_PERCENT = 80
"""kubelet's `imageGCLowThresholdPercent` where its configuration does not say."""

FACTOR = 3.5
"""Bytes on disk for each compressed byte: the byte itself, which containerd keeps, and 2.5 of unpacked files."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system, as statvfs tells them to an ordinary process."""

    capacity: int
    available: int

    def shortfall(self, need: int, *, low_percent: int) -> str:
        """Why `need` more bytes are too many; empty when they are not."""
        least = self.capacity * (100 - low_percent) // 100
        if self.available - need >= least:
            return ""
        free = max(0, self.available - least)
        return (
            f"needs {_gigabytes(need)}, and {_gigabytes(free)} are free below the {low_percent} % "
            f"of {_gigabytes(self.capacity)} down to which kubelet collects images"
        )


def need(compressed: int) -> int:
    """Bytes on disk of an image with so many compressed bytes."""
    return int(compressed * FACTOR)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
