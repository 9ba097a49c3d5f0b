"""What an agent may write into its status: whatever it is, other nodes get their images, and its own can recover."""

from contextlib import suppress
from typing import Any

import pytest

from controller.budget import Limits
from tidegate.kube.errors import Unavailable
from tidegate.kube.resources import NODEPULLS

HOST = "registry.test"
IMAGE = f"{HOST}/app@sha256:" + "a" * 64
OTHER = f"{HOST}/other:1"


def one(**fields: Any) -> dict[str, Any]:
    return {"agent": "evil", "images": [{"image": IMAGE, "phase": "Failed"} | fields]}


UNWANTED = {"agent": "evil", "images": [{"image": f"{HOST}/no:{n}", "phase": "Present"} for n in range(10_000)]}


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(one(grant="grant-of-another"), id="somebody else's grant"),
        pytest.param(one(bytes=-1, attempts=-(10**9)), id="negative numbers"),
        pytest.param(one(bytes=2**62, attempts=2**31 - 1), id="huge numbers"),
        pytest.param(one(startedAt="yesterday", finishedAt="∞"), id="garbage for times"),
        pytest.param(one(phase="Exploded", reason="Gremlins"), id="words of another version"),
        pytest.param(one(throttled=True, retryAfterSeconds=-1), id="a pause of less than nothing"),
        pytest.param(one(throttled=True, retryAfterSeconds=1e308), id="a pause for ever, under no grant"),
        pytest.param(one(message="x" * 100_000), id="a long message"),
        pytest.param(UNWANTED, id="ten thousand images that nobody wants"),
        pytest.param({"agent": "evil", "images": [one()["images"][0]] * 3}, id="the same image three times"),
        pytest.param({"agent": "evil", "nodeUid": "another", "images": []}, id="another node's UID"),
    ],
)  # fmt: skip
async def test_one_nodes_status_blinds_nobody_and_is_overcome_by_the_next(
    cluster: Any, eventually: Any, status: dict[str, Any]
) -> None:
    cluster.agents.deaf.add("node-evil")
    cluster.node("node-evil")
    cluster.node("node-1")
    async with cluster.controlled(Limits(in_flight=2, rate=10_000.0, burst=10_000)):
        await eventually(lambda: "node-evil" in cluster.nodepulls())
        uid = cluster.nodepulls()["node-evil"]["spec"]["nodeUid"]
        await say(cluster, {"nodeUid": uid, "agent": "evil", "images": [{"image": IMAGE, "phase": "Pending"}]})
        cluster.prepull("heavy", IMAGE)
        await eventually(lambda: "grant" in cluster.nodepulls()["node-evil"]["spec"].get("images", [{}])[0])
        await say(cluster, {"nodeUid": uid} | status)
        cluster.prepull("more", OTHER)
        await eventually(lambda: {("node-1", IMAGE), ("node-1", OTHER)} <= cluster.agents.present)
        await eventually(lambda: len(cluster.nodepulls()["node-evil"]["spec"]["images"]) == 2)
        cluster.agents.deaf.clear()  # an honest agent takes over
        await say(cluster, {"nodeUid": uid, "agent": "honest"})
        await eventually(lambda: cluster.warm() == 4)


async def say(cluster: Any, status: dict[str, Any]) -> None:
    """Write the evil node's status; our own client may be unable to read the answer, which has everything in it."""
    with suppress(Unavailable):
        await cluster.client.merge_patch(NODEPULLS, "node-evil", {"status": status}, subresource="status")
