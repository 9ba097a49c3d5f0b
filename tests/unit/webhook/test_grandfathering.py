"""What runs goes on running: a drained node's replacement Pod is a CREATE, and gets at most a warning."""

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import Policy, Settings, Tags, Unlisted

DIGEST = "sha256:" + "a" * 64
WEB = f"r.example/web@{DIGEST}"
NEW = f"r.example/new@{DIGEST}"
TAG = "r.example/web:1"
GATE = "tidegate.dev/replica"
OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True}]}
NO_CONTROLLER = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r"}]}
OUTSIDE = "other.example/tool:1"


def grandfathered(webhook: Any, finding: str) -> float:
    value = webhook.metrics.registry.get_sample_value("tidegate_grandfathered_total", {"finding": finding})
    return value or 0.0


async def admitted(webhook: Any, make: Any, pod: dict[str, Any], *, other: Any = None) -> tuple[dict[str, Any], Any]:
    """The Pod as `/mutate` leaves it, and the answer of `/validate` (of another process, if one is given)."""
    after = make.patched(pod, make.patch_of(await webhook.judge(make.review(pod), "/mutate")))
    return after, await (other or webhook).judge(make.review(after))


@pytest.mark.parametrize(
    "image, found",
    [
        pytest.param(WEB, Finding.ABSENT, id="gone from the replica"),
        pytest.param(WEB, Finding.INCOMPLETE, id="not whole any more"),
        pytest.param(WEB, Finding.MISMATCH, id="whatever is found, even lies"),
        pytest.param(WEB, Finding.UNSUPPORTED, id="unsupported"),
        pytest.param(TAG, Finding.NOT_PINNED, id="by tag"),
        pytest.param(OUTSIDE, Finding.UNLISTED, id="of a registry that nobody lists"),
    ],
)
async def test_an_owned_pod_whose_image_ran_here_comes_back(
    in_cluster: Any, make: Any, image: str, found: Finding
) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, unlisted=Unlisted.DENY)))
    in_cluster.ran.known = {"shop": {image}}
    in_cluster.checker.replica["web"] = found
    after, answer = await admitted(in_cluster, make, make.pod(image, metadata=OWNED))
    assert "schedulingGates" not in after["spec"]
    assert answer.said == (True, "warn", found.value)
    [warning] = answer.response["warnings"]
    assert warning.endswith("; ran here before")
    assert len(warning) <= 120
    assert answer.response["auditAnnotations"]["grandfathered"].endswith(f"={found.value}")
    assert grandfathered(in_cluster, found.value) == 1


@pytest.mark.parametrize(
    "image, found, said",
    [(WEB, Finding.ABSENT, (False, "hold", "absent")), (TAG, Finding.NOT_PINNED, (False, "deny", "not-pinned"))],
)
@pytest.mark.parametrize(
    "metadata, ran, grandfather",
    [
        pytest.param({}, {"shop": {WEB, TAG}}, True, id="nobody owns it"),
        pytest.param(NO_CONTROLLER, {"shop": {WEB, TAG}}, True, id="no controller owns it"),
        pytest.param(OWNED, {"bank": {WEB, TAG}}, True, id="it ran in another namespace"),
        pytest.param(OWNED, {"shop": {NEW}}, True, id="another image ran"),
        pytest.param(OWNED, {"shop": {WEB, TAG}}, False, id="turned off"),
    ],
)
async def test_nothing_else_does(
    in_cluster: Any, make: Any, image: str, found: Finding, *, said: Any, metadata: Any, ran: Any, grandfather: bool
) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, grandfather=grandfather)))
    in_cluster.ran.known = ran
    in_cluster.checker.replica["web"] = found
    answer = await in_cluster.judge(make.review(make.pod(image, metadata=metadata)))
    assert answer.said == said
    assert "grandfathered" not in answer.response["auditAnnotations"]
    assert grandfathered(in_cluster, found.value) == 0


async def test_a_workload_is_no_pod_that_comes_back(in_cluster: Any, make: Any) -> None:
    in_cluster.ran.known = {"shop": {TAG}}
    for group, kind in (("apps", "Deployment"), ("apps", "ReplicaSet"), ("batch", "Job")):
        new = {"metadata": {"name": "w", **OWNED}, "spec": {"template": {"spec": make.pod_spec(TAG)}}}
        answer = await in_cluster.judge(make.review(new, group=group, kind=kind))
        assert answer.said == (False, "deny", "not-pinned"), kind


@pytest.mark.parametrize("sub_resource", ["", "ephemeralcontainers"])
async def test_a_new_image_of_a_pod_that_runs_is_judged(in_cluster: Any, make: Any, sub_resource: str) -> None:
    in_cluster.ran.known = {"shop": {TAG}}
    old, new = make.pod(WEB, metadata=OWNED), make.pod(WEB, TAG, metadata=OWNED)
    review = make.review(new, old=old, operation="UPDATE", subResource=sub_resource)
    assert (await in_cluster.judge(review)).said == (False, "deny", "not-pinned")


