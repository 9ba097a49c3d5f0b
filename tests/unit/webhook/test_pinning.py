"""Which tags become digests, where, and where never."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.findings import Mode
from tidegate.policy import Exemption, ImagePattern, Policy, Rule, Selector, Settings, Tags
from tidegate.registry.errors import Throttled, Unreachable

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PIN = Policy(base=Settings(mode=Mode.ENFORCE, tags=Tags.PIN))
OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "X", "name": "x", "uid": "1", "controller": True}]}
WORKLOADS = [
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
PLACES = {
    "container": ({"containers": [{"image": "r.example/web:1"}]}, "/containers/0/image"),
    "init": ({"initContainers": [{"image": "r.example/web:1"}]}, "/initContainers/0/image"),
    "volume": ({"volumes": [{"name": "v"}, {"image": {"reference": "r.example/web:1"}}]}, "/volumes/1/image/reference"),
}


def holding(where: str, spec: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    value: dict[str, Any] = spec
    for key in reversed(where.split(".")):
        value = {key: value}
    return {"metadata": {"name": "w", **(metadata or {})}, **value}


@pytest.fixture
def pinning(webhook: Any) -> Any:
    webhook.use(PIN)
    webhook.checker.tags = {"web:1": A, "web:latest": B, "side:2": B}
    return webhook


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("group, kind, where", WORKLOADS)
@pytest.mark.parametrize("owned", [False, True])
async def test_workloads_without_a_controller_are_pinned_and_others_never(
    pinning: Any, make: Any, *, group: str, kind: str, where: str, place: str, owned: bool
) -> None:
    spec, pointer = PLACES[place]
    new = holding(where, spec, OWNED if owned else None)
    operations = make.patch_of(await pinning.judge(make.review(new, kind=kind, group=group), "/mutate"))
    if owned:
        assert operations == []
        assert pinning.checker.resolved == []
        return
    path = f"/{where.replace('.', '/')}{pointer}"
    assert operations == [
        {"op": "test", "path": path, "value": "r.example/web:1"},
        {"op": "replace", "path": path, "value": f"r.example/web:1@{A}"},
    ]
    make.patched(new, operations)


@pytest.mark.parametrize(
    "image, pinned",
    [
        ("r.example/web:1", f"r.example/web:1@{A}"),
        ("r.example/web", f"r.example/web@{B}"),
        ("R.EXAMPLE:443/web:1", f"R.EXAMPLE:443/web:1@{A}"),
        (f"r.example/web:1@{B}", None),
        (f"r.example/web@{B}", None),
        ("other.example/web:1", None),
        ("web:1", None),
        ("r.example/WEB:1", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("metadata", [{}, OWNED])
async def test_a_pod_keeps_its_words_and_gets_a_digest(
    pinning: Any, make: Any, image: str, pinned: str | None, metadata: dict[str, Any]
) -> None:
    new = make.pod(image, metadata=metadata)
    operations = make.patch_of(await pinning.judge(make.review(new), "/mutate"))
    after = make.patched(new, operations)
    assert after["spec"]["containers"][0]["image"] == (pinned or image)
    assert bool(operations) is (pinned is not None)


def only(**chosen: Any) -> Policy:
    return Policy(base=Settings(mode=Mode.ENFORCE, **chosen))


EXEMPT = Exemption(images=(ImagePattern.parse("r.example/web"),), reason="x")
MIRROR = {
    "annotations": {"kubernetes.io/config.mirror": "hash"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1", "controller": True}],
}


@pytest.mark.parametrize(
    "policy, changed",
    [
        pytest.param(only(tags=Tags.ALLOW), {}, id="tags are allowed"),
        pytest.param(only(tags=Tags.REQUIRE_DIGEST), {}, id="digests are required"),
        pytest.param(Policy(base=PIN.base, exemptions=(EXEMPT,)), {}, id="exempt"),
        pytest.param(
            Policy(base=PIN.base, exemptions=(Exemption(namespaces=frozenset({"shop"}), reason="x"),)), {},
            id="exempt namespace",
        ),
        pytest.param(
            Policy(base=PIN.base, rules=(Rule(Selector({"kubernetes.io/metadata.name": "shop"}), Settings()),)), {},
            id="another rule for the namespace",
        ),
        pytest.param(PIN, {"operation": "DELETE"}, id="DELETE"),
        pytest.param(PIN, {"operation": "UPDATE", "subResource": "ephemeralcontainers"}, id="ephemeral containers"),
        pytest.param(PIN, {"operation": "UPDATE", "subResource": "status"}, id="status"),
        pytest.param(PIN, {"kind": "Secret"}, id="a kind without images"),
    ],
)  # fmt: skip
async def test_what_stays_as_it_is(webhook: Any, make: Any, policy: Policy, changed: dict[str, Any]) -> None:
    webhook.use(policy)
    webhook.checker.tags = {"web:1": A}
    answer = await webhook.judge(make.review(make.pod("r.example/web:1"), **changed), "/mutate")
    assert make.patch_of(answer) == []
    assert webhook.checker.resolved == []


@pytest.mark.parametrize(
    "new, changed",
    [
        pytest.param({"metadata": MIRROR, "nodeName": "n"}, {"userInfo": {"groups": ["system:nodes"]}}, id="mirror"),
        pytest.param(
            {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, {"operation": "UPDATE", "old": {}},
            id="being deleted",
        ),
        pytest.param({"metadata": OWNED}, {"operation": "UPDATE", "old": {}}, id="UPDATE of an owned Pod"),
    ],
)  # fmt: skip
async def test_pods_that_stay_as_they_are(
    pinning: Any, make: Any, new: dict[str, Any], changed: dict[str, Any]
) -> None:
    answer = await pinning.judge(make.review(make.pod("r.example/web:1", **new), **changed), "/mutate")
    assert make.patch_of(answer) == []
    assert pinning.checker.resolved == []


def deployment(make: Any, *images: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", **metadata}, "spec": {"template": {"spec": make.pod_spec(*images)}}}


FAILURES = [Throttled("slow down", replica="home", retry_after_s=30.0), Unreachable("no", replica="home", step="tls")]


@pytest.mark.parametrize(
    "now, old, after",
    [
        pytest.param(A, f"r.example/web:1@{A}", f"r.example/web:1@{A}", id="applied again: the same"),
        pytest.param(B, f"r.example/web:1@{A}", f"r.example/web:1@{B}", id="the tag has moved"),
        pytest.param(FAILURES[0], f"r.example/web:1@{A}", f"r.example/web:1@{A}", id="throttled: the old digest"),
        pytest.param(FAILURES[1], f"R.EXAMPLE/web:1@{A}", f"r.example/web:1@{A}", id="however its host was spelled"),
        pytest.param(FAILURES[0], f"r.example/web:2@{A}", "r.example/web:1", id="not that of another tag"),
        pytest.param(FAILURES[0], f"r.example/web@{A}", "r.example/web:1", id="nor of no tag"),
        pytest.param(FAILURES[0], f"r.example/other:1@{A}", "r.example/web:1", id="nor of another repository"),
        pytest.param(A, "r.example/web:1", "r.example/web:1", id="there unpinned before: no rollout by us"),
    ],
)
async def test_updates(pinning: Any, make: Any, now: Any, old: str, after: str) -> None:
    pinning.checker.tags["web:1"] = now
    new = deployment(make, "r.example/web:1")
    review = make.review(new, kind="Deployment", group="apps", operation="UPDATE", old=deployment(make, old))
    operations = make.patch_of(await pinning.judge(review, "/mutate"))
    assert make.patched(new, operations)["spec"]["template"]["spec"]["containers"][0]["image"] == after


@pytest.mark.parametrize(
    "old", [None, {"spec": 1}, {"spec": {"template": {"spec": {"containers": [{"image": "A B"}]}}}}]
)
async def test_an_old_object_that_says_nothing(pinning: Any, make: Any, old: object) -> None:
    pinning.checker.tags["web:1"] = FAILURES[0]
    review = make.review(
        deployment(make, "r.example/web:1"), kind="Deployment", group="apps", operation="UPDATE", old=old
    )
    assert make.patch_of(await pinning.judge(review, "/mutate")) == []


@pytest.mark.parametrize("error", FAILURES)
async def test_what_cannot_be_resolved_is_refused_with_the_cause(pinning: Any, make: Any, error: Exception) -> None:
    pinning.checker.tags["web:1"] = error
    review = make.review(make.pod("r.example/web:1"))
    answer = await pinning.judge(review, "/mutate")
    assert make.patch_of(answer) == []
    [warning] = answer.response["warnings"]
    assert str(error) in warning
    refused = await pinning.judge(review)
    assert refused.said == (False, "deny", "not-pinned")
    message = refused.response["status"]["message"]
    assert str(error) in message
    assert "home" in message


async def test_each_tag_is_asked_once_however_often_it_stands(pinning: Any, make: Any) -> None:
    new = make.pod(
        "r.example/web:1", "r.example/web:1", "r.example/side:2", initContainers=[{"image": "r.example/web:1"}]
    )
    operations = make.patch_of(await pinning.judge(make.review(new), "/mutate"))
    assert sorted(name for name, _ in pinning.checker.resolved) == ["side:2", "web:1"]
    assert len(operations) == 8
    assert {c["image"] for c in make.patched(new, operations)["spec"]["containers"]} == {
        f"r.example/web:1@{A}", f"r.example/side:2@{B}",
    }  # fmt: skip


async def test_one_that_fails_does_not_keep_others_from_their_digest(pinning: Any, make: Any) -> None:
    new = make.pod("r.example/web:1", "r.example/gone:1")
    after = make.patched(new, make.patch_of(await pinning.judge(make.review(new), "/mutate")))
    assert [c["image"] for c in after["spec"]["containers"]] == [f"r.example/web:1@{A}", "r.example/gone:1"]


@pytest.mark.parametrize(
    "query, patience_s, expected", [("timeout=10s", None, 9.5), ("timeout=2s", None, 1.5), ("timeout=10s", 0.5, 0.5)]
)
async def test_it_takes_no_longer_than_the_call(
    webhook: Any, make: Any, query: str, patience_s: float | None, expected: float
) -> None:
    webhook.use(only(tags=Tags.PIN, patience_s=patience_s))
    await webhook.judge(make.review(make.pod("r.example/web:1")), "/mutate", query=query)
    [(_, left)] = webhook.checker.resolved
    assert left == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(
    "kind, group, metadata, finding",
    [
        pytest.param("ReplicaSet", "apps", OWNED, "ok", id="a Deployment's ReplicaSet keeps its tag"),
        pytest.param("Job", "batch", OWNED, "ok", id="a CronJob's Job does"),
        pytest.param("ReplicaSet", "apps", {}, "not-pinned", id="one of nobody does not"),
        pytest.param("Deployment", "apps", {}, "not-pinned", id="nor a Deployment"),
    ],
)
async def test_what_could_not_be_pinned_is_judged_by_its_tag(
    pinning: Any, make: Any, kind: str, *, group: str, metadata: dict[str, Any], finding: str
) -> None:
    review = make.review(deployment(make, "r.example/web:1", **metadata), kind=kind, group=group)
    assert (await pinning.judge(review)).said[2] == finding


async def test_but_their_pods_could(pinning: Any, make: Any) -> None:
    review = make.review(make.pod("r.example/web:1", metadata=OWNED))
    assert (await pinning.judge(review)).said == (False, "deny", "not-pinned")


@pytest.mark.parametrize("mode", ["enforce", "warn", "audit"])
async def test_pinning_is_asked_for_whatever_the_mode(pinning: Any, make: Any, mode: str) -> None:
    pinning.namespaces.known["shop"] = {"tidegate.dev/mode": mode}
    assert make.patch_of(await pinning.judge(make.review(make.pod("r.example/web:1")), "/mutate"))


async def test_a_fault_of_ours_changes_nothing(pinning: Any, make: Any, capfd: pytest.CaptureFixture[str]) -> None:
    pinning.checker.tags["web:1"] = RuntimeError("a bug")
    answer = await pinning.judge(make.review(make.pod("r.example/web:1")), "/mutate")
    assert answer.said == (True, "allow", "exempt")
    assert make.patch_of(answer) == []
    capfd.readouterr()


IMAGES = st.lists(
    st.sampled_from(
        ["r.example/web:1", "r.example/web", "r.example/side:2", f"r.example/web:1@{A}", "x/y:1", "", "A B"]
    ),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=IMAGES, init=IMAGES, kind=st.sampled_from(["Pod", "Deployment"]))
async def test_asked_again_it_changes_nothing_more(
    pinning: Any, make: Any, images: list[str], init: list[str], kind: str
) -> None:
    spec = {"initContainers": [{"image": image} for image in init]}
    new = make.pod(*images, **spec) if kind == "Pod" else deployment(make, *images)
    group = "" if kind == "Pod" else "apps"
    operations = make.patch_of(await pinning.judge(make.review(new, kind=kind, group=group), "/mutate"))
    after = make.patched(new, operations)
    assert make.patch_of(await pinning.judge(make.review(after, kind=kind, group=group), "/mutate")) == []
