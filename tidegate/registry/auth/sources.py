"""The entries of `auth`, opened in their order."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tidegate.config.credential_providers import load_providers
from tidegate.config.errors import ConfigError
from tidegate.config.registries import AuthConfig, CredentialProviderAuth
from tidegate.registry.auth.credentials import Credential, basic_credential
from tidegate.registry.auth.docker_config import DockerConfigSource
from tidegate.registry.auth.providers import Provider, ProvidersSource
from tidegate.registry.auth.source import FixedSource, Source
from tidegate.registry.bounds import Timeouts


async def open_sources(
    auth: Sequence[AuthConfig], *, clock: Callable[[], float], timeouts: Timeouts
) -> tuple[Source, ...]:
    """One source an entry. Raises ConfigError, which begins with the entry's path in its registry."""
    return tuple([await _open(place, entry, clock, timeouts) for place, entry in enumerate(auth)])


async def _open(place: int, entry: AuthConfig, clock: Callable[[], float], timeouts: Timeouts) -> Source:
    if (basic := entry.basic) is not None:
        return FixedSource(basic_credential(place, basic))
    if (docker := entry.docker_config) is not None:
        return DockerConfigSource(place=place, file=docker.file, clock=clock, timeout_s=timeouts.secret_s)
    if (plugins := entry.credential_provider) is not None:
        return await _providers(place, plugins, clock, timeouts)
    return FixedSource(Credential(place))


async def _providers(
    place: int, entry: CredentialProviderAuth, clock: Callable[[], float], timeouts: Timeouts
) -> ProvidersSource:
    bin_dir = Path(entry.bin_dir)
    try:
        configs = await asyncio.to_thread(load_providers, Path(entry.config), bin_dir)
    except ConfigError as exc:
        path = f"auth[{place}].credentialProvider"
        message = "\n".join(f"{path}: {line}" for line in str(exc).splitlines())
        raise ConfigError(message) from exc
    return ProvidersSource(
        place=place,
        label=f"credentialProvider {entry.config}",
        providers=[Provider(config, bin_dir=bin_dir, clock=clock) for config in configs],
        patience_s=timeouts.plugin_s,
    )
