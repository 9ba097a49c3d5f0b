"""Who asks where namespaces bring their own credentials: a tenant's pull secrets, what they hold for an image. Pure.

    tenant  a namespace with the pull secrets of one object, as they are now
    asker   the credentials that a tenant's secrets hold for one image of one registry

What a replica holds is the same for everybody; who may be told of it is not. Whatever is remembered of the right to
read, and whatever work is shared, is keyed by an asker. Nothing here shows a secret in its repr.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tidegate.config.registries import AuthConfig
from tidegate.registry.auth.credentials import Credential, UserPassword
from tidegate.registry.auth.matching import Keyring

MOST_CREDENTIALS = 16
"""That a tenant's secrets may hold for one image; the registry is asked with no more of them."""


@dataclass(frozen=True, slots=True)
class PullSecret:
    """One Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg, read."""

    name: str
    entries: tuple[tuple[str, UserPassword], ...] = field(repr=False)
    """Under keys as they are written."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose question it is; `tenant_of` makes one."""

    namespace: str = ""
    secrets: tuple[PullSecret, ...] = ()
    """In the object's order; what could not be read is left out, as kubelet does."""
    keyring: Keyring[tuple[str, UserPassword]] = field(default=Keyring(()), repr=False, compare=False)
    """Of all secrets together, as kubelet has it: the longest key counts first, whichever Secret it is in."""


def tenant_of(namespace: str, secrets: Iterable[PullSecret]) -> Tenant:
    """A namespace's object with these pull secrets."""
    taken = tuple(secrets)
    entries = ((key, (secret.name, who)) for secret in taken for key, who in secret.entries)
    return Tenant(namespace, taken, Keyring(entries))


NOBODY = Tenant()
"""Has the configured credentials, as everybody does, and no others."""


@dataclass(frozen=True, slots=True)
class Asker:
    """What a tenant can show for one image besides the configured credentials."""

    credentials: tuple[Credential, ...] = field(default=(), repr=False)

    def of(self, place: int) -> tuple[Credential, ...]:
        """Those that an entry of `auth` lets count."""
        return tuple(credential for credential in self.credentials if credential.place == place)


@dataclass(frozen=True, slots=True)
class PullSecretsEntry:
    """An entry of `auth` that lets pull secrets count: its place there, and in which namespaces."""

    place: int
    namespaces: frozenset[str]


def pull_secrets_entries(auth: Sequence[AuthConfig]) -> tuple[PullSecretsEntry, ...]:
    """Those of a registry's `auth`."""
    return tuple(
        PullSecretsEntry(place, frozenset(entry.pull_secrets.namespaces))
        for place, entry in enumerate(auth)
        if entry.pull_secrets is not None
    )


def asker_of(tenant: Tenant, entries: Iterable[PullSecretsEntry], image: str) -> Asker:
    """`image` is the normalised name without tag and digest; keys are matched as kubelet does."""
    if not tenant.secrets:
        return NO_ASKER
    places = [entry.place for entry in entries if tenant.namespace in entry.namespaces]
    if not places:
        return NO_ASKER
    credentials = {
        Credential(place, who.username, who.password, origin=f"pullSecret {name}"): None
        for place in places
        for _, (name, who) in tenant.keyring.lookup(image)
    }
    return Asker(tuple(islice(credentials, MOST_CREDENTIALS)))


NO_ASKER = Asker()
"""Shows nothing of its own."""
