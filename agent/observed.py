"""A pull under observation: its bytes as they come in, and the moment to stop it for its own or for others' sake.

containerd gives all pulls of a node three download slots together. A pull of ours that fills them keeps kubelet's pulls
waiting at their manifests for as long as its layers take, and a waiting download shows as one without bytes.
"""

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.ports import Downloads
from agent.progress import Movement, Progress
from tidegate.cri import CriError, Download
from tidegate.kube.own import Reason
from tidegate.reference import Digest, ImageReference, InvalidReference, parse_digest

_DEEPEST = 4
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the agent waits for what."""

    look_s: float = 1.0
    """Between two looks at a pull."""
    stall_s: float = 60.0
    """Without a byte; containerd itself gives up after five minutes."""
    starve_s: float = 3.0
    """That kubelet waits for a slot of ours."""
    stuck_s: float = 30.0
    """Others' downloads that have not moved for so long are nobody's reason to wait."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a pull has to end."""

    reason: Reason
    message: str


class Ownership:
    """Which downloads belong to one image: those that its manifests name, as soon as they are stored.

    An image without a digest names none before its pull has ended, so all downloads count as its own.
    """

    def __init__(self, image: str) -> None:
        target = _digest_of(image)
        self.known = target is not None
        self._digests: set[str] = {target} if target is not None else set()
        self._next: list[Digest] = [target] if target is not None else []
        self._depth = 0

    async def learn(self, downloads: Downloads) -> None:
        """Read the next manifest, if it has come. Raises CriError."""
        for digest in self._next:
            body = await downloads.manifest(digest)
            if body is not None:
                self._take(body)
                return

    def owns(self, download: Download) -> bool:
        """Whether this is part of the image."""
        return not self.known or download.digest in self._digests

    def _take(self, body: bytes) -> None:
        self._next, self._depth = [], self._depth + 1
        try:
            manifest = json.loads(body)
            children = [entry for entry in manifest.get("manifests", []) if _is_ours(entry)]
            parts = [*manifest.get("layers", []), *([manifest["config"]] if "config" in manifest else [])]
            self._digests |= {parse_digest(entry["digest"]) for entry in [*children, *parts]}
            if self._depth < _DEEPEST:
                self._next = [parse_digest(entry["digest"]) for entry in children]
        except (ValueError, KeyError, TypeError, AttributeError, InvalidReference):
            self.known = False  # what it names is anybody's guess


class Observed:
    """One pull that runs."""

    def __init__(self, image: str, downloads: Downloads, *, patience: Patience, began: float, polite: bool) -> None:
        self._downloads = downloads
        self._patience = patience
        self._polite = polite
        self._owner = Ownership(image)
        self._progress = Progress(began)

    @property
    def received(self) -> int:
        """Compressed bytes so far; what came and went between two looks is not in it."""
        return self._progress.received

    def owns(self, download: Download) -> bool:
        """See Ownership."""
        return self._owner.owns(download)

    async def look(self, clock: Callable[[], float]) -> Stop | None:
        """See how far it is; why it has to end, if it has to. A runtime that does not tell stops nothing."""
        try:
            await self._owner.learn(self._downloads)
            listed = await self._downloads.downloads()
        except CriError:
            return None
        now = clock()
        ours = [each for each in listed if self._owner.owns(each)]
        others = [each for each in listed if not self._owner.owns(each)]
        self._progress.see(ours, others, now)
        if self._progress.stalled_s(now) >= self._patience.stall_s:
            seconds, received = self._patience.stall_s, self._progress.received
            return Stop(Reason.STALLED, f"no byte came for {seconds:g} s, after {received} bytes")
        if self._polite and others and self._progress.starving_s(now) >= self._patience.starve_s:
            return Stop(Reason.CANCELED, "gave way: kubelet was waiting for a download slot of the runtime")
        return None


class Neighbours:
    """Whether somebody else is pulling on this node: kubelet, as a rule."""

    def __init__(self, downloads: Downloads, *, patience: Patience) -> None:
        self._downloads = downloads
        self._patience = patience
        self._movement = Movement(0.0)

    async def are_pulling(self, running: list[Observed], now: float) -> bool:
        """Whether downloads are under way that belong to none of our pulls, and move. False where nobody tells."""
        try:
            listed = await self._downloads.downloads()
        except CriError:
            return False
        others = [each for each in listed if not any(pull.owns(each) for pull in running)]
        self._movement.see(others, now)
        return bool(others) and now - self._movement.still_since < self._patience.stuck_s


def _digest_of(image: str) -> Digest | None:
    try:
        return ImageReference.parse(image).digest
    except InvalidReference:
        return None


def _is_ours(entry: dict[str, Any]) -> bool:
    """Whether an index's entry is for this machine, or does not say what it is for."""
    wanted = (entry.get("platform") or {}).get("architecture")
    machine = platform.machine()
    return wanted in {None, machine, _MACHINES.get(machine)}
