"""What is read of the node's own configuration, and how a document says it. Pure.

kubelet: KubeletConfiguration of kubelet.config.k8s.io/v1beta1. containerd: `version = 2` keeps CRI in one plugin
(`io.containerd.grpc.v1.cri`), 3 and 4 in `io.containerd.cri.v1.images`, and pulls in `io.containerd.transfer.v1.local`.
None: the file does not say, or there is no file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.room import LOW_PERCENT

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?)(h|ms|us|µs|ns|m|s)")

_CRI_V2 = "io.containerd.grpc.v1.cri"
_CRI_V3 = "io.containerd.cri.v1.images"
_TRANSFER = "io.containerd.transfer.v1.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What is known of one node."""

    kubelet_read: bool = False
    """Whether a configuration of kubelet was found; its defaults hold for what it leaves out."""
    serialize_image_pulls: bool | None = None
    max_parallel_image_pulls: int | None = None
    image_maximum_gc_age_s: float | None = None
    image_gc_high_percent: int | None = None
    image_gc_low_percent: int | None = None
    credentials_verification: str | None = None
    containerd_read: bool = False
    max_concurrent_downloads: int | None = None
    discard_unpacked_layers: bool | None = None

    @property
    def low_percent(self) -> int:
        """Down to which kubelet collects images."""
        return LOW_PERCENT if self.image_gc_low_percent is None else self.image_gc_low_percent


def of_kubelet(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of NodeFacts that a KubeletConfiguration tells."""
    return {
        "kubelet_read": True,
        "serialize_image_pulls": _typed(document.get("serializeImagePulls"), bool),
        "max_parallel_image_pulls": _typed(document.get("maxParallelImagePulls"), int),
        "image_maximum_gc_age_s": seconds(document.get("imageMaximumGCAge")),
        "image_gc_high_percent": _percent(document.get("imageGCHighThresholdPercent")),
        "image_gc_low_percent": _percent(document.get("imageGCLowThresholdPercent")),
        "credentials_verification": _typed(document.get("imagePullCredentialsVerificationPolicy"), str),
    }


def of_containerd(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of NodeFacts that a containerd configuration tells."""
    plugins = _table(document.get("plugins"))
    cri = _table(plugins.get(_CRI_V3)) or _table(plugins.get(_CRI_V2))
    transfer = _table(plugins.get(_TRANSFER))
    local = bool(cri.get("use_local_image_pull")) or _CRI_V3 not in plugins
    downloads = [_typed(table.get("max_concurrent_downloads"), int) for table in (transfer, cri)]
    return {
        "containerd_read": True,
        "max_concurrent_downloads": next((n for n in (reversed(downloads) if local else downloads) if n), None),
        "discard_unpacked_layers": _typed(cri.get("discard_unpacked_layers"), bool),
    }


def seconds(text: object) -> float | None:
    """A duration as Go writes it (`1h30m`), in seconds."""
    if not isinstance(text, str):
        return None
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text.strip():
        return 0.0 if text.strip() == "0" else None
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None


def _typed(value: object, kind: type) -> Any:  # noqa: ANN401 - of that kind, or None
    return value if type(value) is kind else None


def _percent(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= 100 else None  # noqa: PLR2004 - per cent


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
