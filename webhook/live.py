"""The configuration in force: read from the file, turned into rules, and replaced when the file changes.

An invalid new file keeps the old one; the log, `tidegate_config_valid` and `/readyz?verbose` say so.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Never, Protocol

from tidegate.completeness import Checker
from tidegate.config import Config, ConfigError
from tidegate.config.policy import compile_policy
from tidegate.config.workloads import places_of
from tidegate.metrics import Metrics
from tidegate.policy import NAME_LABEL
from tidegate.process.following import FollowedConfig, Succession, asks_alike
from tidegate.process.platforms import ClusterPlatforms
from tidegate.replicas import open_registries, probed
from webhook.app import Health
from webhook.gate import Gate
from webhook.rules import Learner, Rules

_CHANCE = random.SystemRandom()
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
    for position, registry in enumerate(config.registries) if standalone else ():
        for place, entry in enumerate(registry.auth):
            if entry.pull_secrets is not None:
                message = (
                    f"registries[{position}].auth[{place}].pullSecrets: nobody knows Secrets here; run in a cluster"
                )
                raise ConfigError(message)


@asynccontextmanager
async def rules_of(config: Config, *, metrics: Metrics) -> AsyncIterator[Rules]:
    """The rules of one configuration, with the clients that they ask by. Raises ConfigError."""
    async with open_registries(config, metrics=metrics) as registries, probed(registries, chance=_CHANCE):
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics)
        try:
            yield Rules(
                compile_policy(config.policy),
                frozenset(registries),
                checker,
                config.pull_secret_namespaces,
                places_of(config.workloads),
            )
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
        self._config = config
        self._metrics = metrics
        self._standalone = standalone
        self.platforms = ClusterPlatforms()
        """Of the nodes, once it is told to follow them."""
        self._file = FollowedConfig(path, config, metrics=metrics, notes=health.notes, meant=self.platforms)
        self._rules: Succession[Rules] = Succession(leave_s=_LEAVE_S)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Rules]:
        """The rules of the first configuration; those in force at the end are closed with it."""
        async with self._rules as rules:
            yield await rules.open(rules_of(self._config, metrics=self._metrics))

    async def settled(self) -> None:
        """Wait until what is in force is what nodes mean, as far as they have been seen."""
        await self._file.settled()

    async def follow(self, gate: Gate, facts: Taught) -> Never:
        """Replace the gate's rules whenever the file holds another valid configuration."""
        await self._file.follow(partial(self._replace, gate, facts))

    async def _replace(self, gate: Gate, facts: Taught, config: Config) -> None:
        check(config, standalone=self._standalone)
        if asks_alike(config, self._config):  # what was learned about replicas stays
            policy, places = compile_policy(config.policy), places_of(config.workloads)
            gate.rules = replace(gate.rules, policy=policy, places=places)
        else:
            gate.rules = await self._rules.open(rules_of(config, metrics=self._metrics))
            facts.teach(gate.rules.checker, registries=self._same(config))
        self._config = config

    def _same(self, config: Config) -> frozenset[str]:
        """Registries of which the new configuration means the very same: what was said of them still holds."""
        if config.cluster != self._config.cluster:
            return frozenset()
        return frozenset(registry.host for registry in config.registries if registry in self._config.registries)
