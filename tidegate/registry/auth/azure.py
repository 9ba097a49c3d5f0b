"""Who a Pod is in Azure: a workload identity or a managed identity, by azure-identity.

The library reads its environment itself: AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE and
AZURE_AUTHORITY_HOST, which AKS sets in Pods with the label `azure.workload.identity/use`. What the configuration says
goes before that. What is got is an Entra token for registries; `acr` makes an access token of it.
"""

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from tidegate.config.errors import ConfigError
from tidegate.config.registries import AzureAuth
from tidegate.registry.auth.cloud import Given, Kept, Wall
from tidegate.registry.auth.credentials import Credential, Exchange
from tidegate.registry.auth.source import NoCredential

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

SCOPE = "https://containerregistry.azure.net/.default"
NO_USER = "00000000-0000-0000-0000-000000000000"
"""ACR's name for whoever comes with a token."""
_RETRIES = 1
"""At once; the next fetch comes anyway."""


class EntraIdentity:
    """One identity at Entra."""

    def __init__(self, credential: "AsyncTokenCredential", *, session: aiohttp.ClientSession, wall: Wall) -> None:
        self._credential = credential
        self._session = session
        self._wall = wall

    async def fetch(self) -> Given:
        """An Entra token for registries. Raises NoCredential."""
        from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415 - an extra

        try:
            token = await self._credential.get_token(SCOPE)
        except HttpResponseError as exc:
            status = f" (HTTP {exc.status_code})" if exc.status_code else ""
            message = f"no token from Entra: {type(exc).__name__}{status}"
            raise NoCredential(message) from None
        except AzureError as exc:
            message = f"no token from Entra: {type(exc).__name__}"
            raise NoCredential(message) from None
        return Given(token.token, token.expires_on - self._wall())

    async def aclose(self) -> None:
        """Close its connections."""
        await self._credential.close()
        await self._session.close()


class AzureSource:
    """The same identity for every image."""

    def __init__(self, *, place: int, label: str, kept: Kept, tenant: str) -> None:
        self.label = label
        self._kept = kept
        self._credentials = (Credential(place, NO_USER, exchange=Exchange(kept.get, tenant), origin=label),)

    async def credentials(self, image: str) -> tuple[Credential, ...]:  # noqa: ARG002 - Source's shape
        """That one; nothing is asked before a registry wants a token."""
        return self._credentials

    async def aclose(self) -> None:
        """End what is in flight."""
        await self._kept.aclose()


async def open_identity(place: int, config: AzureAuth, *, session: aiohttp.ClientSession, wall: Wall) -> EntraIdentity:
    """The identity that an entry names. Raises ConfigError."""
    path = f"auth[{place}].azure"
    try:
        credential = await asyncio.to_thread(_credential, config, session)
    except ImportError as exc:
        message = f"{path}: needs azure-identity; install the extra azure (images: requirements/clouds.txt)"
        raise ConfigError(message) from exc
    except ValueError as exc:
        message = (
            f"{path}: no workload identity in the environment (AZURE_CLIENT_ID, AZURE_TENANT_ID, "
            'AZURE_FEDERATED_TOKEN_FILE); label the Pod azure.workload.identity/use: "true"'
        )
        raise ConfigError(message) from exc
    return EntraIdentity(credential, session=session, wall=wall)


def _credential(config: AzureAuth, session: aiohttp.ClientSession) -> "AsyncTokenCredential":
    """`auto` is a workload identity where the environment has one, else the managed identity."""
    from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415 - an extra
    from azure.identity.aio import ManagedIdentityCredential, WorkloadIdentityCredential  # noqa: PLC0415

    transport = AioHttpTransport(session=session, session_owner=False)
    if config.identity != "managed":
        try:
            return WorkloadIdentityCredential(
                tenant_id=config.tenant_id, client_id=config.client_id, transport=transport,
                disable_instance_discovery=True, retry_total=_RETRIES,
            )  # fmt: skip
        except ValueError:
            if config.identity == "workload":
                raise
    # Without its own look for a workload identity, as the library's default chain makes it.
    return ManagedIdentityCredential(
        client_id=config.client_id, transport=transport, retry_total=_RETRIES,
        _exclude_workload_identity_credential=True,
    )  # fmt: skip
