"""What is used where, in counts: a hundred thousand Pods of a thousand images take a thousand places. Pure.

A use is what one Pod, workload template or PrePull says; nothing of it is kept but that it was counted. Whoever takes
a use back has to hand in the same one, which the local copies of the API's collections make easy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.images.naming import Image


@dataclass(frozen=True, slots=True)
class Use:
    """The images that one object names. `namespace` is empty where that is no namespace's use (a PrePull)."""

    namespace: str
    images: tuple[Image, ...]
    """Each once."""
    ran: frozenset[str] = frozenset()
    """Names of those that a node really has pulled and started for it."""


@dataclass(slots=True)
class Count:
    """In one namespace: objects that name the image, and among them Pods that run it."""

    uses: int = 0
    running: int = 0


_NOWHERE: Mapping[str, Count] = {}


class Inventory:
    """See the module."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, Count]] = {}
        self._images: dict[str, Image] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def names(self) -> tuple[str, ...]:
        """Of all images in use."""
        return tuple(self._images)

    def image(self, name: str) -> Image | None:
        """An image in use."""
        return self._images.get(name)

    def uses(self, name: str) -> Mapping[str, Count]:
        """By namespace; empty for what is used nowhere."""
        return self._counts.get(name, _NOWHERE)

    def change(self, old: Use | None, new: Use | None) -> set[str]:
        """An object that said `old` says `new`.

        Returns the names of images that are now used, or run, where they were not, or the other way round.
        """
        if old == new:
            return set()
        before: dict[tuple[str, str], tuple[bool, bool]] = {}
        for use, by in ((new, 1), (old, -1)):
            for image in use.images if use is not None else ():
                self._add(use, image, by, before)
        changed = {name for (name, namespace), was in before.items() if self._state(name, namespace) != was}
        for name, namespace in before:
            self._tidy(name, namespace)
        return changed

    def _add(self, use: Use | None, image: Image, by: int, before: dict[tuple[str, str], tuple[bool, bool]]) -> None:
        if use is None:
            return
        before.setdefault((image.name, use.namespace), self._state(image.name, use.namespace))
        self._images.setdefault(image.name, image)
        count = self._counts.setdefault(image.name, {}).setdefault(use.namespace, Count())
        count.uses += by
        count.running += by if image.name in use.ran else 0

    def _state(self, name: str, namespace: str) -> tuple[bool, bool]:
        count = self.uses(name).get(namespace)
        return (False, False) if count is None else (count.uses > 0, count.running > 0)

    def _tidy(self, name: str, namespace: str) -> None:
        counts = self._counts.get(name, {})
        if (count := counts.get(namespace)) is not None and count.uses <= 0:
            del counts[namespace]
        if not counts:
            self._counts.pop(name, None)
            self._images.pop(name, None)
