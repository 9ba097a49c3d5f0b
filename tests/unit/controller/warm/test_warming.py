"""Pods that wait for nodes: who is let go when, where they are sent, and what is said about it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tidegate.kube.own import PRE_PULL_GATE, REPLICA_GATE
from tidegate.kube.resources import DEPLOYMENTS, NAMESPACES, PODS, STATEFULSETS

OTHER = "example.com/quota"
APP = "registry.test/app:1"
Until = Callable[..., Awaitable[None]]


async def test_three_pods_start_when_three_nodes_are_warm_and_are_sent_there(warm: Any, eventually: Until) -> None:
    warm.nodes("n1", "n2", "n3", "n4")
    warm.prepull("app")
    owner = warm.owner("ReplicaSet", "web-1", spec={"replicas": 3})
    for name in "abc":
        warm.pod(name, "app", owner=owner)
    async with warm.controlled():
        await eventually(lambda: all("WarmingUp" in warm.events(name) for name in ("a", "b", "c", "web-1")))
        for node in ("n1", "n2"):
            warm.report(node, app="Present")
        warm.report("n3", app="Pulling")
        await warm.nudge("a")
        assert warm.held() == {"a", "b", "c"}
        warm.report("n3", app="Present")
        await eventually(lambda: not warm.held())
        await eventually(lambda: all("WarmReady" in warm.events(name) for name in "abc"))
    assert warm.events("a")["WarmingUp"] == f"held until 3 of 4 nodes have {APP}; none have it"
    assert warm.events("web-1")["WarmingUp"] == f"new Pods are held until 3 of 4 nodes have {APP}; none have it"
    assert warm.events("b")["WarmReady"].startswith("waited ")
    assert warm.events("b")["WarmReady"].endswith("s: 3 of 4 nodes have it")
    assert [warm.prefers(name) for name in "abc"] == [["n1", "n2", "n3"]] * 3


async def test_a_pod_whose_image_is_there_already_starts_at_once(warm: Any, eventually: Until) -> None:
    warm.nodes("n1", "n2")
    warm.prepull("app")
    warm.report("n2", app="Present")
    warm.pod("a", "app", gates=(OTHER, PRE_PULL_GATE))
    async with warm.controlled():
        await eventually(lambda: "WarmReady" in warm.events("a"))
    assert warm.gates() == {"a": [OTHER]}
    assert warm.prefers("a") == ["n2"]
    assert "WarmingUp" not in warm.events("a")


async def test_only_nodes_where_it_could_run_count(warm: Any, eventually: Until) -> None:
    warm.node("n1", unschedulable=True)
    warm.node("n2", taints=[{"key": "gpu", "effect": "NoSchedule"}])
    warm.node("n3", taints=[{"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}])
    warm.prepull("app")
    for node in ("n1", "n2"):
        warm.report(node, app="Present")
    warm.report("n3", app="Pulling")
    warm.pod("a", "app")
    warm.pod("gpu", "app", tolerations=[{"key": "gpu", "operator": "Exists"}])
    async with warm.controlled():
        await eventually(lambda: "WarmReady" in warm.events("gpu"))
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        assert warm.held() == {"a"}
        warm.report("n3", app="Present")
        await eventually(lambda: not warm.held())
    assert (warm.prefers("gpu"), warm.prefers("a")) == (["n2"], ["n3"])


@pytest.mark.parametrize(
    "nodes, report, note",
    [
        pytest.param((), None, "no node of this cluster could run it", id="no-node"),
        pytest.param(("n1",), "Skipped", "1 node could run it, and none gets its image", id="no-room"),
    ],
)
async def test_where_no_node_can_have_it_nobody_waits(
    warm: Any, eventually: Until, nodes: tuple[str, ...], report: str | None, note: str
) -> None:
    warm.nodes(*nodes)
    warm.prepull("app")
    if report is not None:
        warm.report("n1", app=report)
    warm.pod("a", "app")
    async with warm.controlled():
        await eventually(lambda: "WarmImpossible" in warm.events("a"))
    assert not warm.held()
    assert warm.events("a")["WarmImpossible"].endswith(note)


async def test_the_other_gate_goes_first(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    warm.report("n1", app="Failed")  # as long as the replica has not got it
    warm.pod("a", "app", gates=(PRE_PULL_GATE, REPLICA_GATE))
    async with warm.controlled(deadline_s=900):
        warm.pod("b", "app", word="true")
        await eventually(lambda: warm.held() == {"a"})
        assert warm.events("a") == {}
        warm.ahead_s = 1_000.0  # longer than the deadline, had it begun
        await warm.client.merge_patch(
            PODS, "a", {"spec": {"schedulingGates": [{"name": PRE_PULL_GATE}]}}, namespace="shop"
        )
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        assert warm.held() == {"a"}
        warm.report("n1", app="Present")
        await eventually(lambda: not warm.held())
    assert warm.prefers("a") == ["n1"]


async def test_past_the_deadline_it_starts_as_it_is(warm: Any, eventually: Until) -> None:
    warm.nodes("n1", "n2")
    warm.prepull("app")
    warm.report("n1", app="Present")
    warm.report("n2", app="Pulling")
    owner = warm.owner("ReplicaSet", "web-1", spec={"replicas": 2})
    for name in "ab":
        warm.pod(name, "app", owner=owner)
    async with warm.controlled(deadline_s=600):
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        warm.ahead_s = 599.0 - 5
        await warm.nudge("a")
        assert warm.held() == {"a", "b"}
        warm.ahead_s = 601.0
        for name in "ab":
            await warm.nudge(name)
        await eventually(lambda: all("WarmExpired" in warm.events(name) for name in "ab"))
    assert "1 of 2 nodes have it, not" in warm.events("a")["WarmExpired"]
    assert warm.prefers("a") == ["n1"]


async def test_the_deadline_comes_by_itself(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    warm.report("n1", app="Pulling")
    warm.pod("a", "app")
    async with warm.controlled(deadline_s=1.2):
        await eventually(lambda: "WarmExpired" in warm.events("a"))


async def test_a_job_waits_no_longer_than_half_its_time(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    warm.report("n1", app="Pulling")
    owner = warm.owner("Job", "j", spec={"activeDeadlineSeconds": 100})
    warm.pod("a", "app", owner=owner)
    async with warm.controlled():
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        warm.ahead_s = 51.0
        await warm.nudge("a")
        await eventually(lambda: "WarmExpired" in warm.events("a"))


async def test_an_image_that_nobody_pulls_is_not_waited_for_for_long(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.pod("a", "app", "injected")
    async with warm.controlled():
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        warm.prepull("app")
        warm.report("n1", app="Present")
        await warm.nudge("a")
        assert warm.held() == {"a"}, "the other image may still be asked for"
        warm.ahead_s = 6.0
        warm.report("n1", app="Present", another="Present")
        await eventually(lambda: "WarmReady" in warm.events("a"))


async def test_a_node_of_which_nothing_is_heard_is_waited_for_a_minute(warm: Any, eventually: Until) -> None:
    warm.nodes("n1", "silent")
    warm.prepull("app")
    warm.report("n1", app="Present")
    owner = warm.owner("ReplicaSet", "web-1", spec={"replicas": 2})
    for name in "ab":
        warm.pod(name, "app", owner=owner)
    async with warm.controlled():
        await eventually(lambda: all("WarmingUp" in warm.events(name) for name in "ab"))
        warm.ahead_s = 50.0
        warm.report("n1", app="Present")
        await warm.nudge("a")
        assert warm.held() == {"a", "b"}
        warm.ahead_s = 61.0
        warm.report("n1", app="Present")
        await eventually(lambda: not warm.held())
    assert warm.prefers("b") == ["n1"]


async def test_with_no_prepull_at_all_it_starts_soon(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.pod("a", "app")
    warm.pod("unlisted", metadata={}, containers=[{"name": "c", "image": "elsewhere.test/x:1"}])
    async with warm.controlled():
        await eventually(lambda: "WarmImpossible" in warm.events("unlisted"))
        await eventually(lambda: "WarmingUp" in warm.events("a"))
        await eventually(lambda: "WarmImpossible" in warm.events("a"), within_s=8)
    assert warm.events("a")["WarmImpossible"].endswith("no PrePull asks for its images")


async def test_a_rollout_waits_for_as_many_nodes_as_it_has_pods_by_now(warm: Any, eventually: Until) -> None:
    """Two Pods run on the two warm nodes: a third has a node of its own to wait for."""
    warm.nodes("n1", "n2", "n3")
    warm.prepull("app")
    status = {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 3}
    top = warm.owner("Deployment", "web", metadata={"generation": 1}, status=status)
    owner = warm.owner("ReplicaSet", "web-1", metadata={"ownerReferences": [top]}, spec={"replicas": 3})
    for node in ("n1", "n2"):
        warm.report(node, app="Present")
    warm.report("n3", app="Pulling")
    warm.pod("c", "app", owner=owner)
    async with warm.controlled():
        await eventually(lambda: "WarmingUp" in warm.events("web"))
        assert warm.held() == {"c"}
        done = {**status, "replicas": 3}
        await warm.client.merge_patch(DEPLOYMENTS, "web", {"status": done}, namespace="shop", subresource="status")
        await eventually(lambda: not warm.held())
    assert warm.prefers("c") == ["n1", "n2"]


async def test_who_does_not_want_to_wait_any_more_goes(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    for name in ("a", "b"):
        warm.pod(name, "app")
    async with warm.controlled():
        await eventually(lambda: all("WarmingUp" in warm.events(name) for name in "ab"))
        await warm.client.merge_patch(PODS, "a", {"metadata": {"annotations": {PRE_PULL_GATE: None}}}, namespace="shop")
        await eventually(lambda: "WarmLifted" in warm.events("a"))
        assert warm.held() == {"b"}
        labels = {"metadata": {"labels": {"tidegate.dev/break-glass": "true"}}}
        await warm.client.merge_patch(NAMESPACES, "shop", labels)
        await eventually(lambda: "WarmLifted" in warm.events("b"))
    assert not warm.held()
    assert "break-glass" in warm.events("b")["WarmLifted"]


async def test_a_pod_of_a_superseded_template_is_deleted(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    status = {"observedGeneration": 1, "updateRevision": "new"}
    owner = warm.owner("StatefulSet", "db", metadata={"generation": 1}, spec={"replicas": 1}, status=status)
    warm.pod("db-0", "app", owner=owner, metadata={"labels": {"controller-revision-hash": "old"}})
    async with warm.controlled():
        await eventually(lambda: "HoldSuperseded" in warm.events("db-0"))
    assert warm.gates() == {}


async def test_it_is_deleted_when_the_template_is_mended_while_it_waits(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    status = {"observedGeneration": 1, "updateRevision": "old"}
    owner = warm.owner("StatefulSet", "db", metadata={"generation": 1}, spec={"replicas": 1}, status=status)
    warm.pod("db-0", "app", owner=owner, metadata={"labels": {"controller-revision-hash": "old"}})
    async with warm.controlled():
        await eventually(lambda: "WarmingUp" in warm.events("db-0"))
        mended = {"status": {"updateRevision": "new"}}
        await warm.client.merge_patch(STATEFULSETS, "db", mended, namespace="shop", subresource="status")
        await eventually(lambda: "HoldSuperseded" in warm.events("db-0"))
    assert warm.gates() == {}


async def test_hold_on_the_workload_alone_holds_nothing_and_says_so(warm: Any, eventually: Until) -> None:
    hold = {"annotations": {PRE_PULL_GATE: "hold"}}
    warm.owner("Deployment", "alone", metadata=hold)
    warm.owner("Deployment", "both", metadata=hold, spec={"template": {"metadata": hold}})
    async with warm.controlled():
        await eventually(lambda: "HoldNotOnTemplate" in warm.events("alone"))
    assert warm.events("both") == {}


async def test_another_controller_goes_on_where_this_one_was_killed(warm: Any, eventually: Until) -> None:
    warm.nodes("n1")
    warm.prepull("app")
    warm.pod("a", "app")
    async with warm.controlled():
        await eventually(lambda: "WarmingUp" in warm.events("a"))
    warm.report("n1", app="Present")
    async with warm.controlled():
        await eventually(lambda: not warm.held())
    assert warm.prefers("a") == ["n1"]
