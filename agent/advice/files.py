"""Reads the node's own configuration files, as far as they are mounted. What is not there or unreadable is left out."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import yaml

from agent.advice.facts import NodeFacts, of_containerd, of_kubelet

log = structlog.get_logger()

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Files:
    """Where to look. A kubelet folder is one of drop-ins (`*.conf`), of which later names win."""

    kubelet: Sequence[Path] = (
        Path("/var/lib/kubelet/config.yaml"),
        Path("/etc/kubernetes/kubelet/config.json"),
        Path("/etc/kubernetes/kubelet.conf.d"),
    )
    containerd: Path = Path("/etc/containerd/config.toml")


def read(places: Files) -> NodeFacts:
    """What is known of this node. Blocks for as long as its files do; flags on kubelet's command line are not seen."""
    found: dict[str, Any] = {}
    for path in _kubelet_files(places.kubelet):
        document = _document(path, yaml.safe_load)
        if document is not None:
            log.info("node.kubelet_configuration", path=str(path))
            found |= {field: value for field, value in of_kubelet(document).items() if value is not None}
    document = _document(places.containerd, tomllib.loads)
    if document is not None:
        log.info("node.containerd_configuration", path=str(places.containerd))
        found |= of_containerd(document)
    return NodeFacts(**found)


def _kubelet_files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(place.glob("*.conf"))
        else:
            yield place


def _document(path: Path, parse: Callable[[str], object]) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode()
        document = parse(text) if len(text) <= _MOST_BYTES else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as exc:
        log.warning("node.configuration_not_read", path=str(path), error=str(exc)[:300])
        return None
    return document if isinstance(document, Mapping) else None
