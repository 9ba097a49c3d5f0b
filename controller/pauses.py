"""What a throttled pull means for what tidegate itself asks of the registry, and how long the registry wants its peace.

- A pull that was throttled without saying for how long (containerd hides Retry-After): its image is asked for by one
  HEAD, as the pull began, and if that is throttled too its Retry-After counts. One such question for each registry at
  a time, whatever number of pulls was throttled.
- Then what the controller itself asks of the registry (about costs, held Pods and images in use) pauses as pulls do.
"""

import asyncio
import random
from typing import Protocol

import structlog

from controller.plan import host_of
from controller.workqueue import WorkQueue
from tidegate.registry.errors import RegistryError, Throttled

log = structlog.get_logger()

ASK_S = 5.0
_WORKERS = 4


class Registries(Protocol):
    """Who asks registries."""

    async def look(self, image: str) -> None:
        """Ask for the image by one HEAD where nodes pull it from. Raises RegistryError."""
        ...

    def leave_alone(self, host: str, seconds: float) -> None:
        """Ask nothing more of the registry's replica that nodes pull from for so long."""
        ...


class Paused(Protocol):
    """Who keeps pauses; all by registry host."""

    def asking(self, host: str, requests: int) -> None:
        """So many requests are about to be sent."""
        ...

    def pause(self, host: str, seconds: float) -> None:
        """The registry wants to be left alone for so long from now."""
        ...

    def paused_s(self, host: str) -> float:
        """Seconds for which it is to be left alone, by all that is known."""
        ...


class Pauses:
    """See the module."""

    def __init__(self, registries: Registries, *, paused: Paused, chance: random.Random) -> None:
        self._registries = registries
        self._paused = paused
        self._images: dict[str, str] = {}
        """What to ask for, by registry host."""
        self._queue = WorkQueue("pauses", self._ask, workers=_WORKERS, chance=chance)
        self.run = self._queue.run

    def throttled(self, image: str, retry_after_s: float | None) -> None:
        """A pull of the image was throttled, and told for how long or not."""
        host = host_of(image)
        if retry_after_s is not None:
            self._leave_alone(host)
        elif host not in self._images:
            self._images[host] = image
            self._queue.add(host)

    async def _ask(self, host: str) -> None:
        self._paused.asking(host, 1)
        try:
            async with asyncio.timeout(ASK_S):
                await self._registries.look(self._images[host])
        except Throttled as exc:
            if exc.retry_after_s is not None:
                self._paused.pause(host, exc.retry_after_s)
        except (RegistryError, TimeoutError) as exc:
            log.info("pause.unknown", registry=host, error=str(exc)[:256])
        finally:
            del self._images[host]
        self._leave_alone(host)

    def _leave_alone(self, host: str) -> None:
        seconds = self._paused.paused_s(host)
        log.info("registry.paused", registry=host, seconds=round(seconds, 3))
        if seconds > 0:
            self._registries.leave_alone(host, seconds)
