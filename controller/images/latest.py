"""The newest known state of each object: the local copy's, or what was written and the copy has not shown yet.

Without it, whatever follows a write within milliseconds is computed from what was before, and refused as a conflict.
"""

from collections.abc import Mapping

from tidegate.kube.own import ImageAvailability


class Latest:
    """See the module. Somebody has to pass on what the copy tells, to `seen`."""

    def __init__(self, observed: Mapping[str, ImageAvailability]) -> None:
        self._observed = observed
        self._written: dict[str, ImageAvailability] = {}

    def __len__(self) -> int:
        return len(self._observed)

    def get(self, name: str) -> ImageAvailability | None:
        """None where there is no such object."""
        return self._written.get(name) or self._observed.get(name)

    def wrote(self, obj: ImageAvailability) -> None:
        """The API server answered a write with this."""
        name = obj.metadata.name
        shown = self._observed.get(name)
        if shown is None or shown.metadata.resource_version != obj.metadata.resource_version:
            self._written[name] = obj

    def seen(self, name: str, new: ImageAvailability | None) -> None:
        """The copy has changed; None: the object is gone."""
        written = self._written.get(name)
        if written is not None and (new is None or new.metadata.resource_version == written.metadata.resource_version):
            del self._written[name]

    def doubt(self, name: str) -> None:
        """The API server knows something newer: only the copy counts."""
        self._written.pop(name, None)
