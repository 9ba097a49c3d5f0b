"""The replicas of each registry of the configuration, opened together and closed together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tidegate.config import Config, ConfigError
from tidegate.metrics import Metrics
from tidegate.registry.auth.tenants import Asker, PullSecretsEntry, Tenant, asker_of, pull_secrets_entries
from tidegate.registry.client import ReplicaClient
from tidegate.registry.dns import Lookup, Names
from tidegate.replicas.circuit import Circuit
from tidegate.replicas.replica import Replica


@dataclass(frozen=True, slots=True)
class RegistryReplicas:
    """A registry host and its replicas by what they are for; one replica may be several."""

    host: str
    home: Replica
    """Where tags are resolved."""
    local: tuple[Replica, ...]
    """Must all be complete."""
    failover: tuple[Replica, ...]
    """Asked in this order when a local one cannot be."""
    others: tuple[Replica, ...] = ()
    """In the configuration, but asked only by name."""
    pull_secrets: tuple[PullSecretsEntry, ...] = ()
    """Where there are any, what may be told of an image depends on who asks."""

    def asker(self, tenant: Tenant, path: str) -> Asker | None:
        """Who asks about a repository; None where everybody has the same credentials."""
        return asker_of(tenant, self.pull_secrets, f"{self.host}/{path}") if self.pull_secrets else None

    @property
    def every(self) -> tuple[Replica, ...]:
        """Each replica once."""
        return tuple({r.name: r for r in (self.home, *self.local, *self.failover, *self.others)}.values())


@asynccontextmanager
async def open_registries(
    config: Config, *, metrics: Metrics, lookup: Lookup | None = None
) -> AsyncIterator[Mapping[str, RegistryReplicas]]:
    """By host; one client for each replica, closed when the context ends. Nothing is asked yet. Raises ConfigError.

    `lookup` asks nameservers, by default the system's.
    """
    now = asyncio.get_running_loop().time
    registries: dict[str, RegistryReplicas] = {}
    async with AsyncExitStack() as stack:
        names = Names(lookup or Lookup(), now=now)
        stack.push_async_callback(names.aclose)
        for position, registry in enumerate(config.registries):
            replicas: dict[str, Replica] = {}
            for name, replica in registry.replicas.items():
                client = ReplicaClient(
                    registry=registry.host,
                    name=name,
                    config=replica,
                    auth=registry.auth,
                    token_hosts=registry.token_hosts,
                    limits=registry.limits,
                    metrics=metrics,
                    names=names,
                )
                await _opened(stack, client, f"registries[{position}]")
                replicas[name] = Replica(client, circuit=Circuit(now=now), metrics=metrics, now=now)
            used = {registry.home_name, *registry.local_names, *registry.failover}
            registries[registry.host] = RegistryReplicas(
                registry.host,
                home=replicas[registry.home_name],
                local=tuple(replicas[name] for name in registry.local_names),
                failover=tuple(replicas[name] for name in registry.failover),
                others=tuple(replica for name, replica in replicas.items() if name not in used),
                pull_secrets=pull_secrets_entries(registry.auth),
            )
        yield registries


async def _opened(stack: AsyncExitStack, client: ReplicaClient, path: str) -> ReplicaClient:
    """What `path` names and cannot be used (a certificate bundle, plugins) is a fault of the configuration."""
    try:
        return await stack.enter_async_context(client)
    except ConfigError as exc:
        message = "\n".join(f"{path}.{line}" for line in str(exc).splitlines())
        raise ConfigError(message) from exc
    except OSError as exc:
        message = f"{path}.replicas.{client.name}.caFile: {exc.strerror or exc}; give a readable PEM bundle"
        raise ConfigError(message) from exc
