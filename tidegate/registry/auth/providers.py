"""Credential provider plugins as a source of credentials: asked, remembered, combined, as kubelet does.

All plugins whose `matchImages` fit an image are asked; their answers make one keyring, in which the earlier plugin
wins under an equal key. A plugin that fails takes nothing from the others. An answer is remembered for the image,
the registry or everything, as it says itself, and for as long as it says.

A run goes on when the caller who started it gives up: the next caller finds its result. At most `_RUNS` at once of
one plugin: those who waited for a place look into the memory first.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from cachetools import TLRUCache

from tidegate.config.credential_providers import ProviderConfig
from tidegate.registry.auth.credentials import Credential, UserPassword
from tidegate.registry.auth.matching import Keyring, matches
from tidegate.registry.auth.plugin import LONGEST_S, CacheKeyType, PluginAnswer, PluginFailed, ask_plugin
from tidegate.registry.auth.source import NoCredential
from tidegate.registry.flights import Flights

_ENTRIES = 1024
_FAILED_S = 5.0
"""A failed run is not repeated for the same image for so long."""
_RUNS = 2

_log = structlog.get_logger()

_Key = tuple[CacheKeyType, str]
_Outcome = PluginAnswer | PluginFailed


class Provider:
    """One plugin and what it said."""

    def __init__(
        self, config: ProviderConfig, *, bin_dir: Path, clock: Callable[[], float], longest_s: float = LONGEST_S
    ) -> None:
        self.name = config.name
        self._config = config
        self._executable = str(bin_dir / config.name)
        self._env = {variable.name: variable.value.get_secret_value() for variable in config.env}
        self._longest_s = longest_s
        self._known: TLRUCache[_Key, _Outcome] = TLRUCache(_ENTRIES, ttu=self._until, timer=clock)
        self._flights: Flights[str, _Outcome] = Flights("plugin", lasting=True)
        self._places = asyncio.Semaphore(_RUNS)

    def is_for(self, image: str) -> bool:
        """Whether the plugin is asked about an image."""
        return any(matches(pattern, image) for pattern in self._config.match_images)

    async def ask(self, image: str) -> _Outcome:
        """What it says now, or said before."""
        known = self._recall(image)
        return await self._flights.join(image, lambda: self._run(image)) if known is None else known

    async def aclose(self) -> None:
        """End what still runs."""
        await self._flights.aclose()

    def _recall(self, image: str) -> _Outcome | None:
        keys = ((kind, _name(kind, image)) for kind in CacheKeyType)
        return next((known for key in keys if (known := self._known.get(key)) is not None), None)

    async def _run(self, image: str) -> _Outcome:
        async with self._places:
            if (known := self._recall(image)) is not None:
                return known
            try:
                outcome: _Outcome = await ask_plugin(
                    self._executable, args=self._config.args, env=self._env, image=image, longest_s=self._longest_s
                )
            except PluginFailed as exc:
                outcome = exc
                _log.warning("credential_provider.failed", provider=self.name, image=image, reason=str(exc))
        kind = CacheKeyType.IMAGE if isinstance(outcome, PluginFailed) else outcome.reach
        self._known[kind, _name(kind, image)] = outcome
        return outcome

    def _until(self, _: _Key, outcome: _Outcome, now: float) -> float:
        if isinstance(outcome, PluginFailed):
            return now + _FAILED_S
        return now + (self._config.default_cache_duration if outcome.keep_s is None else outcome.keep_s)


def _name(kind: CacheKeyType, image: str) -> str:
    match kind:
        case CacheKeyType.IMAGE:
            return image
        case CacheKeyType.REGISTRY:
            return image.partition("/")[0]
        case CacheKeyType.GLOBAL:
            return ""


class ProvidersSource:
    """The plugins of one file."""

    def __init__(self, *, place: int, label: str, providers: Sequence[Provider], patience_s: float) -> None:
        self.label = label
        self._place = place
        self._providers = providers
        self._patience_s = patience_s

    async def credentials(self, image: str) -> tuple[Credential, ...]:
        """What all plugins together have for an image. Raises NoCredential when they have nothing and one failed."""
        asked = [provider for provider in self._providers if provider.is_for(image)]
        outcomes = await asyncio.gather(*(self._ask(provider, image) for provider in asked))
        entries: list[tuple[str, tuple[str, UserPassword]]] = []
        faults: list[str] = []
        for provider, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, PluginFailed):
                faults.append(f"{provider.name} {outcome}")
            else:
                entries.extend((key, (provider.name, who)) for key, who in outcome.auth)
        found = tuple(
            Credential(self._place, who.username, who.password, origin=f"credentialProvider {name} {key}")
            for key, (name, who) in Keyring(entries).lookup(image)
        )
        if faults and not found:
            raise NoCredential("; ".join(faults))
        return found

    async def aclose(self) -> None:
        """End the plugins that still run."""
        for provider in self._providers:
            await provider.aclose()

    async def _ask(self, provider: Provider, image: str) -> _Outcome:
        try:
            async with asyncio.timeout(self._patience_s):
                return await provider.ask(image)
        except TimeoutError:
            return PluginFailed(f"has not answered in {self._patience_s:g} s, and goes on")
