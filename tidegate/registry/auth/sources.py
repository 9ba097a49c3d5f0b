"""The entries of `auth`, opened in their order."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from yarl import URL

from tidegate.config.credential_providers import load_providers
from tidegate.config.errors import ConfigError
from tidegate.config.registries import ArtifactRegistryAuth, AuthConfig, CredentialProviderAuth
from tidegate.registry import hosts
from tidegate.registry.auth import artifact_registry, azure, ecr
from tidegate.registry.auth.cloud import CloudSource, Kept, open_cloud_session
from tidegate.registry.auth.credentials import Credential, basic_credential
from tidegate.registry.auth.docker_config import DockerConfigSource
from tidegate.registry.auth.providers import Provider, ProvidersSource
from tidegate.registry.auth.source import FixedSource, PullSecretsSource, Source
from tidegate.registry.bounds import Timeouts


async def open_sources(
    auth: Sequence[AuthConfig], *, endpoint: URL, clock: Callable[[], float], timeouts: Timeouts
) -> tuple[Source, ...]:
    """One source an entry. Raises ConfigError, which begins with the entry's path in its registry."""
    opened: list[Source] = []
    try:
        for place, entry in enumerate(auth):
            source = await _of_cloud(place, entry, endpoint, clock, timeouts)
            opened.append(source or await _open(place, entry, clock, timeouts))
    except BaseException:
        for source in opened:
            await source.aclose()
        raise
    return tuple(opened)


async def _open(place: int, entry: AuthConfig, clock: Callable[[], float], timeouts: Timeouts) -> Source:
    if (basic := entry.basic) is not None:
        return FixedSource(basic_credential(place, basic))
    if (docker := entry.docker_config) is not None:
        return DockerConfigSource(place=place, file=docker.file, clock=clock, timeout_s=timeouts.secret_s)
    if (plugins := entry.credential_provider) is not None:
        return await _providers(place, plugins, clock, timeouts)
    if entry.pull_secrets is not None:
        return PullSecretsSource(place)
    return FixedSource(Credential(place))


async def _of_cloud(
    place: int, entry: AuthConfig, endpoint: URL, clock: Callable[[], float], timeouts: Timeouts
) -> Source | None:
    """None for an entry that names no cloud."""
    if entry.azure is None and entry.ecr is None and entry.artifact_registry is None:
        return None
    host = hosts.host_of(endpoint)
    if endpoint.scheme != "https" and not hosts.is_local(host):
        message = f"auth[{place}]: what a cloud gives goes over TLS only, and {host} is plain HTTP"
        raise ConfigError(message)
    session = open_cloud_session(timeouts)
    try:
        if (config := entry.azure) is not None:
            label = f"azure {config.client_id or config.identity}"
            entra = await azure.open_identity(place, config, session=session, wall=time.time)
            kept = Kept(entra, label=label, clock=clock, patience_s=timeouts.identity_s)
            return azure.AzureSource(place=place, label=label, kept=kept, tenant=config.tenant_id or "")
        if entry.ecr is not None:
            aws = await ecr.open_identity(place, host, session=session, wall=time.time)
            kept = Kept(aws, label="ecr", clock=clock, patience_s=timeouts.identity_s)
            return CloudSource(place=place, label="ecr", username=ecr.USER, kept=kept)
        google_config = entry.artifact_registry or ArtifactRegistryAuth()
        google = await artifact_registry.open_identity(place, host, google_config, session=session, wall=time.time)
        kept = Kept(google, label="artifactRegistry", clock=clock, patience_s=timeouts.identity_s)
        return CloudSource(place=place, label="artifactRegistry", username=artifact_registry.USER, kept=kept)
    except BaseException:
        await session.close()
        raise


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
