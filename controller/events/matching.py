"""Where an arrival is, in the words of image references. Pure.

A registry is meant when its host, or the endpoint of one of its replicas, is named; what a replica renames is turned
back. Nothing follows from a wrong match but a check too many.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from controller.events.arrivals import Arrival
from tidegate.config.registries import RegistryConfig

_PLACEHOLDER = "{path}"
_DEFAULT_PORTS = (":443", ":80")


class Names:
    """The configured registries, by what a sender may call them."""

    def __init__(self, registries: Sequence[RegistryConfig]) -> None:
        self._known: dict[str, dict[tuple[str, str], None]] = {}
        """Host → registry host and `repository` template."""
        for registry in registries:
            self._know(registry.host, registry.host, _PLACEHOLDER)
            for replica in registry.replicas.values():
                self._know(urlsplit(replica.endpoint).netloc, registry.host, replica.repository)

    def of(self, arrival: Arrival) -> list[str]:
        """`domain/path` of the images that may be meant, as references to listed registries have it."""
        found: dict[str, None] = {}
        for host in arrival.hosts:
            for registry, template in self._known.get(_plain(host), ()):
                before, _, behind = template.partition(_PLACEHOLDER)
                name = arrival.repository
                if name.startswith(before) and name.endswith(behind) and len(name) > len(before) + len(behind):
                    found[f"{registry}/{name[len(before) : len(name) - len(behind)]}"] = None
        return list(found)

    def _know(self, host: str, registry: str, template: str) -> None:
        self._known.setdefault(_plain(host), {})[(registry, template)] = None


def _plain(host: str) -> str:
    host = host.lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
