"""What the gate knows of namespaces: their labels from the API server, or nothing outside a cluster."""

from collections.abc import Mapping
from types import MappingProxyType

from tidegate.kube.reflector import Reflector
from tidegate.kube.shapes import Namespace

_NONE: Mapping[str, str] = MappingProxyType({})


class Standalone:
    """No API server: no labels but the name, which the gate adds itself."""

    def labels(self, name: str) -> Mapping[str, str]:
        """Always none."""
        del name
        return _NONE


class Watched:
    """Labels as the reflector has them; a namespace not seen yet has none."""

    def __init__(self, reflector: Reflector[Namespace]) -> None:
        self._reflector = reflector

    def labels(self, name: str) -> Mapping[str, str]:
        namespace = self._reflector.objects.get(name)
        return _NONE if namespace is None else namespace.metadata.labels
