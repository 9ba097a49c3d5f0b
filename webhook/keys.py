"""The keys that decisions are signed with: a Secret that the controller rotates, or none."""

from types import MappingProxyType

from tidegate.decisions import Keys, usable
from tidegate.kube.own import DECISION_SECRET
from tidegate.kube.reflector import Reflector
from tidegate.kube.shapes import Secret

_NONE: Keys = MappingProxyType({})


class NoKeys:
    """Nothing is signed, nothing is believed: everything is found out anew."""

    def keys(self) -> Keys:
        """Always none."""
        return _NONE


class WatchedKeys:
    """What the reflector's Secret holds; none while it is missing."""

    def __init__(self, reflector: Reflector[Secret], *, namespace: str) -> None:
        self._reflector = reflector
        self._name = f"{namespace}/{DECISION_SECRET}"
        self._read: Secret | None = None
        self._keys: Keys = _NONE

    def keys(self) -> Keys:
        """Decoded once for each version of the Secret."""
        secret = self._reflector.objects.get(self._name)
        if secret is not self._read:
            self._read = secret
            self._keys = _NONE if secret is None else usable(secret.data)
        return self._keys
