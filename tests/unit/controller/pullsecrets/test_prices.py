"""What an image costs that only those who want it may read: priced with their pull secrets, else guessed."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controller.costs import FromManifests
from tidegate.completeness import Checker
from tidegate.config import Config
from tidegate.metrics import Metrics
from tidegate.registry.auth.credentials import UserPassword
from tidegate.registry.auth.tenants import PullSecret, Tenant, tenant_of
from tidegate.registry.errors import Unauthorized
from tidegate.replicas import open_registries
from tidegate.testing.images import build_image
from tidegate.testing.registry import BasicGuard, RegistryDouble

IMAGE = build_image(layers=3)
PINNED, TAGGED = f"registry.test/app@{IMAGE.digest}", "registry.test/app:1"


def tenant(name: str, password: str, namespace: str = "team-a") -> Tenant:
    return tenant_of(namespace, [PullSecret("s", (("registry.test", UserPassword(name, password)),))])


ADA, EVE, ELSEWHERE = tenant("ada", "right"), tenant("eve", "wrong"), tenant("ada", "right", "not-listed")


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    async with RegistryDouble(guard=BasicGuard({"ada": "right"})) as replica:
        replica.put("app", IMAGE, tag="1")
        registry = {
            "host": "registry.test",
            "replicas": {"one": {"endpoint": replica.url}},
            "auth": [{"pullSecrets": {"namespaces": ["team-a"]}}],
        }
        config = Config.model_validate(
            {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [registry]}
        )
        metrics = Metrics(CollectorRegistry(), program="controller")
        async with open_registries(config, metrics=metrics) as registries:
            checker = Checker(registries, platforms=["linux/amd64"], metrics=metrics)
            yield checker
            await checker.aclose()


def prices(checker: Checker, *tenants: Tenant) -> Any:
    def asked(image: str) -> Sequence[Tenant]:
        assert image in {PINNED, TAGGED}
        return tenants

    return FromManifests(checker, tenants=asked)


@pytest.mark.parametrize("image", [pytest.param(PINNED, id="digest"), pytest.param(TAGGED, id="tag")])
async def test_whoever_may_read_it_prices_it_for_all(checker: Checker, image: str) -> None:
    cost = await prices(checker, EVE, ADA).cost(image)
    assert cost.bytes > 0
    assert len(cost.blobs) > 0


@pytest.mark.parametrize(
    "tenants",
    [
        pytest.param((), id="nobody"),
        pytest.param((EVE,), id="refused"),
        pytest.param((ELSEWHERE,), id="not-listed"),
    ],
)
async def test_an_image_that_nobody_here_may_read_has_no_price(checker: Checker, tenants: tuple[Tenant, ...]) -> None:
    with pytest.raises(Unauthorized):
        await prices(checker, *tenants).cost(PINNED)
