"""The controller on an API server in memory, with agents that do what they are granted."""

import asyncio
from typing import Any

import pytest

from controller.budget import Limits
from controller.granted import Cost
from tidegate.kube.resources import DEPLOYMENTS, NODEPULLS, NODES, PREPULLS

WIDE = Limits(in_flight=50, rate=10_000.0, burst=10_000)
HOST = "registry.test"
IMAGE = f"{HOST}/app@sha256:" + "a" * 64
OTHER = f"{HOST}/other:1"


def condition(prepull: dict[str, Any]) -> tuple[str, str]:
    ready, _ = prepull["status"]["conditions"]
    return ready["status"], ready["reason"]


def images(nodepull: dict[str, Any]) -> list[str]:
    return [image["image"] for image in nodepull["spec"].get("images", [])]


async def test_every_node_is_warmed_and_never_more_pull_than_the_budget_says(cluster: Any, eventually: Any) -> None:
    for number in range(12):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=3, rate=10_000, burst=10_000)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 12)
    assert (cluster.warm(), len(cluster.agents.begun)) == (12, 12)
    assert cluster.agents.peak <= 3
    assert condition(cluster.prepulls()["heavy"]) == ("True", "Present")
    assert cluster.metric("tidegate_pulls_total", registry=HOST, result="clean") == 12
    assert cluster.metric("tidegate_pulls_in_flight", registry=HOST) == 0
    assert cluster.metric("tidegate_pull_budget", registry=HOST, unit="in_flight") == 3
    assert cluster.metric("tidegate_grant_wait_seconds_count") == 12


async def test_an_ask_of_more_nodes_than_are_taken_in_at_once_reaches_all(cluster: Any, eventually: Any) -> None:
    for number in range(250):
        cluster.node(f"node-{number}")

    def planned() -> int:
        return sum(images(nodepull) == [IMAGE] for nodepull in cluster.nodepulls().values())

    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: planned() == 250, within_s=30)


async def test_pulls_are_paced_by_their_cost(cluster: Any, eventually: Any) -> None:
    cluster.costs.default = Cost(requests=15, bytes=1)
    for number in range(8):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=8, rate=200, burst=10)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.warm() == 8)
    times = [at for at, *_ in cluster.agents.begun]
    assert times[-1] - times[0] >= (7 * 15) / 200 - 0.05


async def test_a_nodepull_is_named_like_its_node_owned_by_it_and_says_its_uid(cluster: Any, eventually: Any) -> None:
    cluster.node("node-1")
    [node] = cluster.api.objects("", "nodes")
    async with cluster.controlled(WIDE):
        await eventually(lambda: "node-1" in cluster.nodepulls())
    nodepull = cluster.nodepulls()["node-1"]
    [owner] = nodepull["metadata"]["ownerReferences"]
    uid = node["metadata"]["uid"]
    assert (owner["apiVersion"], owner["kind"], owner["name"], owner["uid"]) == ("v1", "Node", "node-1", uid)
    assert (nodepull["spec"]["nodeUid"], images(nodepull)) == (uid, [])


async def test_a_grant_says_until_when_how_long_and_how_much(cluster: Any, eventually: Any) -> None:
    cluster.costs.default = Cost(requests=3, bytes=5_000_000)
    cluster.agents.seconds = 3600
    cluster.node("node-1")
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.agents.running == 1)
    [image] = cluster.nodepulls()["node-1"]["spec"]["images"]
    assert (image["bytes"], image["grant"]["seconds"]) == (5_000_000, 65.0)
    assert image["grant"]["expiresAt"].endswith("Z")


async def test_a_workload_asks_by_annotation_changes_its_mind_and_leaves(cluster: Any, eventually: Any) -> None:
    cluster.node("node-1")
    cluster.node("gpu-1", labels={"gpu": "yes"})
    async with cluster.controlled(WIDE):
        cluster.deployment("web", IMAGE, nodeSelector={"gpu": "yes"})
        await eventually(lambda: cluster.warm() == 1)
        prepull = cluster.prepulls()["deployment-web"]
        [owner] = prepull["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Deployment", "web", True)
        assert prepull["spec"] == {"images": [IMAGE], "nodeSelector": {"gpu": "yes"}}
        template = {"spec": {"containers": [{"name": "c0", "image": OTHER}]}}
        await cluster.change(DEPLOYMENTS, "web", {"spec": {"template": template}}, "default")
        await eventually(lambda: ("gpu-1", OTHER) in cluster.agents.present)
        assert images(cluster.nodepulls()["gpu-1"]) == [OTHER], "what nobody wants any more leaves the plan"
        silenced = {"metadata": {"annotations": {"tidegate.dev/pre-pull": "false"}}}
        await cluster.change(DEPLOYMENTS, "web", silenced, "default")
        await eventually(lambda: not cluster.prepulls())
        await eventually(lambda: images(cluster.nodepulls()["gpu-1"]) == [])
    assert cluster.warm() == 2, "a plan never deletes an image"


