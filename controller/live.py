"""The configuration in force, and what asks the registries by it; both are replaced when the file changes."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from controller.holding.polls import REMEMBERED_ABSENCE_S
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import Config
from tidegate.metrics import Metrics
from tidegate.process.following import FollowedConfig, Succession, asks_alike
from tidegate.process.platforms import ClusterPlatforms
from tidegate.replicas import open_registries, probed

_CHANCE = random.SystemRandom()
_LEAVE_S = 30.0
"""Past the longest that the leader's rooms take to end."""


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """One configuration. The checker of the one before, with all that it remembers, where registries did not change."""

    config: Config
    checker: Checker


class LiveConfig:
    """Follows the file."""

    def __init__(self, path: Path, config: Config, *, metrics: Metrics, notes: dict[str, str]) -> None:
        self._config = config
        self._metrics = metrics
        self.platforms = ClusterPlatforms()
        """Of the nodes, once it is told to follow them."""
        self._file = FollowedConfig(path, config, metrics=metrics, notes=notes, meant=self.platforms)
        self._checkers: Succession[Checker] = Succession(leave_s=_LEAVE_S)
        self._moved = asyncio.Event()
        self.now: InForce

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """`now` is there from here on, and usable until the end. Raises ConfigError."""
        async with self._checkers:
            self.now = InForce(self._config, await self._checkers.open(self._checker(self._config)))
            yield

    async def follow(self) -> Never:
        """Replace `now` whenever the file holds another valid configuration."""
        await self._file.follow(self._take)

    async def settled(self) -> None:
        """Wait until what is in force is what nodes mean, as far as they have been seen."""
        await self._file.settled()

    async def changed(self, since: InForce) -> None:
        """Wait until `now` is another one."""
        while self.now is since:
            self._moved.clear()
            await self._moved.wait()

    async def _take(self, config: Config) -> None:
        checker = self.now.checker
        if not asks_alike(config, self.now.config):
            checker = await self._checkers.open(self._checker(config))
        self.now = InForce(config, checker)
        self._moved.set()

    @asynccontextmanager
    async def _checker(self, config: Config) -> AsyncIterator[Checker]:
        async with open_registries(config, metrics=self._metrics) as registries, probed(registries, chance=_CHANCE):
            memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
            checker = Checker(registries, platforms=config.cluster.platforms, metrics=self._metrics, memory=memory)
            try:
                yield checker
            finally:
                await checker.aclose()
