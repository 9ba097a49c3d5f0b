"""The image file system: found through CRI, measured with statvfs, which has to see it from the agent's Pod."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

import structlog

from agent.room import Room
from tidegate.cri import CriError, ImageFilesystem

log = structlog.get_logger()

_STATVFS_S = 5.0


class ImageDisk:
    """A Disk. `filesystems` asks the runtime; `low_percent` is kubelet's low threshold."""

    def __init__(self, filesystems: Callable[[], Awaitable[Sequence[ImageFilesystem]]], *, low_percent: int) -> None:
        self._filesystems = filesystems
        self._low_percent = low_percent
        self._told = False

    async def shortfall(self, need: int) -> str:
        """See Disk. A mount that is not visible here is said once in the log, and stops nothing."""
        try:
            filesystems = await self._filesystems()
        except CriError:
            return ""  # whoever pulls will hear of it
        for mountpoint in dict.fromkeys(each.mountpoint for each in filesystems):
            room = await self._measured(mountpoint)
            words = room.shortfall(need, low_percent=self._low_percent) if room is not None else ""
            if words:
                return words
        return ""

    async def _measured(self, mountpoint: str) -> Room | None:
        try:
            async with asyncio.timeout(_STATVFS_S):
                seen = await asyncio.to_thread(os.statvfs, mountpoint)
        except (OSError, TimeoutError) as exc:
            if not self._told:
                self._told = True
                log.warning("disk.not_visible", mountpoint=mountpoint, error=str(exc) or "no answer")
            return None
        return Room(seen.f_frsize * seen.f_blocks, seen.f_frsize * seen.f_bavail)
