"""Armed webhook configurations follow the configuration file, and keep whom they call."""

import random
from typing import Any

import pytest

from controller.webhooks import Webhooks, followed
from tidegate.admission import webhook_configurations
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS
from tidegate.testing.apiserver import ApiServerDouble

WANTED = webhook_configurations(Mode.ENFORCE, own="tidegate", authority="")
CALLED = {"caBundle": "Q0E=", "url": "https://127.0.0.1:8443/x"}


def armed(unlabelled: Mode) -> list[dict[str, Any]]:
    """As somebody armed it under another configuration, in a way of their own."""
    documents = [*webhook_configurations(unlabelled, own="tidegate", authority="")]
    for document in documents:
        for hook in document["webhooks"]:
            hook |= {"clientConfig": CALLED, "timeoutSeconds": 3}
    return documents


async def keep(api: ApiServerDouble) -> int:
    """How many writes it took."""
    before = len(api.requests)
    async with KubeClient(api.connection()) as client:
        await Webhooks(client, WANTED, chance=random.Random(0)).keep()  # noqa: S311
    return sum(seen.method != "GET" for seen in [*api.requests][before:])


async def test_they_follow_and_keep_whom_they_call() -> None:
    async with ApiServerDouble() as api:
        for document, resource in zip(armed(Mode.AUDIT), (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS), strict=True):
            api.put(document, plural=resource.plural)
        assert await keep(api) == 1, "of the mutating one nothing depends on the mode"
        assert await keep(api) == 0
        for document, resource in zip(armed(Mode.ENFORCE), (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS), strict=True):
            (there,) = api.objects(resource.group, resource.plural)
            assert there["webhooks"] == document["webhooks"]


async def test_nothing_is_armed_here() -> None:
    async with ApiServerDouble() as api:
        assert await keep(api) == 0


@pytest.mark.parametrize("name", ["validate.tidegate.dev", "somebody.example"])
def test_a_webhook_of_another_name_stays_as_it_is(name: str) -> None:
    hook = {"name": name, "rules": [], "clientConfig": CALLED}
    (kept,) = followed([hook], WANTED[0]["webhooks"])
    assert (kept == hook) is (name == "somebody.example")
    assert kept["clientConfig"] == CALLED
