"""A namespace that was made just now is waited for, briefly; all others cost nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NAMESPACES
from tidegate.policy import NAME_LABEL
from tidegate.testing.apiserver import ApiServerDouble
from webhook.namespaces import Standalone, Watched


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@asynccontextmanager
async def watched(api: ApiServerDouble) -> AsyncIterator[Watched]:
    async with KubeClient(api.connection()) as client, asyncio.TaskGroup() as tasks:
        reflector = Reflector(client, NAMESPACES)
        watching = tasks.create_task(reflector.run())
        await reflector.synced.wait()
        yield Watched(reflector)
        watching.cancel()


async def test_it_is_there_as_soon_as_the_watch_tells() -> None:
    now = asyncio.get_running_loop().time
    async with ApiServerDouble() as api, watched(api) as namespaces:
        assert namespaces.knows("default")
        assert namespaces.knows("")
        assert not namespaces.knows("new")
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(namespaces.appear("new", until=now() + 5)) for _ in range(3)]
            await asyncio.sleep(0)
            api.put(namespace("another"), plural="namespaces")
            api.put(namespace("new", env="prod"), plural="namespaces")
        assert all(wait.done() for wait in waits)
        assert namespaces.labels("new")["env"] == "prod"
        assert namespaces.labels("new")[NAME_LABEL] == "new"


async def test_one_that_does_not_appear_is_waited_for_once() -> None:
    now = asyncio.get_running_loop().time
    async with ApiServerDouble() as api, watched(api) as namespaces:
        await namespaces.appear("never", until=now() + 0.01)
        assert namespaces.knows("never"), "nobody waits again for a while"
        assert namespaces.labels("never") == {}
        api.put(namespace("late", env="prod"), plural="namespaces")
        await namespaces.appear("late", until=now() + 5)
        assert namespaces.labels("late")["env"] == "prod"
        await namespaces.appear("late", until=now() - 1)
        assert namespaces.knows("late")


async def test_outside_a_cluster_there_is_nothing_to_wait_for() -> None:
    assert Standalone().knows("shop")
    await Standalone().appear("shop", until=0.0)
    assert Standalone().labels("shop") == {}


@pytest.mark.parametrize(
    "path,labels,mode",
    [
        pytest.param("/validate/enforce", {"tidegate.dev/effective-mode": "enforce"}, "enforce", id="labelled"),
        pytest.param("/validate/enforce", {}, "enforce", id="nothing is known of it"),
        pytest.param("/validate/enforce", {NAME_LABEL: "shop", "tidegate.dev/mode": "audit"}, "audit", id="new"),
        pytest.param("/validate/other", {NAME_LABEL: "shop", "tidegate.dev/mode": "enforce"}, "enforce", id="new"),
        pytest.param(
            "/validate/enforce", {NAME_LABEL: "shop", "tidegate.dev/effective-mode": "enforce",
                                  "tidegate.dev/mode": "audit"}, "enforce", id="its label lags",
        ),
    ],
)  # fmt: skip
async def test_a_new_namespace_is_judged_by_its_own_mode(
    webhook: Any, make: Any, path: str, labels: dict[str, str], mode: str
) -> None:
    webhook.namespaces.known["shop"] = labels
    answer = await webhook.judge(make.review(make.pod("r.example/web:1")), path)
    allowed, verdict, finding = answer.said
    assert (allowed, verdict, finding) == (mode != "enforce", "deny", "not-pinned")
    counted = {"webhook": path.rpartition("/")[2], "mode": mode, "verdict": "deny"}
    assert webhook.metrics.registry.get_sample_value("tidegate_reviews_total", counted) == 1
