"""Who was seen to read which repository of one replica: by one of the configured credentials, or by a tenant's own.

Only a manifest that was handed over proves a right: some registries say 404 to those whom they hide a repository from.
A right that was taken away goes on counting for `READ_S` at most, and ends at the first refusal.
"""

from collections.abc import Callable
from typing import NamedTuple

from cachetools import TTLCache

from tidegate.registry.auth.credentials import Credential, CredentialKey
from tidegate.registry.auth.tenants import Asker

READ_S = 600.0
"""So long a right to read is believed before it is proven again, with one request."""
EVER_S = 7 * 86400.0
"""So long it is known that a right was there: as long as it is known that an image was complete."""
_ENTRIES = 16384
"""A few hundred bytes each."""


class _Right(NamedTuple):
    repository: str
    who: CredentialKey | None
    """None: any of the configured credentials, which are everybody's."""


class Readers:
    """Bounded, and synchronous."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._now: TTLCache[_Right, bool] = TTLCache(_ENTRIES, READ_S, timer=clock)
        self._ever: TTLCache[_Right, bool] = TTLCache(_ENTRIES, EVER_S, timer=clock)

    def may(self, repository: str, asker: Asker) -> bool:
        """Whether a credential that the asker has was let in a moment ago."""
        return any(right in self._now for right in _rights(repository, asker))

    def did(self, repository: str, asker: Asker) -> bool:
        """Whether one ever was, as far as is remembered."""
        return any(right in self._ever for right in _rights(repository, asker))

    def learn(self, repository: str, own: Credential | None) -> None:
        """A manifest was handed over to a tenant's `own` credential, or (None) to a configured one."""
        right = _Right(repository, None if own is None else own.key)
        self._now[right] = self._ever[right] = True

    def forget(self, repository: str, asker: Asker) -> None:
        """All that the asker could show was refused."""
        for right in _rights(repository, asker):
            self._now.pop(right, None)


def _rights(repository: str, asker: Asker) -> list[_Right]:
    return [_Right(repository, None), *(_Right(repository, credential.key) for credential in asker.credentials)]
