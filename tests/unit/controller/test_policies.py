"""What is generated is in the API server, whoever does what to it, and is written only when it differs."""

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from controller.policies import Policies
from tidegate.admission import policies
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import ADMISSION_BINDINGS, ADMISSION_POLICIES
from tidegate.policy import Policy, Settings
from tidegate.testing.apiserver import ApiServerDouble

GROUP = "admissionregistration.k8s.io"
WANTED = policies(Policy(), ["r.example"], own="tidegate")
GUARD = "tidegate-namespace-labels"


@pytest.fixture
async def api() -> AsyncIterator[ApiServerDouble]:
    async with ApiServerDouble() as api:
        yield api


@pytest.fixture
async def client(api: ApiServerDouble) -> AsyncIterator[KubeClient]:
    async with KubeClient(api.connection()) as client:
        yield client


def keeper(client: KubeClient, wanted: Sequence[dict[str, Any]] = WANTED) -> Policies:
    return Policies(client, wanted, chance=random.Random(0))  # noqa: S311


def there(api: ApiServerDouble) -> dict[str, Any]:
    found = [one for plural in (ADMISSION_POLICIES, ADMISSION_BINDINGS) for one in api.objects(GROUP, plural.plural)]
    return {f"{one['kind']}/{one['metadata']['name']}": one["spec"] for one in found}


def wanted(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {f"{one['kind']}/{one['metadata']['name']}": one["spec"] for one in documents}


def writes(api: ApiServerDouble) -> int:
    return sum(seen.method != "GET" for seen in api.requests)


async def test_they_are_made_once_and_then_left(api: ApiServerDouble, client: KubeClient) -> None:
    await keeper(client).keep()
    assert there(api) == wanted(WANTED)
    before = writes(api)
    await keeper(client).keep()
    assert writes(api) == before == len(WANTED)


async def test_they_follow_the_configuration(api: ApiServerDouble, client: KubeClient) -> None:
    other = policies(Policy(base=Settings(mode=Mode.ENFORCE)), ["s.example"], own="tidegate")
    await keeper(client).keep()
    await keeper(client, other).keep()
    assert there(api) == wanted(other) != wanted(WANTED)


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"spec": {"failurePolicy": "Ignore"}}, id="a value"),
        pytest.param({"spec": {"matchConditions": [{"name": "never", "expression": "false"}]}}, id="a way around"),
        pytest.param({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}, id="what we have not got"),
        pytest.param({"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}, id="our label"),
    ],
)
async def test_what_somebody_changed_is_put_right(
    api: ApiServerDouble, client: KubeClient, patch: dict[str, Any]
) -> None:
    await keeper(client).keep()
    await client.merge_patch(ADMISSION_POLICIES, GUARD, patch)
    await keeper(client).keep()
    assert there(api) == wanted(WANTED)
    before = writes(api)
    await keeper(client).keep()
    assert writes(api) == before, "its label is back too"


async def test_what_went_is_made_anew_and_what_is_not_wanted_goes(api: ApiServerDouble, client: KubeClient) -> None:
    await keeper(client).keep()
    await client.delete(ADMISSION_BINDINGS, GUARD)
    for name, labels in (("old", {"app.kubernetes.io/managed-by": "tidegate-controller"}), ("foreign", {})):
        await client.create(ADMISSION_POLICIES, {"metadata": {"name": name, "labels": labels}, "spec": {}})
    await keeper(client).keep()
    assert set(there(api)) == {*wanted(WANTED), "ValidatingAdmissionPolicy/foreign"}
