"""Which platform's manifests a node takes: as containerd normalises, matches and ranks platforms.

A node of `linux/arm64` takes `arm64`, with or without the variant `v8`, and failing that 32-bit `arm`, newest first;
one of `linux/amd64` also takes `386`. What else may stand in an index is none of its business. The tables are those
of github.com/containerd/platforms (`Only`, `Normalize`), which is what decides on the node; `os.version` and
`os.features` are not looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_ARM_BY_NAME = {"armhf": "v7", "armel": "v6"}
_OLDEST_ARM = 5
_ARM64_BASE = 8
_ARM64_V9_EQUALS = 5
"""arm64 v9.0 grew from v8.5: a v9.x runs what was built for v8.(x+5)."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A normalised platform; make one with `normalised` or `parse_platform`."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalised(os: str, architecture: str, variant: str = "") -> Platform:
    """One spelling for what has several: `aarch64` is `arm64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    if architecture in _ARM_BY_NAME:
        return Platform(os, "arm", _ARM_BY_NAME[architecture])
    architecture = _ARCHITECTURES.get(architecture, architecture)
    match architecture:
        case "386":
            variant = ""
        case "amd64":
            variant = "" if variant == "v1" else variant
        case "arm64":
            variant = "" if variant in {"8", "v8"} else variant
        case "arm":
            variant = "v7" if not variant else f"v{variant.removeprefix('v')}"
    return Platform("darwin" if os == "macos" else os, architecture, variant)


def parse_platform(text: str) -> Platform:
    """`os/architecture[/variant]`, as the configuration has it (which checked it)."""
    os, architecture, *rest = text.split("/")
    return normalised(os, architecture, rest[0] if rest else "")


@lru_cache(maxsize=64)
def acceptable(platform: Platform) -> tuple[Platform, ...]:
    """What a node of this platform runs, best first."""
    os = platform.os
    match platform.architecture:
        case "amd64":
            older = range(_version(platform.variant) - 1, 0, -1)
            return (
                platform,
                *(normalised(os, "amd64", f"v{version}") for version in older),
                Platform(os, "386"),
            )
        case "arm":
            return platform, *_older_arm(os, _version(platform.variant))
        case "arm64":
            return platform, *_older_arm64(platform), *_older_arm(os, _ARM64_BASE + 1)
    return (platform,)


def best(candidates: Iterable[Platform | None], platform: Platform) -> int | None:
    """The position of the candidate that a node of `platform` takes: the best, and of equals the first."""
    ranks = {wanted: rank for rank, wanted in enumerate(acceptable(platform))}
    rated = [
        (ranks[candidate], position)
        for position, candidate in enumerate(candidates)
        if candidate is not None and candidate in ranks
    ]
    return min(rated)[1] if rated else None


def _version(variant: str) -> int:
    digits = variant.removeprefix("v")
    return int(digits) if len(digits) == 1 and digits.isascii() and digits.isdigit() else 0


def _older_arm(os: str, version: int) -> tuple[Platform, ...]:
    return tuple(Platform(os, "arm", f"v{older}") for older in range(version - 1, _OLDEST_ARM - 1, -1))


def _older_arm64(platform: Platform) -> tuple[Platform, ...]:
    """v9 runs v8.5 to v8; v8 itself, the base, has nothing older. Minor versions do not occur in a configuration."""
    if _version(platform.variant) != _ARM64_BASE + 1:
        return ()
    minors = [f"v8.{minor}" for minor in range(_ARM64_V9_EQUALS, 0, -1)]
    return tuple(normalised(platform.os, "arm64", variant) for variant in [*minors, "v8"])