async def test_the_affinity_of_the_workload_counts_though_its_prepull_has_no_room_for_it(
    cluster: Any, eventually: Any
) -> None:
    cluster.node("node-1")
    cluster.node("node-2", labels={"zone": "b"})
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    async with cluster.controlled(WIDE):
        cluster.deployment("web", IMAGE, affinity={"nodeAffinity": required})
        await eventually(lambda: cluster.prepulls().get("deployment-web", {}).get("status", {}).get("ready") == 1)
    assert cluster.agents.present == {("node-2", IMAGE)}


async def test_a_prepull_goes_with_its_workload_even_if_that_went_while_nobody_looked(
    cluster: Any, eventually: Any
) -> None:
    cluster.deployment("web", IMAGE)
    async with cluster.controlled(WIDE):
        await eventually(lambda: "deployment-web" in cluster.prepulls())
    first = cluster.prepulls()["deployment-web"]["metadata"]["uid"]
    await cluster.client.delete(DEPLOYMENTS, "web", namespace="default")
    cluster.deployment("web", IMAGE)
    async with cluster.controlled(WIDE):
        await eventually(
            lambda: cluster.prepulls().get("deployment-web", {"metadata": {"uid": first}})["metadata"]["uid"] != first
        )
    await cluster.client.delete(DEPLOYMENTS, "web", namespace="default")
    async with cluster.controlled(WIDE):
        await eventually(lambda: not cluster.prepulls())


async def test_what_somebody_edits_in_a_kept_prepull_is_put_back(cluster: Any, eventually: Any) -> None:
    cluster.deployment("web", IMAGE)
    async with cluster.controlled(WIDE):
        await eventually(lambda: "deployment-web" in cluster.prepulls())
        edit = {"spec": {"images": [OTHER], "priority": 9}}
        await cluster.change(PREPULLS, "deployment-web", edit, "default")
        await eventually(lambda: cluster.prepulls()["deployment-web"]["spec"] == {"images": [IMAGE]})


async def test_a_prepull_that_somebody_made_is_left_alone(cluster: Any, eventually: Any) -> None:
    cluster.node("node-1")
    cluster.prepull("deployment-web", OTHER)
    async with cluster.controlled(WIDE):
        cluster.deployment("web", IMAGE)
        cluster.deployment("api", IMAGE)
        await eventually(lambda: "deployment-api" in cluster.prepulls())
        await cluster.client.delete(DEPLOYMENTS, "web", namespace="default")
        await eventually(lambda: cluster.warm() == 2)
    assert cluster.prepulls()["deployment-web"]["spec"] == {"images": [OTHER]}


async def test_only_images_of_listed_registries_are_planned_and_the_status_says_so(
    cluster: Any, eventually: Any
) -> None:
    cluster.node("node-1")
    async with cluster.controlled(WIDE):
        cluster.prepull("mixed", IMAGE, "elsewhere.test/a:1")
        await eventually(lambda: cluster.warm() == 1)
        await eventually(lambda: cluster.prepulls()["mixed"].get("status", {}).get("ready") == 1)
    assert images(cluster.nodepulls()["node-1"]) == [IMAGE]
    assert condition(cluster.prepulls()["mixed"]) == ("False", "NotListed")


@pytest.mark.parametrize("spoiled", [{"ready": "False"}, {"spec": {"unschedulable": True}}])
async def test_a_node_that_takes_no_pods_gets_nothing_until_it_does(
    cluster: Any, eventually: Any, spoiled: dict[str, Any]
) -> None:
    cluster.node("good")
    cluster.node("bad", **spoiled)
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 1)
        assert cluster.prepulls()["heavy"]["status"]["nodes"] == 1
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await cluster.client.merge_patch(NODES, "bad", ready, subresource="status")
        await cluster.change(NODES, "bad", {"spec": {"unschedulable": None}})
        await eventually(lambda: cluster.warm() == 2)