async def test_an_image_beside_it_that_never_ran_is_judged(in_cluster: Any, make: Any) -> None:
    in_cluster.ran.known = {"shop": {WEB}}
    in_cluster.checker.replica = {"web": Finding.ABSENT, "new": Finding.ABSENT}
    after, answer = await admitted(in_cluster, make, make.pod(WEB, NEW, metadata=OWNED))
    assert after["spec"]["schedulingGates"] == [{"name": GATE}]
    assert answer.said == (True, "hold", "absent")


async def test_the_other_process_takes_it_from_the_decision(
    open_webhook: Callable[..., Any], ring: Any, make: Any
) -> None:
    knows, blank = open_webhook(ring, holds=True), open_webhook(ring, holds=True)
    knows.ran.known = {"shop": {WEB}}
    knows.checker.replica["web"] = Finding.ABSENT
    blank.checker.replica["web"] = RuntimeError("asked")
    after, answer = await admitted(knows, make, make.pod(WEB, metadata=OWNED), other=blank)
    assert answer.said == (True, "warn", "absent")
    assert answer.response["warnings"][0].endswith("; ran here before")
    assert grandfathered(blank, "absent") == 1
    assert grandfathered(knows, "absent") == 0, "counted once, where the Pod is admitted"
    freed = make.pod(WEB, metadata={"annotations": after["metadata"]["annotations"]})
    blank.checker.replica["web"] = Finding.ABSENT
    assert (await blank.judge(make.review(freed))).said == (False, "hold", "absent"), "it is for an owned Pod only"


FAILURES = [Finding.THROTTLED, Finding.UNREACHABLE, Finding.DEADLINE]


@pytest.mark.parametrize(
    "found, runs_in, said",
    [
        *(pytest.param(one, "bank", (True, "warn", one.value), id=f"{one}-elsewhere") for one in FAILURES),
        *(pytest.param(one, "shop", (True, "warn", one.value), id=f"{one}-here") for one in FAILURES),
        *(pytest.param(one, "", (False, "hold", one.value), id=f"{one}-nowhere") for one in FAILURES),
        pytest.param(Finding.UNAUTHORIZED, "shop", (True, "warn", "unauthorized"), id="refused, but runs here"),
        pytest.param(Finding.UNAUTHORIZED, "bank", (False, "hold", "unauthorized"), id="another's right opens no door"),
    ],
)
async def test_a_dark_replica_blocks_nothing_that_runs(
    in_cluster: Any, make: Any, found: Finding, runs_in: str, said: tuple[bool, str, str]
) -> None:
    """Whoever asks, owned or not, and whatever grandfathering says."""
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, grandfather=False, tags=Tags.ALLOW)))
    for image in (WEB, TAG):
        in_cluster.ran.known = {runs_in: {image}} if runs_in else {}
        in_cluster.checker.replica["web"] = found
        assert (await in_cluster.judge(make.review(make.pod(image)))).said == said
        template = {"metadata": {"name": "w"}, "spec": {"template": {"spec": make.pod_spec(image)}}}
        answer = await in_cluster.judge(make.review(template, group="apps", kind="Deployment"))
        assert answer.said[1:] == said[1:]


async def test_a_failure_that_policy_denies_is_grandfathered_too(in_cluster: Any, make: Any) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, verdicts={Finding.UNREACHABLE: Verdict.DENY})))
    in_cluster.ran.known = {"shop": {WEB}}
    in_cluster.checker.replica["web"] = Finding.UNREACHABLE
    assert (await in_cluster.judge(make.review(make.pod(WEB)))).said == (False, "deny", "unreachable")
    _, answer = await admitted(in_cluster, make, make.pod(WEB, metadata=OWNED))
    assert answer.said == (True, "warn", "unreachable")


@pytest.mark.parametrize("found, looked", [(Finding.OK, 0), (Finding.ABSENT, 1)])
async def test_what_runs_is_looked_up_only_where_it_can_matter(
    in_cluster: Any, make: Any, found: Finding, looked: int
) -> None:
    in_cluster.checker.memory["web"] = found
    await in_cluster.judge(make.review(make.pod(WEB)))
    assert in_cluster.ran.asked == looked


async def test_twenty_pods_by_tag_come_back_in_a_namespace_that_enforces_now_and_a_twenty_first_does_not(
    in_cluster: Any, make: Any
) -> None:
    images = [f"r.example/app{number}:1" for number in range(20)]
    in_cluster.ran.known = {"late": set(images)}
    in_cluster.namespaces.known["late"] = {"tidegate.dev/mode": "audit"}
    for image in [*images, "r.example/app20:1"]:
        _, answer = await admitted_in(in_cluster, make, image, "late")
        assert answer.response["allowed"]
    in_cluster.namespaces.known["late"] = {"tidegate.dev/mode": "enforce"}
    back = [(await admitted_in(in_cluster, make, image, "late"))[1].said for image in images]
    assert back == [(True, "warn", "not-pinned")] * 20
    _, answer = await admitted_in(in_cluster, make, "r.example/app20:1", "late")
    assert answer.said == (False, "deny", "not-pinned")


async def admitted_in(webhook: Any, make: Any, image: str, namespace: str) -> tuple[dict[str, Any], Any]:
    pod = make.pod(image, metadata=OWNED)
    first = await webhook.judge(make.review(pod, namespace=namespace), "/mutate")
    after = make.patched(pod, make.patch_of(first))
    return after, await webhook.judge(make.review(after, namespace=namespace))
