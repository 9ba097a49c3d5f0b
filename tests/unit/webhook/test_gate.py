"""What is judged, who is asked, and how the mode takes it: from a review's bytes to the answer's."""

import asyncio
from typing import Any

import pytest

from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import Exemption, ImagePattern, Policy, Settings, Tags, Unlisted
from tidegate.reference import ImageReference
from webhook.app import MOST_WAITING

DIGEST = "sha256:" + "a" * 64
WEB = f"r.example/web@{DIGEST}"
NEW = f"r.example/new@{DIGEST}"
ENFORCE = Policy(base=Settings(mode=Mode.ENFORCE))


def nested(keys: str, value: object) -> dict[str, Any]:
    for key in reversed(keys.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


KINDS = [
    ("", "Pod", "spec"),
    ("", "PodTemplate", "template.spec"),
    ("", "ReplicationController", "spec.template.spec"),
    ("apps", "Deployment", "spec.template.spec"),
    ("apps", "ReplicaSet", "spec.template.spec"),
    ("apps", "StatefulSet", "spec.template.spec"),
    ("apps", "DaemonSet", "spec.template.spec"),
    ("batch", "Job", "spec.template.spec"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ("argoproj.io", "Rollout", "spec.template.spec"),
]
PLACES = [
    pytest.param({"containers": [{"image": WEB}]}, id="container"),
    pytest.param({"initContainers": [{"image": WEB, "restartPolicy": "Always"}]}, id="init container"),
    pytest.param({"ephemeralContainers": [{"image": WEB}]}, id="ephemeral container"),
    pytest.param({"volumes": [{"name": "v"}, {"image": {"reference": WEB}}]}, id="image volume"),
]


@pytest.mark.parametrize("spec", PLACES)
@pytest.mark.parametrize("group, kind, where", KINDS)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
async def test_every_kind_and_every_place_is_judged(
    webhook: Any, make: Any, spec: dict[str, Any], *, group: str, kind: str, where: str, operation: str
) -> None:
    webhook.checker.replica["web"] = Finding.INCOMPLETE
    old = nested(where, {"containers": [{"image": NEW}]}) if operation == "UPDATE" else None
    review = make.review(nested(where, spec), kind=kind, group=group, operation=operation, old=old)
    allowed, verdict, finding = (await webhook.judge(review)).said
    assert (allowed, finding) == (False, "incomplete")
    assert verdict in {"hold", "deny"}
    assert [image for image, _ in webhook.checker.asked] == [WEB]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"kind": "ConfigMap"}, id="a kind without images"),
        pytest.param({"kind": "Deployment", "group": "evil.example"}, id="the kind of another group"),
        pytest.param({"operation": "DELETE", "new": None}, id="DELETE"),
        pytest.param({"operation": "DELETE"}, id="DELETE with an object"),
        pytest.param({"operation": "CONNECT"}, id="CONNECT"),
        pytest.param({"operation": "UPDATE", "subResource": "status"}, id="status"),
        pytest.param(
            {"operation": "UPDATE", "subResource": "scale", "kind": "Scale", "group": "autoscaling"}, id="scale"
        ),
        pytest.param({"operation": "UPDATE", "subResource": "resize"}, id="resize"),
        pytest.param({"operation": "CREATE", "subResource": "eviction", "kind": "Eviction"}, id="eviction"),
        pytest.param({"operation": "CREATE", "subResource": "binding", "kind": "Binding"}, id="binding"),
    ],
)
async def test_what_needs_no_judging(webhook: Any, make: Any, changed: dict[str, Any]) -> None:
    webhook.checker.replica["web"] = Finding.MISMATCH
    new = changed.pop("new", make.pod(WEB))
    answer = await webhook.judge(make.review(new, **changed))
    assert answer.said == (True, "allow", "exempt")
    assert "warnings" not in answer.response
    assert webhook.checker.asked == webhook.checker.recalled == []


