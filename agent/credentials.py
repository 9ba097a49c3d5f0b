"""As whom an image is pulled: the credentials that kubelet would use, one after the other.

Sources are asked in their order, the next one only when all that the former had was refused. As with kubelet, an image
for which no source has anything is pulled without a credential, that is with the runtime's own configuration, and one
whose credentials were all refused is not pulled without. At most `MOST_TRIES` a grant: each that is refused costs the
registry requests that the grant did not count (one where it gives tokens, five with containerd and Basic), so what was
refused goes last for `REFUSED_S`.

A runtime shows a credential to no other host than the image's own, unless the configuration says that the registry has
endpoints elsewhere: then the node's mirrors lead there, and the credential is for whoever the node trusts with pulls.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from cachetools import TTLCache

from tidegate.config import Config
from tidegate.cri import Credential, PullError
from tidegate.kube.own import Reason
from tidegate.reference import ImageReference, InvalidReference
from tidegate.registry.auth import source as registry

log = structlog.get_logger()

MOST_TRIES = 3
REFUSED_S = 600.0
_MOST_REFUSED = 1024
_MOST_WORDS = 120
NoCredential = registry.NoCredential
"""A source could not be asked; its words hold no secret."""


@dataclass(frozen=True, slots=True)
class Found:
    """One credential, and where it is from: words without a secret."""

    credential: Credential
    origin: str


class Source(Protocol):
    """Where credentials are found."""

    async def credentials(self, image: str) -> tuple[Found, ...]:
        """Those for an image, spelled as Pods spell it, in the order in which to try them. Raises NoCredential."""
        ...


class Store(Protocol):
    """The runtime. `tidegate.cri.CriImages` is one."""

    async def present(self, image: str) -> bool: ...

    async def pull(self, image: str, auth: Credential | None = None, *, timeout: float) -> str: ...  # noqa: ASYNC109 - the RPC's own deadline


class Hosts:
    """What the configuration says of each registry's hosts; `take` follows it."""

    def __init__(self, config: Config) -> None:
        self.take(config)

    def take(self, config: Config) -> None:
        """Go by this one from now on."""
        self._elsewhere = frozenset(
            registry.host
            for registry in config.registries
            if any(urlsplit(replica.endpoint).netloc != registry.host for replica in registry.replicas.values())
        )
        self._pull_secrets = frozenset(entry.host for entry in config.registries if entry.pull_secret_namespaces)

    def server(self, host: str) -> str:
        """The URL of the only host that may see a credential for this one; empty: any."""
        return "" if host in self._elsewhere else f"https://{host}"

    def has_pull_secrets(self, host: str) -> bool:
        """Whether pull secrets may be for its images."""
        return host in self._pull_secrets


class Kept:
    """What the files and plugins of the node have (`tidegate.registry.auth`), for the runtime."""

    def __init__(self, source: registry.Source, *, hosts: Hosts) -> None:
        self._source = source
        self._hosts = hosts

    async def credentials(self, image: str) -> tuple[Found, ...]:
        """See Source."""
        reference = parsed(image)
        server = self._hosts.server(reference.domain)
        return tuple(
            Found(Credential(found.username, found.password or "", server), found.label)
            for found in await self._source.credentials(reference.name)
            if found.username is not None
        )


class Authenticated:
    """An `agent.ports.ImageStore` that pulls as whoever may."""

    def __init__(self, store: Store, sources: Sequence[Source]) -> None:
        self._store = store
        self._sources = sources
        self._refused: TTLCache[tuple[str, bytes], bool] = TTLCache(
            _MOST_REFUSED, REFUSED_S, timer=asyncio.get_running_loop().time
        )

    async def present(self, image: str) -> bool:
        """See ImageStore."""
        return await self._store.present(image)

    async def pull(self, image: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the runtime is told this deadline
        """See ImageStore. All tries together have `timeout` seconds."""
        clock = asyncio.get_running_loop().time
        until, faults, refused = clock() + timeout, list[str](), dict[Credential, PullError]()
        async with aclosing(self._found(image, faults)) as found:
            async for credential in found:
                if credential in refused:
                    continue
                try:
                    return await self._store.pull(image, credential, timeout=max(0.0, until - clock()))
                except PullError as exc:
                    if exc.reason is not Reason.UNAUTHORIZED:
                        raise
                    refused[credential] = exc
                    self._refused[_mark(image, credential)] = True
                if len(refused) == MOST_TRIES:
                    break
        try:
            if refused:
                raise next(reversed(refused.values()))
            return await self._store.pull(image, None, timeout=max(0.0, until - clock()))
        except PullError as exc:
            if exc.reason is not Reason.UNAUTHORIZED or not (refused or faults):
                raise
            tried = f"credentials refused: {len(refused)}" if refused else "no credential"
            raise PullError(exc.reason, f"{exc.message} ({'; '.join([tried, *faults])[:_MOST_WORDS]})") from exc

    async def _found(self, image: str, faults: list[str]) -> AsyncGenerator[Credential, None]:
        later: list[Found] = []
        for source in self._sources:
            try:
                for found in await source.credentials(image):
                    if _mark(image, found.credential) in self._refused:
                        later.append(found)
                    else:
                        log.info("credential.tried", image=image, origin=found.origin)
                        yield found.credential
            except NoCredential as exc:
                faults.append(str(exc))
                log.warning("credential.not_found", image=image, error=str(exc))
        for found in later:
            log.info("credential.tried_again", image=image, origin=found.origin)
            yield found.credential


def _mark(image: str, credential: Credential) -> tuple[str, bytes]:
    """What is remembered of a refusal, without the secret."""
    whole = f"{credential.username}:{credential.password}".encode("utf-8", "surrogatepass")
    return image, hashlib.sha256(whole).digest()


def parsed(image: str) -> ImageReference:
    """The image as a reference. Raises NoCredential for what is none."""
    try:
        return ImageReference.parse(image)
    except InvalidReference as exc:
        message = "no image reference"
        raise NoCredential(message) from exc
