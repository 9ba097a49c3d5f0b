"""From an identity to a manifest at ACR: the exchange, what is remembered of it, and what a refusal undoes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.config.registries import AuthConfig
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import Unauthorized
from tidegate.testing.clouds import AcrTokens, EntraDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import BearerGuard, RegistryDouble
from tidegate.testing.registry.replies import json_reply
from tidegate.testing.registry.tokens import Account

IMAGE = build_image(layers=1)


class Acr:
    """A registry at ACR with its token endpoints, and a client with a managed identity."""

    def __init__(self, registry: RegistryDouble, tokens: AcrTokens, imds: EntraDouble) -> None:
        self.registry, self.tokens, self.imds = registry, tokens, imds

    @property
    def counted(self) -> tuple[int, int, int]:
        """Tokens asked of Entra, exchanges, access tokens asked for."""
        asked = len(self.tokens.record.matching("^/oauth2/token$"))
        return len(self.imds.took), len(self.tokens.exchanges), asked


@pytest.fixture
async def acr(imds: EntraDouble, silence: Any) -> AsyncIterator[Acr]:
    tokens = silence.watch(AcrTokens(imds.made, account=Account(password="", pull=("team/*",))))
    guard = BearerGuard(tokens, service="myregistry.azurecr.io")
    async with tokens, RegistryDouble(guard=guard) as registry:
        for name in ("team/app", "team/api", "other/app"):
            registry.put(name, IMAGE, tag="1")
        yield Acr(registry, tokens, imds)


@pytest.fixture
async def replica(acr: Acr, client: Callable[..., ReplicaClient], azure_auth: Any) -> AsyncIterator[ReplicaClient]:
    async with client(acr.registry.url, auth=(azure_auth(),)) as opened:
        yield opened


async def test_an_identity_becomes_a_manifest(acr: Acr, replica: ReplicaClient) -> None:
    assert (await replica.manifest("team/app", "1")).digest == IMAGE.digest
    assert acr.counted == (1, 1, 1)
    [exchange] = acr.tokens.exchanges
    assert exchange == {
        "grant_type": "access_token", "service": "myregistry.azurecr.io", "access_token": acr.imds.made[0],
    }  # fmt: skip


async def test_one_refresh_token_serves_all_repositories(acr: Acr, replica: ReplicaClient) -> None:
    await asyncio.gather(*(replica.manifest(name, "1") for name in ("team/app", "team/api") for _ in range(20)))
    assert acr.counted == (1, 1, 2)


async def test_a_tenant_goes_along(acr: Acr, client: Any, azure_auth: Any) -> None:
    async with client(acr.registry.url, auth=(azure_auth(tenantId="t-1"),)) as replica:
        await replica.manifest("team/app", "1")
    assert acr.tokens.exchanges[0]["tenant"] == "t-1"


async def test_no_permission_is_a_refusal_and_no_loop(acr: Acr, replica: ReplicaClient) -> None:
    for _ in range(20):
        with pytest.raises(Unauthorized, match="azure auto"):
            await replica.manifest("other/app", "1")
    assert acr.counted[:2] == (1, 1)
    assert acr.counted[2] <= 2


async def test_a_registry_that_changes_its_ways_within_a_minute_is_waited_for(acr: Acr, replica: ReplicaClient) -> None:
    """Later than that, the refresh token is exchanged anew at once: `test_refresh_tokens`, in virtual time."""
    await replica.manifest("team/app", "1")
    acr.tokens.switch()
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await replica.manifest("team/app", "1")
    assert acr.counted == (1, 1, 2)


async def test_an_identity_that_acr_does_not_know(acr: Acr, replica: ReplicaClient) -> None:
    acr.tokens.lies["/oauth2/exchange"] = json_reply({}, status=401)
    for name in ("team/app", "team/api", "team/app", "team/third"):
        with pytest.raises(Unauthorized):
            await replica.manifest(name, "1")
    assert len(acr.tokens.record.matching("^/oauth2/exchange$")) == 1


async def test_a_registry_that_wants_a_password_gets_none(client: Any, serve: Any, azure_auth: Any) -> None:
    async def basic(_: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    server = await serve(basic)
    async with client(server, auth=(azure_auth(),)) as replica:
        with pytest.raises(Unauthorized, match="an Azure identity is neither"):
            await replica.manifest("team/app", "1")
    assert not any(seen.authorization for seen in server.seen)


async def test_without_an_identity_the_next_credential_is_tried(acr: Acr, client: Any, azure_auth: Any) -> None:
    acr.imds.lies = json_reply({"error": "invalid_request"}, status=400)
    auth = (azure_auth(), AuthConfig.model_validate({"anonymous": {}}))
    async with client(acr.registry.url, auth=auth) as replica:
        with pytest.raises(Unauthorized, match=r"azure auto: .*CredentialUnavailableError.*; anonymous: "):
            await replica.manifest("team/app", "1")
