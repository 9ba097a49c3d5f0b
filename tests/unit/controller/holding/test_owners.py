"""Owners: they are told what their Pods wait for, woken when it has come, and relieved of what would wait for ever."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tidegate.findings import Finding
from tidegate.kube.resources import NAMESPACES, STATEFULSETS

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/app@{DIGEST}"
WEB = f"r.example/web@{DIGEST}"
Until = Callable[..., Awaitable[None]]


def template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "app", "image": image}]}}


def refused(image: str, *, made: int = 0) -> dict[str, Any]:
    """A ReplicaSet of two that was refused Pods."""
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    return {
        "spec": {"replicas": 2, "template": template(image)},
        "status": {"replicas": made, "conditions": [failed]},
    }


async def test_the_deployment_is_told_once_what_its_pods_wait_for(held: Any, eventually: Until) -> None:
    held.replicas.findings["app"] = Finding.INCOMPLETE
    deployment = held.owner("Deployment", "web", spec={"replicas": 3})
    above = {"metadata": {"ownerReferences": [deployment]}}
    replicaset = held.owner("ReplicaSet", "web-5d", spec={"replicas": 3, "template": template(APP)}, **above)
    for name in ("a", "b", "c"):
        held.pod(name, APP, metadata={"ownerReferences": [replicaset]})
    async with held.controlled():
        await eventually(lambda: all("ReplicaLagging" in held.events(name) for name in "abc"))
        await eventually(lambda: held.events("web"))
    told = [one for one in held.api.objects("events.k8s.io", "events") if one["regarding"]["name"] == "web"]
    assert [one["regarding"]["kind"] for one in told] == ["Deployment"]
    assert told[0]["note"] == f"new Pods are held: {APP} is incomplete; waiting for 3 of 12 blobs on westeurope"


async def test_who_waits_for_another_image_is_told_again(held: Any, eventually: Until) -> None:
    owner = held.owner("StatefulSet", "db", spec={"replicas": 1})
    held.pod("db-0", APP, metadata={"ownerReferences": [owner]})
    async with held.controlled():
        await eventually(lambda: held.events("db"))
        held.pod("db-1", WEB, metadata={"ownerReferences": [owner]})
        await eventually(
            lambda: sum(o["regarding"]["name"] == "db" for o in held.api.objects("events.k8s.io", "events")) == 2
        )


async def test_owners_that_were_refused_are_woken_when_their_image_is_complete(held: Any, eventually: Until) -> None:
    held.replicas.findings["app"] = Finding.INCOMPLETE
    held.pod("somebody-asks", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("somebody-asks"))
        held.owner("ReplicaSet", "refused", **refused(APP))
        held.owner("ReplicaSet", "other-image", **refused(WEB))
        held.owner("ReplicaSet", "whole", **refused(APP, made=2))
        held.owner("StatefulSet", "short", spec={"replicas": 1, "template": template(APP)}, status={"replicas": 0})
        held.owner("Job", "waiting", spec={"template": template(APP)}, status={})
        held.owner("Job", "suspended", spec={"suspend": True, "template": template(APP)}, status={})
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: {"refused", "short", "waiting"} <= held.woken())
        await eventually(lambda: not held.held())
    assert held.woken() == {"refused", "short", "waiting"}


async def test_nobody_knows_what_came_before_a_start(held: Any, eventually: Until) -> None:
    held.owner("ReplicaSet", "refused", **refused(APP))
    async with held.controlled():
        await eventually(lambda: held.woken() == {"refused"}, within_s=10.0)


async def test_break_glass_wakes_who_was_refused(held: Any, eventually: Until) -> None:
    async with held.controlled():
        held.owner("ReplicaSet", "refused", **refused(APP))
        labels = {"metadata": {"labels": {"tidegate.dev/break-glass": "true"}}}
        await held.client.merge_patch(NAMESPACES, "default", labels)
        await eventually(lambda: held.woken() == {"refused"})


def statefulset(**rolling: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    status = {"replicas": 1, "updateRevision": "new", "currentRevision": "old", "observedGeneration": 1}
    return {"spec": {"replicas": 1, "updateStrategy": strategy, "template": template(WEB)}, "status": status}


def revised(revision: str, owner: dict[str, Any]) -> dict[str, Any]:
    return {"ownerReferences": [owner], "labels": {"controller-revision-hash": revision}}


async def test_a_held_pod_of_a_superseded_template_is_deleted(held: Any, eventually: Until) -> None:
    owner = held.owner("StatefulSet", "db", **statefulset())
    held.pod("db-0", APP, metadata=revised("old", owner))
    held.pod("db-1", APP, metadata=revised("new", owner))
    async with held.controlled():
        await eventually(lambda: held.held() == {"db-1"})
        await eventually(lambda: "HoldSuperseded" in held.events("db-0"))
    assert held.events("db-0")["HoldSuperseded"].startswith("deleted: StatefulSet db has another template by now")


async def test_it_is_deleted_when_the_template_is_mended_while_it_waits(held: Any, eventually: Until) -> None:
    parts = statefulset()
    parts["status"]["updateRevision"] = "old"
    owner = held.owner("StatefulSet", "db", **parts)
    held.pod("db-0", APP, metadata=revised("old", owner))
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("db-0"))
        mended = {"status": {"updateRevision": "new"}}
        await held.client.merge_patch(STATEFULSETS, "db", mended, namespace="default", subresource="status")
        await eventually(lambda: not held.held())


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"partition": 1}, id="below the partition the old template is right"),
        pytest.param({"observed": 0}, id="a status older than the spec says nothing"),
        pytest.param({"elsewhere": True}, id="a StatefulSet made anew is another"),
    ],
)
async def test_it_is_kept(held: Any, eventually: Until, kept: dict[str, Any]) -> None:
    parts = statefulset(partition=kept.get("partition", 0))
    parts["status"]["observedGeneration"] = kept.get("observed", 1)
    owner = held.owner("StatefulSet", "db", **parts)
    if "elsewhere" in kept:
        owner["uid"] = "of-the-one-before"
    held.pod("db-0", APP, metadata=revised("old", owner))
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("db-0"))
    assert held.held() == {"db-0"}
