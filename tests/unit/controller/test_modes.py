"""The label effective-mode: right for every namespace, written only when it differs, and not fought about."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.modes import IN_A_ROW, Modes, effective_mode
from tidegate.findings import Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NAMESPACES
from tidegate.policy import NAME_LABEL, Policy, Rule, Selector, Settings
from tidegate.testing.apiserver import ApiServerDouble

POLICY = Policy(
    base=Settings(mode=Mode.WARN),
    rules=(
        Rule(Selector({"env": "prod"}), Settings(mode=Mode.ENFORCE)),
        Rule(Selector({NAME_LABEL: "named"}), Settings(mode=Mode.AUDIT)),
    ),
)
EFFECTIVE = "tidegate.dev/effective-mode"


@pytest.mark.parametrize(
    "name,labels,mode",
    [
        pytest.param("a", {}, Mode.WARN, id="the policy's"),
        pytest.param("a", {"env": "prod"}, Mode.ENFORCE, id="the first rule's"),
        pytest.param("named", {}, Mode.AUDIT, id="a rule's by name"),
        pytest.param("named", {"env": "prod"}, Mode.ENFORCE, id="only the first rule counts"),
        pytest.param("a", {"env": "prod", "tidegate.dev/mode": "audit"}, Mode.AUDIT, id="its own before the rules"),
        pytest.param("a", {"tidegate.dev/mode": "enfroce"}, Mode.WARN, id="its own, misspelled"),
        pytest.param(
            "a", {"tidegate.dev/mode": "enforce", "tidegate.dev/break-glass": "yes"}, Mode.AUDIT, id="glass is broken"
        ),
        pytest.param("a", {"env": "prod", "tidegate.dev/break-glass": "false"}, Mode.ENFORCE, id="glass is whole"),
        pytest.param("a", {EFFECTIVE: "enforce"}, Mode.WARN, id="what is written decides nothing"),
    ],
)
def test_a_mode_follows_from_labels_and_policy(name: str, labels: dict[str, str], mode: Mode) -> None:
    assert effective_mode(name, labels, POLICY) is mode


def namespace(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **more}}


@pytest.fixture
async def api() -> AsyncIterator[ApiServerDouble]:
    async with ApiServerDouble() as api:
        yield api


@asynccontextmanager
async def writing(api: ApiServerDouble, policy: Policy = POLICY) -> AsyncIterator[KubeClient]:
    async with KubeClient(api.connection()) as client, asyncio.TaskGroup() as tasks:
        reflector = Reflector(client, NAMESPACES)
        watching = tasks.create_task(reflector.run())
        await reflector.synced.wait()
        modes = Modes(
            client, namespaces=reflector, policy=policy, alone=["kube-system", "tidegate"],
            clock=asyncio.get_running_loop().time, chance=random.Random(0),  # noqa: S311
        )  # fmt: skip
        modes.start()
        loops = [tasks.create_task(loop()) for loop in modes.loops().values()]
        yield client
        for task in (watching, *loops):
            task.cancel()


def labelled(api: ApiServerDouble) -> dict[str, str]:
    found = ((one["metadata"], one["metadata"].get("labels", {})) for one in api.objects("", "namespaces"))
    return {metadata["name"]: labels[EFFECTIVE] for metadata, labels in found if EFFECTIVE in labels}


async def until(api: ApiServerDouble, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(5):
        while not wanted.items() <= labelled(api).items():  # noqa: ASYNC110 - of another program's store
            await asyncio.sleep(0.01)


def written(api: ApiServerDouble) -> int:
    return sum(seen.method == "PATCH" for seen in api.requests)


async def test_every_namespace_is_labelled_but_those_left_alone(api: ApiServerDouble) -> None:
    api.put(namespace("prod", labels={"env": "prod"}), plural="namespaces")
    api.put(namespace("right", labels={EFFECTIVE: "warn"}), plural="namespaces")
    api.put(namespace("going", finalizers=["example.com/x"]), plural="namespaces")
    async with KubeClient(api.connection()) as client:
        await client.delete(NAMESPACES, "going")
    async with writing(api) as client:
        await until(api, {"prod": "enforce", "default": "warn"})
        await client.create(NAMESPACES, namespace("later"))
        await until(api, {"later": "warn"})
        await client.merge_patch(NAMESPACES, "later", {"metadata": {"labels": {"env": "prod"}}})
        await until(api, {"later": "enforce"})
    assert not {"kube-system", "going"} & set(labelled(api))
    ours = [name for name in labelled(api) if name != "right"]
    assert written(api) == len(ours) + 2  # `later` once more, and the test's own


async def test_what_is_right_is_not_written(api: ApiServerDouble) -> None:
    async with writing(api):
        await until(api, {"default": "warn", "kube-public": "warn", "kube-node-lease": "warn"})
    before = written(api)
    async with writing(api) as client:
        await client.merge_patch(NAMESPACES, "default", {"metadata": {"labels": {"team": "a"}}})
        await client.create(NAMESPACES, namespace("last"))
        await until(api, {"last": "warn"})
    assert written(api) == before + 2


async def test_a_wrong_value_is_put_right_and_not_fought_about(api: ApiServerDouble) -> None:
    wrong = {"metadata": {"labels": {EFFECTIVE: "audit"}}}
    async with writing(api) as client:
        for _ in range(IN_A_ROW):
            await until(api, {"default": "warn"})
            await client.merge_patch(NAMESPACES, "default", wrong)
        await asyncio.sleep(0.05)
        assert labelled(api)["default"] == "audit", "it waits now"


async def test_all_follow_another_configuration(api: ApiServerDouble) -> None:
    async with writing(api):
        await until(api, {"default": "warn"})
    async with writing(api, Policy(base=Settings(mode=Mode.ENFORCE))):
        await until(api, {"default": "enforce", "kube-public": "enforce"})