async def test_a_throttle_slows_the_whole_cluster_down_and_every_node_is_warm_in_the_end(
    cluster: Any, eventually: Any
) -> None:
    refusals = iter([True])

    def script(_node: str, _image: str) -> dict[str, Any] | None:
        if next(refusals, False):
            return {"phase": "Failed", "reason": "Throttled", "throttled": True, "retryAfterSeconds": 0.03}
        return None

    cluster.agents.script = script
    for number in range(6):
        cluster.node(f"node-{number}")
    async with cluster.controlled(Limits(in_flight=4, rate=10_000, burst=10_000)):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.metric("tidegate_throttled_total", registry=HOST, caller="agent") == 1)
        await eventually(lambda: cluster.warm() == 6)
        await eventually(lambda: cluster.metric("tidegate_pulls_in_flight", registry=HOST) == 0)
    assert cluster.metric("tidegate_pulls_total", registry=HOST, result="throttled") == 1
    assert len(cluster.agents.begun) == 7


async def test_a_restart_loses_no_grant_and_grants_no_more_than_the_budget(cluster: Any, eventually: Any) -> None:
    go = asyncio.Event()
    cluster.agents.gate = go
    for number in range(6):
        cluster.node(f"node-{number}")
    limits = Limits(in_flight=2, rate=10_000, burst=10_000)
    async with cluster.controlled(limits):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.agents.running == 2)
    async with cluster.controlled(limits):
        await asyncio.sleep(0.05)
        assert (cluster.agents.running, len(cluster.agents.begun)) == (2, 2)
        go.set()
        await eventually(lambda: cluster.warm() == 6)
    assert (cluster.agents.peak, len(cluster.agents.begun)) == (2, 6)


async def test_a_node_that_comes_back_under_its_name_is_pulled_for_again(cluster: Any, eventually: Any) -> None:
    cluster.node("node-1")
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.warm() == 1)
        first = cluster.nodepulls()["node-1"]["metadata"]["uid"]
        cluster.agents.forget("node-1")
        await cluster.client.delete(NODES, "node-1")
        cluster.node("node-1")
        await eventually(lambda: cluster.warm() == 1)
        await eventually(lambda: cluster.prepulls()["heavy"]["status"]["ready"] == 1)
    [node] = cluster.api.objects("", "nodes")
    nodepull = cluster.nodepulls()["node-1"]
    assert nodepull["metadata"]["uid"] != first
    assert nodepull["spec"]["nodeUid"] == node["metadata"]["uid"]
    assert len(cluster.agents.begun) == 2


async def test_an_agent_that_says_nothing_or_is_of_another_node_gets_no_grant(cluster: Any, eventually: Any) -> None:
    cluster.agents.deaf = {"silent", "stranger"}
    for name in ("silent", "stranger", "good"):
        cluster.node(name)
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: images(cluster.nodepulls().get("stranger", {"spec": {}})) == [IMAGE])
        claims = {"nodeUid": "another", "agent": "a9", "images": [{"image": IMAGE, "phase": "Present"}]}
        await cluster.client.merge_patch(NODEPULLS, "stranger", {"status": claims}, subresource="status")
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 1)
    assert cluster.prepulls()["heavy"]["status"]["nodes"] == 3
    for name in ("silent", "stranger"):
        assert "grant" not in cluster.nodepulls()[name]["spec"]["images"][0]


async def test_nothing_is_written_when_nothing_changed(cluster: Any, eventually: Any) -> None:
    for number in range(3):
        cluster.node(f"node-{number}")
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 3)
        before = cluster.writes()
        heartbeat = {"status": {"conditions": [{"type": "Ready", "status": "True", "message": "still"}]}}
        await cluster.client.merge_patch(NODES, "node-0", heartbeat, subresource="status")
        cluster.api.end_watches()
        await asyncio.sleep(0.05)
        settled = cluster.writes()
        assert settled == before + 1, "the heartbeat alone"
    async with cluster.controlled(WIDE):
        await asyncio.sleep(0.05)
        assert cluster.writes() == settled, "a restart writes nothing either"


