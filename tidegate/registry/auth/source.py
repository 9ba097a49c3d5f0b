"""What an entry of `auth` is to the client: who it may be for an image, found out when it is asked."""

from typing import Protocol

from tidegate.registry.auth.credentials import Credential


class NoCredential(Exception):
    """A source that should have had a credential could not be asked; the words hold no secret."""


class Source(Protocol):
    """One entry of `auth`. Images are normalised names without tag and digest: `r.example/team/app`."""

    label: str
    """What it is called in a detail."""

    async def credentials(self, image: str) -> tuple[Credential, ...]:
        """Those to try on an image, in their order; none if it has none for it. Raises NoCredential."""
        ...

    async def aclose(self) -> None:
        """End what is in flight."""
        ...


class FixedSource:
    """The same credential for every image."""

    def __init__(self, credential: Credential) -> None:
        self.label = credential.label
        self._credentials = (credential,)

    async def credentials(self, image: str) -> tuple[Credential, ...]:  # noqa: ARG002 - Source's shape
        """That one."""
        return self._credentials

    async def aclose(self) -> None:
        """Nothing is held."""


class PullSecretsSource:
    """Stands in the list for what an asker brings."""

    label = "pullSecrets"

    def __init__(self, place: int) -> None:
        self.place = place

    async def credentials(self, image: str) -> tuple[Credential, ...]:  # noqa: ARG002 - Source's shape
        """None of its own."""
        return ()

    async def aclose(self) -> None:
        """Nothing is held."""
