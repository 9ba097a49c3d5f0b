"""Pods whose authors want them to wait for nodes: the gate is theirs for the asking, in every mode."""

from typing import Any

import pytest

from tidegate.findings import Finding

DIGEST = "sha256:" + "a" * 64
WEB = f"r.example/web@{DIGEST}"
GATE, REPLICA = "tidegate.dev/pre-pull", "tidegate.dev/replica"
HOLD = {"annotations": {GATE: "hold"}}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "o", "uid": "u", "controller": True}


def owned(kind: str) -> dict[str, Any]:
    return {**HOLD, "ownerReferences": [{**OWNER, "kind": kind}]}


async def gates(webhook: Any, make: Any, new: dict[str, Any], **others: Any) -> list[str]:
    """The gates of an object as the API server has it after `/mutate`."""
    answer = await webhook.judge(make.review(new, **others), "/mutate")
    after = make.patched(new, make.patch_of(answer))
    return [gate["name"] for gate in after["spec"].get("schedulingGates") or []]


@pytest.mark.parametrize(
    "metadata, spec, expected",
    [
        pytest.param(HOLD, {}, [GATE], id="hold"),
        pytest.param(owned("ReplicaSet"), {}, [GATE], id="a-ReplicaSet's"),
        pytest.param(owned("Job"), {}, [GATE], id="a-Job's"),
        pytest.param(HOLD, {"schedulingGates": [{"name": "other"}]}, ["other", GATE], id="beside-another-gate"),
        pytest.param(HOLD, {"schedulingGates": [{"name": GATE}]}, [GATE], id="there-already"),
        pytest.param({"annotations": {GATE: "true"}}, {}, [], id="true-holds-nothing"),
        pytest.param({"annotations": {GATE: "Hold"}}, {}, [], id="another-word"),
        pytest.param({}, {}, [], id="no-annotation"),
        pytest.param(HOLD, {"nodeName": "n"}, [], id="has-a-node-already"),
        pytest.param(owned("DaemonSet"), {}, [], id="a-DaemonSet's"),
        pytest.param(owned("Node"), {}, [], id="a-node's"),
    ],
)
async def test_a_pod_that_asks_for_it_is_held(
    in_cluster: Any, make: Any, metadata: dict[str, Any], spec: dict[str, Any], expected: list[str]
) -> None:
    assert await gates(in_cluster, make, make.pod(WEB, metadata=metadata, **spec)) == expected


@pytest.mark.parametrize("mode", ["enforce", "warn", "audit"])
async def test_it_is_no_matter_of_mode(in_cluster: Any, make: Any, mode: str) -> None:
    in_cluster.namespaces.known["shop"] = {"tidegate.dev/mode": mode}
    assert await gates(in_cluster, make, make.pod(WEB, metadata=HOLD)) == [GATE]


async def test_in_an_emergency_nobody_waits(in_cluster: Any, make: Any) -> None:
    in_cluster.namespaces.known["shop"] = {"tidegate.dev/break-glass": "now"}
    assert await gates(in_cluster, make, make.pod(WEB, metadata=HOLD)) == []


async def test_an_image_that_is_on_its_way_is_waited_for_at_both_gates(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.INCOMPLETE
    new = make.pod(WEB, metadata=HOLD)
    answer = await in_cluster.judge(make.review(new), "/mutate")
    after = make.patched(new, make.patch_of(answer))
    assert [gate["name"] for gate in after["spec"]["schedulingGates"]] == [REPLICA, GATE]
    assert after["metadata"]["annotations"][GATE] == "hold"
    again = await in_cluster.judge(make.review(after), "/mutate")
    assert not [one for one in make.patch_of(again) if "schedulingGates" in one["path"]]
    assert (await in_cluster.judge(make.review(after))).said == (True, "hold", "incomplete")


@pytest.mark.parametrize(
    "kind, group, wrapped",
    [pytest.param("Pod", "", False, id="an-update"), pytest.param("Deployment", "apps", True, id="a-workload")],
)
async def test_only_a_pod_at_its_creation_is(
    in_cluster: Any, make: Any, kind: str, group: str, *, wrapped: bool
) -> None:
    pod = make.pod(WEB, metadata=HOLD)
    new = {"metadata": {"name": "p"}, "spec": {"template": pod}} if wrapped else pod
    operation = "CREATE" if wrapped else "UPDATE"
    review = make.review(new, kind=kind, group=group, operation=operation, old=None if wrapped else pod)
    assert make.patch_of(await in_cluster.judge(review, "/mutate")) == []


async def test_what_no_node_pulls_beforehand_is_not_waited_for(in_cluster: Any, make: Any) -> None:
    assert await gates(in_cluster, make, make.pod(f"elsewhere.test/web@{DIGEST}", metadata=HOLD)) == []


async def test_without_a_controller_nobody_would_let_it_go(webhook: Any, make: Any) -> None:
    assert await gates(webhook, make, make.pod(WEB, metadata=HOLD)) == []
