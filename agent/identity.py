"""Where this node's credentials are, as the command line says: opened at the start, asked at each pull.

In this order: kubelet's own credential provider plugins, a docker config file, pull secrets through the controller.
"""

import argparse
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.credentials import Hosts, Kept, Source
from agent.pull_secret import Controller, PullSecretSource, controller_of
from tidegate.config import ConfigError
from tidegate.config.credential_providers import NodeProviders, node_providers
from tidegate.registry.auth import source as registry
from tidegate.registry.auth.docker_config import DockerConfigSource
from tidegate.registry.auth.plugin import LONGEST_S
from tidegate.registry.auth.providers import Provider, ProvidersSource

log = structlog.get_logger()

TOKEN_FILE = Path("/var/run/secrets/tidegate/pull-secrets/token")
_READ_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What the command line names; read and found usable."""

    plugins: NodeProviders | None = None
    bin_dir: Path = Path()
    docker_config: Path | None = None
    controller: Controller | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags for all of it; without any the runtime pulls with its own configuration."""
    group = parser.add_argument_group("credentials", "tried in this order; without any the runtime uses its own")
    group.add_argument(
        "--image-credential-provider-config", type=Path, metavar="FILE", help="kubelet's file of plugins on this node"
    )
    group.add_argument("--image-credential-provider-bin-dir", type=Path, metavar="DIR", help="and where they are")
    group.add_argument("--docker-config", type=Path, metavar="FILE", help="a .dockerconfigjson; read again on changes")
    group.add_argument("--controller-url", metavar="URL", help="https://…; asked for pull secrets of granted pulls")
    group.add_argument("--controller-ca-file", type=Path, metavar="FILE", help="PEM bundle; default: the system's")
    group.add_argument(
        "--controller-token-file", type=Path, metavar="FILE", default=TOKEN_FILE, help="default: %(default)s"
    )


def places_of(given: argparse.Namespace) -> Places:
    """Take the flags out of what was given. Raises ConfigError."""
    flags = vars(given)
    config, bin_dir = flags.pop("image_credential_provider_config"), flags.pop("image_credential_provider_bin_dir")
    docker_config, url = flags.pop("docker_config"), flags.pop("controller_url")
    ca_file, token_file = flags.pop("controller_ca_file"), flags.pop("controller_token_file")
    if (config is None) != (bin_dir is None):
        message = "--image-credential-provider-config and --image-credential-provider-bin-dir go together"
        raise ConfigError(message)
    return Places(
        plugins=None if config is None else node_providers(config, bin_dir),
        bin_dir=bin_dir or Path(),
        docker_config=docker_config,
        controller=None if url is None else controller_of(url, ca_file=ca_file, token_file=token_file),
    )


@asynccontextmanager
async def sources(
    places: Places, *, hosts: Hosts, clock: Callable[[], float], chance: random.Random
) -> AsyncIterator[tuple[Source, ...]]:
    """All of them in their order; what runs for them ends with the context."""
    found: list[Source] = []
    async with AsyncExitStack() as stack:
        for kept in _kept(places, clock):
            stack.push_async_callback(kept.aclose)
            found.append(Kept(kept, hosts=hosts))
        if places.controller is not None:
            found.append(PullSecretSource(places.controller, hosts=hosts, chance=chance))
        yield tuple(found)


def _kept(places: Places, clock: Callable[[], float]) -> list[registry.Source]:
    kept: list[registry.Source] = []
    if places.plugins is not None:
        for sentence in places.plugins.passed_over:
            log.warning("credential_provider.passed_over", why=sentence)
        providers = [Provider(config, bin_dir=places.bin_dir, clock=clock) for config in places.plugins.usable]
        kept.append(ProvidersSource(place=0, label="plugins", providers=providers, patience_s=LONGEST_S))
    if places.docker_config is not None:
        file = str(places.docker_config)
        kept.append(DockerConfigSource(place=1, file=file, clock=clock, timeout_s=_READ_S))
    return kept
