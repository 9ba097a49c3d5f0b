"""A program's configuration file, followed: an invalid new one keeps the old one, and everybody is told.

The log, `tidegate_config_valid` and `/readyz?verbose` say so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Never, Self, TypeVar

import structlog

from tidegate.config import Config, ConfigError, load
from tidegate.metrics import Metrics
from tidegate.process.stamps import stamp_of

log = structlog.get_logger()

T = TypeVar("T")

_LOOK_S = 1.0
_SETTLE_S = 10.0


class FollowedConfig:
    """The file at `path`, which holds `config` now. `notes`: check → words, of which this one is `config`.

    `meant` makes of what the file says what counts; it may say something else from one second to the next.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        *,
        metrics: Metrics,
        notes: dict[str, str],
        meant: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self._path = path
        self._meant = meant
        self._written = config
        self._config = config
        self._metrics = metrics
        self._notes = notes
        self._stamp: object = stamp_of(path)
        self._say("ok")

    async def follow(self, take: Callable[[Config], Awaitable[None]]) -> Never:
        """Have every other valid configuration taken. `take` may raise ConfigError: then it is tried again."""
        while True:
            await asyncio.sleep(_LOOK_S)
            stamp = stamp_of(self._path)
            if stamp == self._stamp and self._meant(self._written) == self._config:
                continue
            config = None
            try:
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._written = await asyncio.to_thread(load, self._path)
                config = self._meant(self._written)
                if config != self._config:
                    await take(config)
                    self._config = config
                    log.info("config.reloaded", registries=[registry.host for registry in config.registries])
            except ConfigError as exc:
                if config is not None:  # a file that it names cannot be used yet: look again
                    self._stamp = None
                self._refuse(str(exc))
            else:
                self._say("ok")

    async def settled(self) -> None:
        """Wait until what counts now has been taken; for what cannot be taken, not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while self._meant(self._written) != self._config:  # noqa: ASYNC110  both sides may move
                    await asyncio.sleep(_LOOK_S / 4)

    def _refuse(self, words: str) -> None:
        if self._notes["config"] != words:
            log.warning("config.refused", error=words)
        self._say(words)

    def _say(self, words: str) -> None:
        self._metrics.config_valid.set(words == "ok")
        self._notes["config"] = words


def asks_alike(one: Config, other: Config) -> bool:
    """Whether what was learned about replicas under the one is true under the other."""
    return one.registries == other.registries and one.cluster == other.cluster


class Succession(Generic[T]):
    """One open thing after another. What was replaced is closed `leave_s` later, when nobody can be using it."""

    def __init__(self, *, leave_s: float) -> None:
        self._leave_s = leave_s
        self._current: AsyncExitStack | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving = tuple(self._leaving)
        for task in leaving:
            task.cancel()
        if leaving:
            await asyncio.wait(leaving)
        if self._current is not None:
            await self._current.aclose()

    async def open(self, context: AbstractAsyncContextManager[T]) -> T:
        """Open the next one; whatever opening raises leaves everything as it was."""
        stack = AsyncExitStack()
        opened = await stack.enter_async_context(context)
        replaced, self._current = self._current, stack
        if replaced is not None:
            task = asyncio.create_task(self._close_later(replaced), name="close what was replaced")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        return opened

    async def _close_later(self, replaced: AsyncExitStack) -> None:
        try:
            await asyncio.sleep(self._leave_s)
        finally:
            await replaced.aclose()