async def test_an_empty_image_string_is_skipped(webhook: Any, make: Any) -> None:
    assert (await webhook.judge(make.review(make.pod("")))).said == (True, "allow", "exempt")


MIRROR = {
    "annotations": {"kubernetes.io/config.mirror": "hash"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1", "controller": True}],
}
NODE = {"username": "system:node:n", "groups": ["system:nodes", "system:authenticated"]}


@pytest.mark.parametrize(
    "metadata, spec, user, finding",
    [
        pytest.param(MIRROR, {"nodeName": "n"}, NODE, "exempt", id="all four signs"),
        pytest.param({**MIRROR, "annotations": {}}, {"nodeName": "n"}, NODE, "not-pinned", id="no annotation"),
        pytest.param({**MIRROR, "ownerReferences": []}, {"nodeName": "n"}, NODE, "not-pinned", id="no owner"),
        pytest.param(
            {**MIRROR, "ownerReferences": [{"kind": "Node", "name": "n"}]}, {"nodeName": "n"}, NODE, "not-pinned",
            id="an owner that is no controller",
        ),
        pytest.param(
            {**MIRROR, "ownerReferences": [{"kind": "ReplicaSet", "name": "n", "controller": True}]}, {"nodeName": "n"},
            NODE, "not-pinned", id="an owner of another kind",
        ),
        pytest.param(MIRROR, {}, NODE, "not-pinned", id="no node name"),
        pytest.param(MIRROR, {"nodeName": "n"}, {"username": "dev", "groups": ["dev"]}, "not-pinned", id="a user"),
        pytest.param(MIRROR, {"nodeName": "n"}, {"username": "system:node:n"}, "not-pinned", id="no groups"),
    ],
)  # fmt: skip
async def test_mirror_pods(
    webhook: Any, make: Any, metadata: dict[str, Any], *, spec: dict[str, Any], user: dict[str, Any], finding: str
) -> None:
    review = make.review(make.pod("r.example/web:1", metadata=metadata, **spec), userInfo=user)
    assert (await webhook.judge(review)).said[2] == finding


@pytest.mark.parametrize(
    "operation, metadata, finding",
    [
        pytest.param("UPDATE", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "exempt", id="an object being deleted"),
        pytest.param("CREATE", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "not-pinned", id="forged on creation"),
        pytest.param("UPDATE", {}, "not-pinned", id="not being deleted"),
    ],
)
async def test_deletion(webhook: Any, make: Any, operation: str, metadata: dict[str, Any], finding: str) -> None:
    review = make.review(make.pod("r.example/web:1", metadata=metadata), operation=operation, old=make.pod(WEB))
    assert (await webhook.judge(review)).said[2] == finding


@pytest.mark.parametrize(
    "old, new",
    [
        pytest.param(["r.example/a:1"], ["r.example/a:1"], id="the same"),
        pytest.param(["UPPER", "r.example/a:1"], ["UPPER", "r.example/a:1"], id="even what is malformed"),
        pytest.param(["r.example/a:1", "r.example/b:1"], ["r.example/b:1", "r.example/a:1"], id="in another order"),
        pytest.param(["r.example/a:1", "r.example/b:1"], ["r.example/b:1"], id="fewer"),
        pytest.param(["r.example/a:1"], ["r.example/a:1", "r.example/a:1"], id="once more"),
    ],
)
async def test_an_update_with_the_same_images_asks_nobody(
    webhook: Any, make: Any, old: list[str], new: list[str]
) -> None:
    answer = await webhook.judge(make.review(make.pod(*new), operation="UPDATE", old=make.pod(*old)))
    assert answer.said == (True, "allow", "unchanged")
    assert webhook.checker.asked == webhook.checker.recalled == []


async def test_of_an_update_only_the_new_image_is_judged(webhook: Any, make: Any) -> None:
    webhook.checker.replica["new"] = Finding.ABSENT
    answer = await webhook.judge(make.review(make.pod(WEB, NEW), operation="UPDATE", old=make.pod(WEB)))
    assert answer.said == (False, "deny", "absent")
    assert [image for image, _ in webhook.checker.asked] == [NEW]
    notes = answer.response["auditAnnotations"]["images"]
    assert "r.example/web@sha256:aaaaaaaaaaaa=unchanged" in notes
    assert "r.example/new@sha256:aaaaaaaaaaaa=absent" in notes


async def test_fewer_replicas_do_not_excuse_a_new_image(webhook: Any, make: Any) -> None:
    webhook.checker.replica["new"] = Finding.ABSENT

    def deployment(image: str, replicas: int) -> dict[str, Any]:
        return {"spec": {"replicas": replicas, "template": {"spec": make.pod_spec(image)}}}

    review = make.review(
        deployment(NEW, 1), kind="Deployment", group="apps", operation="UPDATE", old=deployment(WEB, 5)
    )
    assert (await webhook.judge(review)).said == (False, "hold", "absent")


@pytest.mark.parametrize("finding", [Finding.ABSENT, Finding.MISMATCH, Finding.UNREACHABLE, Finding.DEADLINE])
async def test_ephemeral_containers_are_let_in_with_a_warning(webhook: Any, make: Any, finding: Finding) -> None:
    webhook.checker.replica["new"] = finding
    new = make.pod(WEB, ephemeralContainers=[{"image": NEW}])
    review = make.review(new, operation="UPDATE", old=make.pod(WEB), subResource="ephemeralcontainers")
    answer = await webhook.judge(review)
    assert answer.said == (True, "warn", finding.value)
    assert len(answer.response["warnings"]) == 1


async def test_but_not_unpinned(webhook: Any, make: Any) -> None:
    new = make.pod(WEB, ephemeralContainers=[{"image": "r.example/debug:1"}])
    review = make.review(new, operation="UPDATE", old=make.pod(WEB), subResource="ephemeralcontainers")
    assert (await webhook.judge(review)).said == (False, "deny", "not-pinned")


@pytest.mark.parametrize(
    "metadata, spec, finding, said",
    [
        pytest.param({}, {}, "absent", (False, "hold", "absent"), id="a Pod that can wait"),
        pytest.param({}, {"nodeName": "n"}, "absent", (False, "deny", "absent"), id="on a node already"),
        pytest.param({}, {"nodeName": "n"}, "throttled", (True, "warn", "throttled"), id="nothing learned, on a node"),
        pytest.param({}, {}, "throttled", (False, "hold", "throttled"), id="nothing learned, can wait"),
    ],
)
async def test_holding(
    webhook: Any,
    make: Any,
    metadata: dict[str, Any],
    *,
    spec: dict[str, Any],
    finding: str,
    said: tuple[bool, str, str],
) -> None:
    webhook.checker.replica["web"] = Finding(finding)
    assert (await webhook.judge(make.review(make.pod(WEB, metadata=metadata, **spec)))).said == said


@pytest.mark.parametrize(
    "path, labels, allowed, warns, mode",
    [
        pytest.param("/validate", {"tidegate.dev/mode": "enforce"}, False, False, "enforce", id="enforce"),
        pytest.param("/validate", {"tidegate.dev/mode": "warn"}, True, True, "warn", id="warn"),
        pytest.param("/validate", {"tidegate.dev/mode": "audit"}, True, False, "audit", id="audit"),
        pytest.param("/validate", {}, True, False, "audit", id="the policy's own"),
        pytest.param("/validate/enforce", {}, False, False, "enforce", id="the path says enforce"),
        pytest.param("/validate/enforce", {"tidegate.dev/mode": "warn"}, False, False, "enforce", id="not the label"),
        pytest.param("/validate/enforce", {"tidegate.dev/break-glass": "true"}, True, False, "audit", id="break-glass"),
        pytest.param(
            "/validate", {"tidegate.dev/break-glass": "1", "tidegate.dev/mode": "enforce"}, True, False, "audit",
            id="break-glass before the own label",
        ),
        pytest.param("/validate/other", {"tidegate.dev/mode": "warn"}, True, True, "warn", id="other, warn"),
        pytest.param("/validate/other", {}, True, False, "audit", id="other, audit"),
        pytest.param("/mutate", {"tidegate.dev/mode": "enforce"}, True, False, None, id="mutate refuses nothing"),
    ],
)  # fmt: skip
async def test_modes(
    webhook: Any, make: Any, path: str, labels: dict[str, str], *, allowed: bool, warns: bool, mode: str | None
) -> None:
    webhook.namespaces.known["shop"] = labels
    answer = await webhook.judge(make.review(make.pod("r.example/web:1")), path)
    response = answer.response
    assert response["allowed"] is allowed
    assert ("warnings" in response) is warns
    assert ("status" in response) is not allowed
    assert "patch" not in response
    assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    if mode is not None:
        assert answer.said[1:] == ("deny", "not-pinned")
        name = path.rpartition("/")[2]
        counted = {"webhook": name, "mode": mode, "verdict": "deny"}
        assert webhook.metrics.registry.get_sample_value("tidegate_reviews_total", counted) == 1


async def test_a_refusal_is_a_clear_403(webhook: Any, make: Any) -> None:
    webhook.checker.replica["web"] = Finding.INCOMPLETE
    status = (await webhook.judge(make.review(make.pod(WEB)))).response["status"]
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    for words in ("incomplete", WEB, "westeurope", "3 of 12 blobs, 1.1 GB", "apply again"):
        assert words in status["message"]


async def test_dry_runs_are_answered_alike(webhook: Any, make: Any) -> None:
    one = await webhook.judge(make.review(make.pod("r.example/a:1")))
    dry = await webhook.judge(make.review(make.pod("r.example/a:1"), dryRun=True))
    assert one.response == dry.response


async def test_what_is_remembered_is_not_asked(webhook: Any, make: Any) -> None:
    webhook.checker.memory["web"] = Finding.OK
    assert (await webhook.judge(make.review(make.pod(WEB)))).said == (True, "allow", "ok")
    assert webhook.checker.asked == []


async def test_an_image_is_asked_about_once_however_often_it_stands(webhook: Any, make: Any) -> None:
    await webhook.judge(make.review(make.pod(WEB, WEB, NEW, initContainers=[{"image": WEB}])))
    assert sorted(image for image, _ in webhook.checker.asked) == sorted([WEB, NEW])


@pytest.mark.parametrize(
    "query, patience_s, expected",
    [
        ("timeout=10s", None, 9.5), ("timeout=30s", None, 29.5), ("timeout=2s", None, 1.5), ("timeout=1s", None, 0.75),
        ("", None, 9.5), ("timeout=x", None, 9.5), ("timeout=10s", 1.0, 1.0), ("timeout=1s", 8.0, 0.75),
        ("timeout=10s", 0.0, 0.0),
    ],
)  # fmt: skip
async def test_nothing_runs_past_the_call(
    webhook: Any, make: Any, query: str, patience_s: float | None, expected: float
) -> None:
    webhook.use(Policy(base=Settings(patience_s=patience_s)))
    await webhook.judge(make.review(make.pod(WEB)), query=query)
    [(_, left)] = webhook.checker.asked
    assert left == pytest.approx(expected, abs=0.2)


async def test_a_fault_of_ours_is_a_verdict(webhook: Any, make: Any, capfd: pytest.CaptureFixture[str]) -> None:
    webhook.checker.replica["web"] = RuntimeError("a bug")
    answer = await webhook.judge(make.review(make.pod(WEB)))
    assert answer.said == (False, "hold", "unreachable")
    assert "a fault in tidegate" in answer.response["status"]["message"]
    assert "a bug" not in answer.response["status"]["message"]
    capfd.readouterr()


@pytest.mark.parametrize(
    "policy, image, said",
    [
        pytest.param(
            Policy(
                base=Settings(mode=Mode.ENFORCE),
                exemptions=(Exemption(images=(ImagePattern.parse("r.example/web"),), reason="x"),),
            ),
            "r.example/web:1", (True, "allow", "exempt"), id="exempt",
        ),
        pytest.param(
            Policy(base=Settings(unlisted=Unlisted.DENY)), "other.example/a:1", (False, "deny", "unlisted"), id="else"
        ),
        pytest.param(ENFORCE, f"other.example/a@{DIGEST}", (True, "allow", "ok"), id="unlisted by digest"),
        pytest.param(Policy(base=Settings(tags=Tags.PIN)), "r.example/web:1", (False, "deny", "not-pinned"), id="pin"),
    ],
)  # fmt: skip
async def test_static_findings_ask_nobody(
    webhook: Any, make: Any, policy: Policy, image: str, said: tuple[bool, str, str]
) -> None:
    webhook.use(policy)
    assert (await webhook.judge(make.review(make.pod(image)))).said == said
    assert webhook.checker.asked == webhook.checker.recalled == []


async def test_letting_through_what_could_not_be_asked_is_counted(webhook: Any, make: Any) -> None:
    webhook.use(Policy(base=Settings(verdicts={Finding.UNREACHABLE: Verdict.WARN})))
    webhook.checker.replica["web"] = Finding.UNREACHABLE
    assert (await webhook.judge(make.review(make.pod(WEB)))).said == (True, "warn", "unreachable")
    registry = webhook.metrics.registry
    assert registry.get_sample_value("tidegate_fail_open_total", {"finding": "unreachable"}) == 1
    counted = {"registry": "r.example", "finding": "unreachable"}
    assert registry.get_sample_value("tidegate_findings_total", counted) == 1


async def test_labels_of_metrics_never_come_from_authors(webhook: Any, make: Any) -> None:
    for number in range(5):
        await webhook.judge(make.review(make.pod(f"evil{number}.example/a:1"), kind="Pod", namespace=f"n{number}"))
    families = {family.name: family for family in webhook.metrics.registry.collect()}
    hosts = {sample.labels["registry"] for sample in families["tidegate_findings"].samples}
    assert hosts == {"other"}


async def test_a_crowd_is_answered_from_memory_alone(webhook: Any, make: Any) -> None:
    webhook.checker.hold = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(MOST_WAITING):
            tasks.create_task(webhook.judge(make.review(make.pod(WEB))))
        await webhook.checker.until(MOST_WAITING)
        webhook.checker.memory["known"] = Finding.OK
        known = await webhook.judge(make.review(make.pod(f"r.example/known@{DIGEST}")))
        assert known.said == (True, "allow", "ok")
        beyond = tasks.create_task(webhook.judge(make.review(make.pod(NEW))))
        await webhook.checker.until(MOST_WAITING + 1)
        webhook.checker.hold.set()
        await beyond
    assert webhook.checker.asked[-1][1] <= 0


async def test_while_draining_connections_are_closed(webhook: Any, make: Any) -> None:
    webhook.health.draining = True
    assert (await webhook.judge(make.review(make.pod(WEB)))).headers["connection"] == "close"


@pytest.mark.parametrize("spelling", ["R.example", "r.example:443", "R.EXAMPLE:443"])
async def test_another_spelling_of_a_listed_host_is_no_way_past_the_check(
    webhook: Any, make: Any, spelling: str
) -> None:
    webhook.checker.replica["web"] = Finding.INCOMPLETE
    image = f"{spelling}/web@{DIGEST}"
    answer = await webhook.judge(make.review(nested("spec", {"containers": [{"image": image}]})))
    assert answer.said[2] == "incomplete"
    assert [asked for asked, _ in webhook.checker.asked] == [image]
    assert webhook.gate.rules.listed_as(ImageReference.parse(image)).domain == "r.example"