async def test_writes_survive_conflicts_and_an_api_server_that_fails(cluster: Any, eventually: Any) -> None:
    for number in range(6):
        cluster.node(f"node-{number}")

    async def disturb() -> None:
        for turn in range(200):
            for number in range(6):
                label = {"metadata": {"labels": {"turn": f"{turn}"}}}
                if f"node-{number}" in cluster.nodepulls():
                    await cluster.change(NODEPULLS, f"node-{number}", label)
            await asyncio.sleep(0)

    async with cluster.controlled(Limits(in_flight=2, rate=10_000, burst=10_000)):
        disturbing = asyncio.create_task(disturb())
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.warm() >= 2)
        disturbing.cancel()
        await asyncio.wait([disturbing])
        await eventually(lambda: cluster.warm() == 6)
        cluster.prepull("more", OTHER)
        cluster.api.fail_next(5)
        await eventually(lambda: cluster.warm() == 12)
    assert cluster.agents.peak <= 2


async def test_two_controllers_by_mistake_take_over_each_others_grants(cluster: Any, eventually: Any) -> None:
    limits = Limits(in_flight=3, rate=10_000, burst=10_000)
    for number in range(12):
        cluster.node(f"node-{number}")
    async with cluster.controlled(limits), cluster.controlled(limits):
        await eventually(lambda: len(cluster.nodepulls()) == 12)
        before = cluster.writes()
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.prepulls()["heavy"].get("status", {}).get("ready") == 12)
    assert (cluster.warm(), len(cluster.agents.begun)) == (12, 12)
    assert cluster.agents.peak <= 2 * 3
    assert cluster.writes() - before < 12 * 15


async def test_a_grant_of_an_earlier_node_of_the_same_name_is_not_handed_to_the_new_one(
    cluster: Any, eventually: Any
) -> None:
    cluster.agents.seconds = 3600
    cluster.node("node-1")
    async with cluster.controlled(WIDE):
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: cluster.agents.running == 1)
    [old] = [image["grant"]["id"] for image in cluster.nodepulls()["node-1"]["spec"]["images"]]
    await cluster.client.delete(NODES, "node-1")
    cluster.agents.forget("node-1")
    cluster.node("node-1")
    async with cluster.controlled(WIDE):
        await eventually(lambda: cluster.agents.running == 2)
        assert cluster.metric("tidegate_pulls_in_flight", registry=HOST) == 2
    [new] = [image["grant"]["id"] for image in cluster.nodepulls()["node-1"]["spec"]["images"]]
    assert new != old


async def test_what_is_heavy_is_pulled_without_being_asked_for_and_leaves_with_its_workload(
    cluster: Any, eventually: Any
) -> None:
    cluster.costs.by_image[IMAGE] = Cost(requests=3, bytes=2**31)
    cluster.node("node-1")
    silent, refuses = {"example.com/x": "y"}, {"tidegate.dev/pre-pull": "false"}
    cluster.deployment("web", IMAGE, OTHER, annotations=silent)
    cluster.deployment("no", f"{HOST}/huge:1", annotations=refuses)
    cluster.costs.by_image[f"{HOST}/huge:1"] = Cost(requests=3, bytes=2**31)
    async with cluster.controlled(WIDE):
        await eventually(lambda: cluster.agents.present == {("node-1", IMAGE)})
        assert list(cluster.prepulls()) == ["deployment-web"]
        assert cluster.prepulls()["deployment-web"]["spec"]["images"] == [IMAGE]
        newer = f"{HOST}/app@sha256:" + "b" * 64
        cluster.costs.by_image[newer] = Cost(requests=3, bytes=2**31)
        cluster.deployment("web", newer, OTHER, annotations=silent)
        await eventually(lambda: ("node-1", newer) in cluster.agents.present)
        await eventually(lambda: images(cluster.nodepulls()["node-1"]) == [newer])
        cluster.deployment("web", OTHER, annotations=silent)
        await eventually(lambda: not cluster.prepulls())
        await eventually(lambda: images(cluster.nodepulls()["node-1"]) == [])
    assert cluster.api.objects("apps", "deployments")[0]["metadata"]["annotations"] in (silent, refuses)


async def test_a_new_node_is_not_let_go_before_sizes_are_known(cluster: Any, eventually: Any) -> None:
    cluster.node("node-1")
    cluster.deployment("web", IMAGE, annotations={"example.com/x": "y"})
    cluster.costs.by_image[IMAGE] = Cost(requests=3, bytes=2**31)
    cluster.agents.gate = asyncio.Event()
    async with cluster.controlled(WIDE) as controller:
        assert not controller.standing("node-1").decided
        await eventually(lambda: controller.standing("node-1").wanted == 1)
        assert not controller.standing("node-1").warm
        cluster.agents.gate.set()
        await eventually(lambda: controller.standing("node-1").warm)
