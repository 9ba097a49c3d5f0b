"""The configuration in force: read from the file, turned into rules, and replaced when the file changes.

An invalid new file keeps the old one; the log, `tidegate_config_valid` and `/readyz?verbose` say so.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Never, Protocol

import structlog

from tidegate.completeness import Checker
from tidegate.config import Config, ConfigError, load
from tidegate.config.policy import compile_policy
from tidegate.metrics import Metrics
from tidegate.policy import NAME_LABEL
from tidegate.process.stamps import stamp_of
from tidegate.replicas import open_registries, probed
from webhook.app import Health
from webhook.gate import Gate
from webhook.rules import Learner, Rules

log = structlog.get_logger()

_CHANCE = random.SystemRandom()
_LOOK_S = 1.0
_LEAVE_S = 35.0
"""Past the longest review: rules that were replaced are closed when nobody can be using them any more."""


def check(config: Config, *, standalone: bool) -> None:
    """Refuse rules that cannot work without the Kubernetes API. Raises ConfigError."""
    keys = compile_policy(config.policy).label_keys - {NAME_LABEL} if standalone else frozenset()
    if keys:
        message = (
            f"policy.rules: nobody knows a namespace's labels here ({', '.join(sorted(keys))}); "
            f"match {NAME_LABEL}, or run in a cluster"
        )
        raise ConfigError(message)


@asynccontextmanager
async def rules_of(config: Config, *, metrics: Metrics) -> AsyncIterator[Rules]:
    """The rules of one configuration, with the clients that they ask by. Raises ConfigError."""
    async with open_registries(config, metrics=metrics) as registries, probed(registries, chance=_CHANCE):
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics)
        try:
            yield Rules(compile_policy(config.policy), frozenset(registries), checker)
        finally:
            await checker.aclose()


class Taught(Protocol):
    """What teaches a checker that comes new all that is known."""

    def teach(self, checker: Learner, *, registries: frozenset[str] | None = None) -> None:
        """`registries`: those that facts from before are about; None: all."""
        ...


class LiveConfig:
    """Follows the file for one gate."""

    def __init__(self, path: Path, config: Config, *, metrics: Metrics, health: Health, standalone: bool) -> None:
        self._path = path
        self._config = config
        self._metrics = metrics
        self._health = health
        self._standalone = standalone
        self._stamp = stamp_of(path)
        self._current = AsyncExitStack()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Rules]:
        """The rules of the first configuration; those in force at the end are closed with it."""
        self._say("ok")
        rules = await self._open(self._config)
        try:
            yield rules
        finally:
            await self._current.aclose()

    async def follow(self, gate: Gate, facts: Taught) -> Never:
        """Replace the gate's rules whenever the file holds another valid configuration."""
        async with asyncio.TaskGroup() as leaving:
            while True:
                await asyncio.sleep(_LOOK_S)
                stamp = stamp_of(self._path)
                if stamp == self._stamp:
                    continue
                self._stamp = stamp
                config = None
                try:
                    config = await self._read()
                    if config != self._config:
                        await self._replace(gate, facts, config, leaving)
                except ConfigError as exc:
                    if config is not None:  # a file that it names cannot be used yet: look again
                        self._stamp = None
                    self._refuse(str(exc))
                else:
                    self._say("ok")

    async def _replace(self, gate: Gate, facts: Taught, config: Config, leaving: asyncio.TaskGroup) -> None:
        if self._asks_alike(config):  # what was learned about replicas stays
            gate.rules = replace(gate.rules, policy=compile_policy(config.policy))
        else:
            replaced = self._current
            gate.rules = await self._open(config)
            facts.teach(gate.rules.checker, registries=self._same(config))
            leaving.create_task(_close_later(replaced), name="close replaced rules")
        self._config = config
        log.info("config.reloaded", registries=sorted(gate.rules.hosts))

    def _asks_alike(self, config: Config) -> bool:
        return config.registries == self._config.registries and config.cluster == self._config.cluster

    def _same(self, config: Config) -> frozenset[str]:
        """Registries of which the new configuration means the very same: what was said of them still holds."""
        if config.cluster != self._config.cluster:
            return frozenset()
        return frozenset(registry.host for registry in config.registries if registry in self._config.registries)

    async def _open(self, config: Config) -> Rules:
        stack = AsyncExitStack()
        rules = await stack.enter_async_context(rules_of(config, metrics=self._metrics))
        self._current = stack
        return rules

    async def _read(self) -> Config:
        config = await asyncio.to_thread(load, self._path)
        check(config, standalone=self._standalone)
        return config

    def _refuse(self, words: str) -> None:
        if self._health.notes["config"] != words:
            log.warning("config.refused", error=words)
        self._say(words)

    def _say(self, words: str) -> None:
        self._metrics.config_valid.set(words == "ok")
        self._health.notes["config"] = words


async def _close_later(replaced: AsyncExitStack) -> None:
    try:
        await asyncio.sleep(_LEAVE_S)
    finally:
        await replaced.aclose()
