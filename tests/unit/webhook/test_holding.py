"""In a cluster: Pods wait behind a gate, their workloads are let in, what one process found out, another believes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import Exemption, Policy, Settings, Tags
from tidegate.policy.selectors import Selector

DIGEST = "sha256:" + "a" * 64
WEB = f"r.example/web@{DIGEST}"
NEW = f"r.example/new@{DIGEST}"
GATE = "tidegate.dev/replica"
KEY = "tidegate.dev/decision"
GATED = {"schedulingGates": [{"name": GATE}]}
DAEMON_SET = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": True}]}


def gates(pod: dict[str, Any]) -> list[str]:
    return [gate["name"] for gate in pod["spec"].get("schedulingGates") or []]


async def mutated(webhook: Any, make: Any, new: dict[str, Any], **others: Any) -> dict[str, Any]:
    """The object as the API server has it after `/mutate`."""
    answer = await webhook.judge(make.review(new, **others), "/mutate")
    after: dict[str, Any] = make.patched(new, make.patch_of(answer))
    return after


@pytest.mark.parametrize(
    "finding, metadata, spec, gated",
    [
        pytest.param("absent", {}, {}, True, id="absent"),
        pytest.param("incomplete", {}, {}, True, id="incomplete"),
        pytest.param("throttled", {}, {}, True, id="throttled"),
        pytest.param("deadline", {}, {}, True, id="deadline"),
        pytest.param("ok", {}, {}, False, id="complete"),
        pytest.param("mismatch", {}, {}, False, id="denied"),
        pytest.param("absent", {}, {"nodeName": "n"}, False, id="has a node already"),
        pytest.param("absent", DAEMON_SET, {}, True, id="says that it is a DaemonSet's"),
        pytest.param("absent", {"annotations": {"a": "b"}}, {"schedulingGates": None}, True, id="gates null"),
        pytest.param("absent", {"annotations": None}, {"schedulingGates": []}, True, id="no gates"),
        pytest.param("absent", {}, {"schedulingGates": [{"name": "other"}]}, True, id="beside another gate"),
        pytest.param("absent", {}, GATED, True, id="ours is there already"),
    ],
)
async def test_a_pod_waits_when_policy_says_hold(
    in_cluster: Any, make: Any, finding: str, *, metadata: dict[str, Any], spec: dict[str, Any], gated: bool
) -> None:
    in_cluster.checker.replica["web"] = Finding(finding)
    new = make.pod(WEB, metadata=metadata, **spec)
    after = await mutated(in_cluster, make, new)
    assert gates(after).count(GATE) == int(gated)
    assert [gate for gate in gates(after) if gate != GATE] == [gate for gate in gates(new) if gate != GATE]
    kept = {key: value for key, value in after["metadata"]["annotations"].items() if key != KEY}
    assert kept == (metadata.get("annotations") or {})
    assert KEY in after["metadata"]["annotations"]


@pytest.mark.parametrize("mode", ["warn", "audit"])
async def test_where_nothing_is_enforced_nothing_waits(in_cluster: Any, make: Any, mode: str) -> None:
    in_cluster.namespaces.known["shop"] = {"tidegate.dev/mode": mode}
    in_cluster.checker.replica["web"] = Finding.ABSENT
    assert await mutated(in_cluster, make, make.pod(WEB)) == make.pod(WEB)
    assert in_cluster.checker.asked == []


async def test_nor_under_break_glass(in_cluster: Any, make: Any) -> None:
    in_cluster.namespaces.known["shop"] |= {"tidegate.dev/break-glass": "true"}
    in_cluster.checker.replica["web"] = Finding.ABSENT
    assert await mutated(in_cluster, make, make.pod(WEB)) == make.pod(WEB)


async def test_nor_outside_a_cluster(webhook: Any, make: Any) -> None:
    webhook.checker.replica["web"] = Finding.ABSENT
    assert await mutated(webhook, make, make.pod(WEB)) == make.pod(WEB)
    assert (await webhook.judge(make.review(make.pod(WEB, **GATED)))).said == (False, "hold", "absent")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"operation": "UPDATE", "old": {"spec": {}}}, id="UPDATE"),
        pytest.param({"operation": "UPDATE", "subResource": "ephemeralcontainers"}, id="ephemeral containers"),
        pytest.param({"kind": "Deployment", "group": "apps"}, id="a workload"),
    ],
)
async def test_only_pods_only_at_creation(in_cluster: Any, make: Any, changed: dict[str, Any]) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    new = {**make.pod(WEB), "spec": {**make.pod_spec(WEB), "template": {"spec": make.pod_spec(WEB)}}}
    assert await mutated(in_cluster, make, new, **changed) == new
    assert in_cluster.checker.asked == []


async def test_not_what_is_exempt(in_cluster: Any, make: Any) -> None:
    exempt = Exemption(namespaces=frozenset({"shop"}), reason="x")
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE), exemptions=(exempt,)))
    in_cluster.checker.replica["web"] = Finding.ABSENT
    assert await mutated(in_cluster, make, make.pod(WEB)) == make.pod(WEB)


async def test_not_what_the_text_alone_refuses(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    after = await mutated(in_cluster, make, make.pod(WEB, "r.example/web:1"))
    assert gates(after) == []
    assert (await in_cluster.judge(make.review(after))).said == (False, "deny", "not-pinned")


async def test_what_is_pinned_is_what_is_judged(in_cluster: Any, make: Any) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, tags=Tags.PIN)))
    in_cluster.checker.tags["web:1"] = DIGEST
    in_cluster.checker.replica["web"] = Finding.ABSENT
    after = await mutated(in_cluster, make, make.pod("r.example/web:1"))
    assert after["spec"]["containers"][0]["image"] == f"r.example/web:1@{DIGEST}"
    assert gates(after) == [GATE]
    assert [image for image, _ in in_cluster.checker.asked] == [f"r.example/web:1@{DIGEST}"]
    assert (await in_cluster.judge(make.review(after))).said == (True, "hold", "absent")
    assert len(in_cluster.checker.asked) == 1


def two(open_webhook: Callable[..., Any], ring: Any) -> tuple[Any, Any]:
    """One that can ask, and one that must not."""
    knows, dark = open_webhook(ring, holds=True), open_webhook(ring, holds=True)
    dark.checker.replica = {name: RuntimeError("asked") for name in ("web", "new")}
    return knows, dark


@pytest.mark.parametrize(
    "finding, said",
    [
        ("ok", (True, "allow", "ok")), ("absent", (True, "hold", "absent")),
        ("incomplete", (True, "hold", "incomplete")),
        ("throttled", (True, "hold", "throttled")), ("mismatch", (False, "deny", "mismatch")),
        ("unsupported", (False, "deny", "unsupported")),
    ],
)  # fmt: skip
async def test_the_other_process_agrees_without_asking(
    open_webhook: Callable[..., Any], ring: Any, make: Any, finding: str, said: tuple[bool, str, str]
) -> None:
    knows, dark = two(open_webhook, ring)
    knows.checker.replica["web"] = Finding(finding)
    after = await mutated(knows, make, make.pod(WEB, NEW, f"other.example/x@{DIGEST}"))
    answer = await dark.judge(make.review(after))
    assert answer.said == said
    assert dark.checker.asked == []
    if finding == "incomplete":
        assert "Pods wait" in answer.response["warnings"][0]
    if not said[0]:
        assert "westeurope" in answer.response["status"]["message"]


async def test_a_refusal_keeps_its_evidence(open_webhook: Callable[..., Any], ring: Any, make: Any) -> None:
    knows, dark = two(open_webhook, ring)
    for one in (knows, dark):
        one.use(Policy(base=Settings(mode=Mode.ENFORCE, verdicts={Finding.INCOMPLETE: Verdict.DENY})))
    knows.checker.replica["web"] = Finding.INCOMPLETE
    answer = await dark.judge(make.review(await mutated(knows, make, make.pod(WEB))))
    assert answer.said == (False, "deny", "incomplete")
    assert f"{WEB} is not whole on westeurope: 3 of 12 blobs, 1.1 GB missing" in answer.response["status"]["message"]


async def test_what_the_text_shows_is_found_anew(open_webhook: Callable[..., Any], ring: Any, make: Any) -> None:
    knows, strict = two(open_webhook, ring)
    knows.use(Policy(base=Settings(mode=Mode.ENFORCE, tags=Tags.ALLOW)))
    after = await mutated(knows, make, make.pod("r.example/web:1"))
    assert KEY in after["metadata"]["annotations"]
    assert (await strict.judge(make.review(after))).said == (False, "deny", "not-pinned")


async def test_a_decision_to_hold_without_its_gate_refuses(
    open_webhook: Callable[..., Any], ring: Any, make: Any
) -> None:
    knows, dark = two(open_webhook, ring)
    knows.checker.replica["web"] = Finding.ABSENT
    after = await mutated(knows, make, make.pod(WEB))
    del after["spec"]["schedulingGates"]
    assert (await dark.judge(make.review(after))).said == (False, "hold", "absent")


def with_label(pod: dict[str, Any]) -> None:
    pod["metadata"]["labels"] = {"odd": "true"}


def as_it_is(pod: dict[str, Any]) -> None:
    del pod


@pytest.mark.parametrize(
    "change, others, later_s",
    [
        pytest.param(as_it_is, {"namespace": "bank"}, 0, id="copied to another namespace"),
        pytest.param(as_it_is, {"userInfo": {"username": "eve"}}, 0, id="copied by another user"),
        pytest.param(as_it_is, {}, 31, id="kept for later"),
        pytest.param(lambda pod: pod["spec"]["containers"].append({"image": NEW}), {}, 0, id="with an image more"),
        pytest.param(lambda pod: pod["metadata"].update(DAEMON_SET), {}, 0, id="to another kind of Pod"),
        pytest.param(lambda pod: pod["spec"].update(nodeName="n"), {}, 0, id="to one with a node"),
        pytest.param(lambda pod: pod["metadata"]["annotations"].update({KEY: "x.y"}), {}, 0, id="forged"),
        pytest.param(lambda pod: pod["metadata"]["annotations"].update({KEY: "A" * (1 << 20)}), {}, 0, id="a megabyte"),
        pytest.param(lambda pod: pod["metadata"]["annotations"].update({KEY: ""}), {}, 0, id="empty"),
        pytest.param(lambda pod: pod["metadata"]["annotations"].pop(KEY), {}, 0, id="taken away"),
    ],
)
async def test_no_other_decision_counts(
    open_webhook: Callable[..., Any], ring: Any, make: Any, *, change: Any, others: dict[str, Any], later_s: float
) -> None:
    knows, other = open_webhook(ring, holds=True), open_webhook(ring, holds=True)
    other.namespaces.known["bank"] = {"tidegate.dev/mode": "enforce"}
    after = await mutated(knows, make, make.pod(WEB))
    change(after)
    ring.now += later_s
    other.checker.replica = {"web": Finding.MISMATCH, "new": Finding.OK}
    answer = await other.judge(make.review(after, **others))
    assert answer.said[2] == "mismatch"
    assert WEB in [image for image, _ in other.checker.asked]


async def test_an_exemption_by_label_is_not_carried_to_a_pod_without_it(
    open_webhook: Callable[..., Any], ring: Any, make: Any
) -> None:
    one, other = open_webhook(ring, holds=True), open_webhook(ring, holds=True)
    exempt = Exemption(labels=Selector({"odd": "true"}), images=(), reason="x")
    for each in (one, other):
        each.use(Policy(base=Settings(mode=Mode.ENFORCE), exemptions=(exempt,)))
        each.checker.replica["web"] = Finding.MISMATCH
    pod = make.pod(WEB)
    with_label(pod)
    after = await mutated(one, make, pod)
    del after["metadata"]["labels"]
    assert (await other.judge(make.review(after))).said == (False, "deny", "mismatch")


async def test_keys_are_replaced_without_a_gap(open_webhook: Callable[..., Any], ring: Any, make: Any) -> None:
    knows, dark = two(open_webhook, ring)
    after = await mutated(knows, make, make.pod(WEB))
    ring.known = {"0001": b"k" * 32, "0002": b"n" * 32}
    assert (await dark.judge(make.review(after))).said == (True, "allow", "ok")
    newer = await mutated(knows, make, make.pod(WEB))
    ring.known = {"0002": b"n" * 32}
    assert (await dark.judge(make.review(newer))).said == (True, "allow", "ok")
    dark.checker.replica["web"] = Finding.ABSENT
    assert (await dark.judge(make.review(after))).said == (False, "hold", "absent")


async def test_without_keys_a_pod_is_held_and_nothing_is_signed(in_cluster: Any, ring: Any, make: Any) -> None:
    ring.known = {}
    in_cluster.checker.replica["web"] = Finding.ABSENT
    after = await mutated(in_cluster, make, make.pod(WEB))
    assert gates(after) == [GATE]
    assert "annotations" not in after["metadata"]
    assert (await in_cluster.judge(make.review(after))).said == (True, "hold", "deadline")


@pytest.mark.parametrize(
    "remembered, images, said",
    [
        pytest.param(None, [WEB], (True, "hold", "deadline"), id="nobody knows"),
        pytest.param(Finding.ABSENT, [WEB], (True, "hold", "absent"), id="absent a moment ago"),
        pytest.param(Finding.MISMATCH, [WEB], (True, "hold", "mismatch"), id="whoever opens the gate judges again"),
        pytest.param(Finding.OK, [WEB], (True, "allow", "ok"), id="complete by now"),
        pytest.param(None, [WEB, "r.example/web:1"], (False, "deny", "not-pinned"), id="but not what the text shows"),
        pytest.param(None, [WEB, "A B"], (False, "deny", "malformed"), id="nor what is no reference"),
    ],
)
async def test_a_held_pod_passes_what_would_have_to_be_asked(
    in_cluster: Any, make: Any, remembered: Finding | None, *, images: list[str], said: tuple[bool, str, str]
) -> None:
    if remembered is not None:
        in_cluster.checker.memory["web"] = remembered
    answer = await in_cluster.judge(make.review(make.pod(*images, **GATED)))
    assert answer.said == said
    assert in_cluster.checker.asked == []


async def test_being_held_excuses_no_new_image(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["new"] = Finding.ABSENT
    review = make.review(make.pod(NEW, **GATED), operation="UPDATE", old=make.pod(WEB, **GATED))
    assert (await in_cluster.judge(review)).said == (False, "deny", "absent")


async def test_nor_does_being_gated_excuse_anything_in_mutate(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.MISMATCH
    after = await mutated(in_cluster, make, make.pod(WEB, **GATED))
    assert (await in_cluster.judge(make.review(after))).said == (False, "deny", "mismatch")


@pytest.mark.parametrize(
    "group, kind, spec, said",
    [
        ("apps", "Deployment", {}, (True, "hold", "absent")),
        ("apps", "ReplicaSet", {}, (True, "hold", "absent")),
        ("apps", "StatefulSet", {}, (True, "hold", "absent")),
        ("batch", "Job", {}, (True, "hold", "absent")),
        ("argoproj.io", "Rollout", {}, (True, "hold", "absent")),
        ("apps", "DaemonSet", {}, (False, "deny", "absent")),
        ("apps", "Deployment", {"nodeName": "n"}, (False, "deny", "absent")),
    ],
)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
async def test_workloads_are_let_in_and_their_pods_wait(
    in_cluster: Any, make: Any, group: str, kind: str, *, spec: dict[str, Any], said: Any, operation: str
) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    new = {"metadata": {"name": "w"}, "spec": {"template": {"spec": make.pod_spec(WEB, **spec)}}}
    old = {"spec": {"template": {"spec": make.pod_spec(NEW)}}} if operation == "UPDATE" else None
    answer = await in_cluster.judge(make.review(new, group=group, kind=kind, operation=operation, old=old))
    assert answer.said == said
    if said[0]:
        [warning] = answer.response["warnings"]
        assert "absent" in warning
        assert "Pods wait" in warning
        assert len(warning) <= 120


@pytest.mark.parametrize("images", [["r.example/web:1"], ["r.example/web:1", WEB]])
async def test_hold_is_no_verdict_for_what_no_waiting_changes(in_cluster: Any, make: Any, images: list[str]) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, verdicts={Finding.NOT_PINNED: Verdict.HOLD})))
    in_cluster.checker.replica["web"] = Finding.ABSENT
    after = await mutated(in_cluster, make, make.pod(*images))
    assert gates(after) == []
    assert (await in_cluster.judge(make.review(after))).said[:2] == (False, "hold")
    assert (await in_cluster.judge(make.review(make.pod(*images, **GATED)))).said[:2] == (False, "hold")
    new = {"metadata": {"name": "w"}, "spec": {"template": {"spec": make.pod_spec(*images)}}}
    assert (await in_cluster.judge(make.review(new, kind="Deployment", group="apps"))).said[:2] == (False, "hold")


async def test_a_pod_that_nobody_held_is_refused(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    assert (await in_cluster.judge(make.review(make.pod(WEB)))).said == (False, "hold", "absent")


@pytest.mark.parametrize("patience_s, query, expected", [(None, "10s", 1.0), (3.0, "10s", 3.0), (None, "1s", 0.75)])
@pytest.mark.parametrize("path", ["/mutate", "/validate"])
async def test_what_can_wait_is_not_waited_for(
    in_cluster: Any, make: Any, patience_s: float | None, *, query: str, expected: float, path: str
) -> None:
    in_cluster.use(Policy(base=Settings(mode=Mode.ENFORCE, patience_s=patience_s)))
    await in_cluster.judge(make.review(make.pod(WEB)), path, query=f"timeout={query}")
    [(_, left)] = in_cluster.checker.asked
    assert left == pytest.approx(expected, abs=0.2)


async def test_what_cannot_has_the_whole_call(in_cluster: Any, make: Any) -> None:
    await in_cluster.judge(make.review(make.pod(WEB, nodeName="n")))
    [(_, left)] = in_cluster.checker.asked
    assert left == pytest.approx(9.5, abs=0.2)


async def test_there_is_always_room_for_the_authors_own_annotations(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    full = {"big": "x" * ((256 << 10) - 10)}
    after = await mutated(in_cluster, make, make.pod(WEB, metadata={"annotations": full}))
    assert after["metadata"]["annotations"] == full
    assert gates(after) == [GATE]


async def test_it_is_counted(in_cluster: Any, make: Any) -> None:
    in_cluster.checker.replica["web"] = Finding.ABSENT
    await mutated(in_cluster, make, make.pod(WEB))
    counted = {"webhook": "mutate", "mode": "enforce", "verdict": "hold"}
    registry = in_cluster.metrics.registry
    assert registry.get_sample_value("tidegate_reviews_total", counted) == 1


PODS = st.fixed_dictionaries(
    {},
    optional={
        "annotations": st.none() | st.dictionaries(st.sampled_from([KEY, "a"]), st.text(max_size=5), max_size=2),
        "gates": st.none() | st.lists(st.sampled_from([GATE, "other"]).map(lambda name: {"name": name}), max_size=2),
        "node": st.sampled_from(["", "n"]),
        "owner": st.sampled_from([{}, DAEMON_SET]),
    },
)
FOUND = st.sampled_from([Finding.OK, Finding.ABSENT, Finding.MISMATCH, Finding.THROTTLED])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=PODS, web=FOUND, new=FOUND)
async def test_asked_again_it_changes_nothing_more_and_both_agree(
    open_webhook: Callable[..., Any], ring: Any, make: Any, *, drawn: dict[str, Any], web: Finding, new: Finding
) -> None:
    one, dark = two(open_webhook, ring)
    one.checker.replica = {"web": web, "new": new}
    metadata = {**drawn.get("owner", {})}
    if "annotations" in drawn:
        metadata["annotations"] = drawn["annotations"]
    spec = {"schedulingGates": drawn["gates"]} if "gates" in drawn else {}
    pod = make.pod(WEB, NEW, metadata=metadata, nodeName=drawn.get("node", ""), **spec)
    after = await mutated(one, make, pod)
    assert await mutated(one, make, after) == after
    assert await mutated(dark, make, after) == after
    here, there = await one.judge(make.review(after)), await dark.judge(make.review(after))
    assert here.said == there.said
    assert dark.checker.asked == []
