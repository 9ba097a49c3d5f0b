"""How often an image is pulled again that the node's garbage collection took. Pure.

kubelet takes images first that no container has used yet, which is what a pre-pulled one is. Pulling it again is right
when the disk was full for other reasons, and a fight that nobody wins when this image is what fills it.
"""

from collections import deque

MOST = 3
"""Losses of one image within `WINDOW_S` after which it is left alone, until the first of them is so long ago."""
WINDOW_S = 86_400.0


class Losses:
    """When which image was lost, on a clock that only goes forward. Bounded by the images that are wanted."""

    def __init__(self) -> None:
        self._at: dict[str, deque[float]] = {}

    def lost(self, image: str, now: float) -> None:
        """It was here, and is gone."""
        self._at.setdefault(image, deque(maxlen=MOST)).append(now)

    def given_up(self, image: str, now: float) -> bool:
        """Whether pulling it again would be one time too many."""
        at = self._at.get(image)
        return at is not None and len(at) == MOST and now - at[0] < WINDOW_S

    def give_up(self, image: str, now: float) -> None:
        """An agent before this one had given it up."""
        self._at[image] = deque([now] * MOST, maxlen=MOST)

    def keep(self, wanted: set[str]) -> None:
        """Forget all others."""
        self._at = {image: at for image, at in self._at.items() if image in wanted}
