"""Held Pods: who is released when, who stays, and what is said about it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import pytest

from controller.holding.polls import MOST_PAUSE_S
from tidegate.findings import Finding, Mode, Verdict
from tidegate.kube.own import REPLICA_GATE
from tidegate.kube.resources import NAMESPACES, PODS
from tidegate.policy import Exemption, Policy, Settings, Tags

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/app@{DIGEST}"
WEB = f"r.example/web@{DIGEST}"
OTHER_GATE = "example.com/quota"
Until = Callable[..., Awaitable[None]]


def enforced(**settings: Any) -> Policy:
    return Policy(Settings(mode=Mode.ENFORCE, **settings))


async def test_pods_whose_image_arrives_are_released_within_two_seconds(held: Any, eventually: Until) -> None:
    held.replicas.findings["app"] = Finding.INCOMPLETE
    for name in ("a", "b", "c"):
        held.pod(name, APP)
    async with held.controlled():
        await eventually(lambda: all("ReplicaLagging" in held.events(name) for name in "abc"))
        assert held.held() == {"a", "b", "c"}
        assert held.metric("tidegate_held_pods") == 3
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: not held.held(), within_s=2.0)
        await eventually(lambda: all("ReplicaComplete" in held.events(name) for name in "abc"))
    notes = held.events("a")
    assert notes["ReplicaLagging"] == f"held: {APP} is incomplete; waiting for 3 of 12 blobs on westeurope"
    assert notes["ReplicaComplete"].startswith("waited ")
    assert notes["ReplicaComplete"].endswith("s for 3 of 12 blobs on westeurope")
    assert held.metric("tidegate_held_pods") == 0
    assert held.metric("tidegate_hold_duration_seconds_count") == 3


async def test_a_pod_that_waits_for_nothing_is_released_at_once_and_other_gates_stay(
    held: Any, eventually: Until
) -> None:
    held.replicas.findings["app"] = Finding.OK
    held.pod("a", APP, gates=(OTHER_GATE, REPLICA_GATE, "example.com/more"))
    held.pod("not-ours", APP, gates=(OTHER_GATE,))
    async with held.controlled():
        await eventually(lambda: not held.held())
    assert held.gates() == {"a": [OTHER_GATE, "example.com/more"], "not-ours": [OTHER_GATE]}
    assert held.patches() == 1


async def test_all_images_of_a_pod_must_be_complete(held: Any, eventually: Until) -> None:
    held.replicas.findings = {"app": Finding.OK, "web": Finding.ABSENT}
    held.pod("both", APP, initContainers=[{"name": "i", "image": WEB}])
    held.pod("one", APP)
    async with held.controlled():
        await eventually(lambda: held.held() == {"both"})
        await eventually(lambda: "ReplicaLagging" in held.events("both"))
        held.replicas.findings["web"] = Finding.OK
        await eventually(lambda: not held.held(), within_s=2.0)


async def test_an_image_is_asked_about_once_however_many_pods_wait(held: Any, eventually: Until) -> None:
    images = [f"r.example/app-{number}@{DIGEST}" for number in range(5)]
    for number in range(500):
        held.pod(f"p{number}", images[number % 5])
    async with held.controlled():
        await eventually(lambda: len(held.replicas.asked) == 5)
        await eventually(lambda: held.metric("tidegate_held_pods") == 500)
        assert max(held.replicas.asked.values()) <= 4
        held.replicas.findings = {f"app-{number}": Finding.OK for number in range(5)}
        await eventually(lambda: not held.held(), within_s=10.0)
    assert held.patches() == 500
    assert max(held.replicas.asked.values()) <= 16


async def test_another_controller_goes_on_where_the_first_was_killed(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
    held.replicas.findings["app"] = Finding.OK
    held.pod("b", APP)
    async with held.controlled():
        await eventually(lambda: not held.held())


async def test_what_was_said_is_not_said_again_by_the_next_controller(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    for _ in range(2):
        before = held.replicas.asked["app"]
        async with held.controlled():
            await eventually(lambda before=before: held.replicas.asked["app"] > before)
            await eventually(lambda: "ReplicaLagging" in held.events("a"))
    assert len(held.api.objects("events.k8s.io", "events")) == 1


async def test_a_conflict_has_the_pod_judged_anew(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        held.api.fail_next(1, code=HTTPStatus.CONFLICT)
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: not held.held())
        await eventually(lambda: "ReplicaComplete" in held.events("a"))
    assert held.metric("tidegate_hold_duration_seconds_count") == 1


async def test_an_image_that_is_changed_meanwhile_is_what_is_judged(held: Any, eventually: Until) -> None:
    held.replicas.findings = {"web": Finding.MISMATCH}
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        patch = {"spec": {"containers": [{"name": "c0", "image": WEB}]}}
        await held.client.merge_patch(PODS, "a", patch, namespace="default")
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: "ReplicaDenied" in held.events("a"))
        assert held.held() == {"a"}
        asked = held.replicas.asked["app"]
        await asyncio.sleep(0.02)
        assert held.replicas.asked["app"] == asked, "nobody waits for it any more"


async def test_a_pod_that_is_deleted_while_held_is_forgotten(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    async with held.controlled() as holds:
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        await held.client.delete(PODS, "a", namespace="default")
        await eventually(lambda: not holds.awaits(APP))
        assert held.metric("tidegate_held_pods") == 0


@pytest.mark.parametrize(
    "finding,image",
    [
        pytest.param(Finding.MISMATCH, APP, id="mismatch"),
        pytest.param(Finding.UNSUPPORTED, APP, id="unsupported"),
        pytest.param(Finding.OK, "r.example/app:1", id="a tag where a digest is required"),
        pytest.param(Finding.OK, "r.example/APP", id="malformed"),
    ],
)
async def test_who_is_denied_stays_held_and_is_told_once(
    held: Any, eventually: Until, finding: Finding, image: str
) -> None:
    held.replicas.findings["app"] = finding
    held.ahead_s = 10_000  # past any deadline: it may not let a denied image in
    held.pod("a", image)
    async with held.controlled(enforced(hold_releases=True)):
        await eventually(lambda: "ReplicaDenied" in held.events("a"))
        await held.nudge("a")
        await held.nudge("a")
        await asyncio.sleep(0.02)
    assert held.held() == {"a"}
    assert held.events("a").keys() == {"ReplicaDenied"}
    assert held.patches() == 2, "only ours"


@pytest.mark.parametrize(
    "policy,namespace",
    [
        pytest.param(
            Policy(Settings(mode=Mode.ENFORCE), exemptions=(Exemption(namespaces=frozenset({"shop"}), reason="x"),)),
            {}, id="exempt namespace",
        ),
        pytest.param(enforced(), {"tidegate.dev__break-glass": "true"}, id="break-glass"),
        pytest.param(enforced(), {"tidegate.dev__mode": "warn"}, id="the namespace only warns"),
        pytest.param(Policy(Settings(mode=Mode.AUDIT)), {}, id="policy only counts"),
        pytest.param(enforced(verdicts={Finding.ABSENT: Verdict.WARN}), {}, id="the finding is only warned about"),
    ],
)  # fmt: skip
async def test_a_pod_that_policy_would_let_in_now_is_released(
    held: Any, eventually: Until, policy: Policy, namespace: dict[str, str]
) -> None:
    held.namespace("shop", **namespace)
    held.pod("a", APP, namespace="shop")
    async with held.controlled(policy):
        await eventually(lambda: not held.held())


async def test_breaking_the_glass_releases_who_waits(held: Any, eventually: Until) -> None:
    held.namespace("shop")
    held.pod("a", APP, namespace="shop")
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        await held.client.merge_patch(NAMESPACES, "shop", {"metadata": {"labels": {"tidegate.dev/break-glass": "y"}}})
        await eventually(lambda: not held.held())
        await eventually(lambda: "HoldLifted" in held.events("a"))
    assert held.events("a")["HoldLifted"].endswith("mode is audit")


async def test_past_the_deadline_a_pod_is_kept_and_that_is_said_once(held: Any, eventually: Until) -> None:
    held.replicas.findings["app"] = Finding.INCOMPLETE
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        held.ahead_s = 300
        await held.nudge("a")
        await eventually(lambda: "HoldOverdue" in held.events("a"))
        assert held.metric("tidegate_held_pods_overdue") == 1
        assert held.held() == {"a"}
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: not held.held())
        await eventually(lambda: held.metric("tidegate_held_pods_overdue") == 0)
    words = r"still held after 5m0\ds, waiting for 3 of 12 blobs on westeurope"
    assert re.fullmatch(words, held.events("a")["HoldOverdue"])


async def test_at_the_deadline_a_pod_is_released_where_policy_says_so(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    held.ahead_s = 99.0  # the API server's times are whole seconds: at most one is left to the deadline
    async with held.controlled(enforced(hold_releases=True, hold_deadline_s=100.0)):
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        await eventually(lambda: not held.held(), within_s=2.0)
        await eventually(lambda: "HoldExpired" in held.events("a"))
    assert held.patches() == 1


async def test_a_jobs_pod_is_let_go_at_half_of_the_jobs_deadline_and_none_at_its_own(
    held: Any, eventually: Until
) -> None:
    """Else any author could let a Pod go: its own deadline does not run before a kubelet has it."""
    owner = held.owner("Job", "nightly", spec={"activeDeadlineSeconds": 60})
    held.pod("a", APP, metadata={"ownerReferences": [owner]})
    held.pod("b", APP, activeDeadlineSeconds=2)
    held.ahead_s = 31
    async with held.controlled():
        await eventually(lambda: held.held() == {"b"})
        await held.nudge("b")
        await eventually(lambda: "ReplicaLagging" in held.events("b"))
        assert held.held() == {"b"}


async def test_where_tags_are_allowed_a_tag_is_waited_for(held: Any, eventually: Until) -> None:
    held.pod("a", "r.example/app:1")
    async with held.controlled(enforced(tags=Tags.ALLOW)):
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: not held.held(), within_s=MOST_PAUSE_S + 0.5)


async def test_the_api_server_may_be_away_for_a_moment(held: Any, eventually: Until) -> None:
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: "ReplicaLagging" in held.events("a"))
        held.api.fail_next(3)
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: not held.held())
