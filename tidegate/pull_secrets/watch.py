"""One namespace's pull secrets and ServiceAccounts, kept current. Nothing of a Secret but its name is in any log."""

import asyncio
import binascii
from base64 import b64decode

import structlog

from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.pull_secrets.bound import Bounded
from tidegate.pull_secrets.shapes import (
    DATA_KEYS,
    DOCKER_CONFIG,
    DOCKER_CONFIG_JSON,
    PULL_SECRETS,
    SERVICE_ACCOUNTS,
    PullSecretObject,
)
from tidegate.pull_secrets.wearer import MOST_SECRETS, Wearer
from tidegate.registry.auth.docker_config import UnusableFile, docker_config_entries
from tidegate.registry.auth.tenants import PullSecret

log = structlog.get_logger()


class NamespaceWatch:
    """Run it; it lists and watches two types of Secrets and the ServiceAccounts of one namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._accounts = Reflector(client, SERVICE_ACCOUNTS, namespace=namespace)
        self._secrets = {
            kind: Reflector(Bounded(client), PULL_SECRETS, namespace=namespace, field_selector=f"type={kind}")
            for kind in DATA_KEYS
        }
        self._namespace = namespace
        self._read: dict[tuple[str, str], PullSecret] = {}
        """By type and name: the two watches tell in no common order of one that was made anew with another type."""
        self.revision = 0
        """Counts what changes an answer of `secrets`."""
        for reflector in self._secrets.values():
            reflector.subscribe(self._take)
        self._accounts.subscribe(lambda *_: self._count())

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._secrets.values():
                tasks.create_task(reflector.run())
            tasks.create_task(self._accounts.run())

    async def synced(self) -> None:
        """Wait until all of it is here once; for ever where the API server refuses it."""
        await self._accounts.synced.wait()
        for kind in (DOCKER_CONFIG_JSON, DOCKER_CONFIG):
            await self._secrets[kind].synced.wait()

    def secrets(self, wearer: Wearer) -> tuple[PullSecret, ...]:
        """Those that are there and can be read, in their order."""
        places = ((kind, name) for name in self._names(wearer) for kind in DATA_KEYS)
        return tuple(self._read[place] for place in places if place in self._read)

    def _names(self, wearer: Wearer) -> tuple[str, ...]:
        if not wearer.account:
            return wearer.secrets
        account = self._accounts.objects.get(f"{self._namespace}/{wearer.account}")
        named = () if account is None else account.image_pull_secrets[:MOST_SECRETS]
        return tuple(dict.fromkeys(secret.name for secret in named))

    def _take(self, _key: str, old: PullSecretObject | None, new: PullSecretObject | None) -> None:
        there = new or old
        if there is None:
            return
        place = (there.type, there.metadata.name)
        read = None if new is None else self._parsed(new)
        if read is None:
            self._read.pop(place, None)
        else:
            self._read[place] = read
        self._count()

    def _count(self) -> None:
        self.revision += 1

    def _parsed(self, secret: PullSecretObject) -> PullSecret | None:
        name = secret.metadata.name
        try:
            return PullSecret(name, docker_config_entries(b64decode(secret.config, validate=True)))
        except (UnusableFile, binascii.Error):  # whose words may quote a key with a password in it
            log.warning("pull_secret.passed_over", namespace=self._namespace, secret=name)
            return None
