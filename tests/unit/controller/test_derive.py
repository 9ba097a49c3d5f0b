"""The PrePull of an annotated workload."""

from typing import Any

import msgspec
import pytest

from controller.derive import KINDS, MOST_IMAGES, NAME_LIMIT, derive, is_derived, name_for
from tidegate.kube.own import PrePull
from tidegate.kube.resources import CRONJOBS, DEPLOYMENTS, JOBS, Resource
from tidegate.kube.shapes import Metadata, OwnerReference, Toleration, Workload
from tidegate.reference import ImageReference

HOST = "registry.test"
A, B = f"{HOST}/a@sha256:{'a' * 64}", f"{HOST}/b:1"
ASKS = {"tidegate.dev/pre-pull": "true"}
HOLDS = {"tidegate.dev/pre-pull": "hold"}
REFUSES = {"tidegate.dev/pre-pull": "false"}
DONE = {"conditions": [{"type": "Complete", "status": "True"}]}
POD = {"containers": [{"name": "c", "image": A}]}


def workload(
    pod: dict[str, Any] | None = None, *, own: Any = None, template: Any = None, cron: bool = False, **metadata: Any
) -> Workload:
    spec: dict[str, Any] = {"template": {"metadata": {"annotations": template or {}}, "spec": pod or POD}}
    if cron:
        spec = {"schedule": "@daily", "jobTemplate": {"spec": spec}}
    told = {"name": "web", "namespace": "shop", "uid": "u1", "annotations": own or {}} | metadata
    return msgspec.convert({"metadata": told, "spec": spec}, Workload)


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_every_kind_asks_by_its_own_or_its_templates_annotation(resource: Resource[Workload]) -> None:
    cron = resource is CRONJOBS
    for asking in (workload(own=ASKS, cron=cron), workload(template=ASKS, cron=cron)):
        derived = derive(resource, asking, listed={HOST})
        assert derived is not None
        assert (derived.key, derived.spec.images) == (f"shop/{resource.kind.lower()}-web", [A])
        assert (derived.owner.api_version, derived.owner.kind) == (resource.api_version, resource.kind)
        assert (derived.owner.name, derived.owner.uid, derived.owner.controller) == ("web", "u1", True)


@pytest.mark.parametrize("asking", [{"own": HOLDS}, {"template": HOLDS}, {"own": ASKS, "template": HOLDS}])
def test_who_wants_its_pods_held_wants_the_images_too(asking: dict[str, Any]) -> None:
    assert derive(DEPLOYMENTS, workload(**asking), listed={HOST}) == derive(
        DEPLOYMENTS, workload(own=ASKS), listed={HOST}
    )


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(workload(own=REFUSES, template=ASKS), id="its-own-word-goes-first"),
        pytest.param(workload(template=REFUSES), id="false-on-the-template"),
        pytest.param(workload(own={"tidegate.dev/pre-pull": "yes"}), id="another-word"),
        pytest.param(workload(own=ASKS, deletionTimestamp="2026-01-01T00:00:00Z"), id="on-its-way-out"),
        pytest.param(workload(own=ASKS, ownerReferences=[{"name": "o", "controller": True}]), id="has-a-controller"),
        pytest.param(
            workload({"containers": [{"image": "elsewhere.test/a:1"}]}, own=ASKS), id="no-image-of-a-listed-registry"
        ),
        pytest.param(workload({"containers": []}, own=ASKS), id="no-images"),
        pytest.param(msgspec.convert({"metadata": {"annotations": ASKS}}, Workload), id="no-template"),
    ],
)
def test_others_ask_for_nothing(silent: Workload) -> None:
    assert derive(DEPLOYMENTS, silent, listed={HOST}) is None


@pytest.mark.parametrize("resource", [DEPLOYMENTS, CRONJOBS], ids=lambda resource: resource.kind)
@pytest.mark.parametrize("own", [{}, {"tidegate.dev/pre-pull": "auto"}], ids=["no-annotation", "auto"])
def test_who_says_nothing_may_ask_for_what_is_heavy(resource: Resource[Workload], own: dict[str, str]) -> None:
    derived = derive(resource, workload(own=own, cron=resource is CRONJOBS), listed={HOST})
    assert derived is not None
    assert (derived.silent, derived.spec.images) == (True, [A])


@pytest.mark.parametrize(
    "job, asks",
    [
        pytest.param(workload(), False, id="silent"),
        pytest.param(workload(own={"tidegate.dev/pre-pull": "auto"}), False, id="auto"),
        pytest.param(workload(own=ASKS), True, id="asks"),
        pytest.param(msgspec.structs.replace(workload(own=ASKS), status=DONE), False, id="has-ended"),
    ],
)
def test_a_job_asks_only_in_words_and_until_it_ends(job: Workload, *, asks: bool) -> None:
    derived = derive(JOBS, job, listed={HOST})
    assert (derived is not None) is asks
    assert derived is None or not derived.silent


def test_init_containers_and_volumes_count_and_each_string_once_as_it_is() -> None:
    pod = {
        "containers": [{"image": A}, {"image": A}, {"image": "elsewhere.test/a:1"}],
        "initContainers": [{"image": B}],
        "volumes": [{"name": "v", "image": {"reference": f"{HOST}/model:2"}}],
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "n", "operator": "Gt", "value": "1"}],
    }
    derived = derive(DEPLOYMENTS, workload(pod, own=ASKS), listed={HOST})
    assert derived is not None
    assert derived.spec.images == [A, B, f"{HOST}/model:2"]
    assert derived.spec.node_selector == {"gpu": "yes"}
    assert derived.spec.tolerations == [Toleration(key="gpu", operator="Exists")], "what the CRD takes"
    assert len(derived.demands.tolerations) == 2, "but all of them count"


def test_a_prepull_is_bounded_as_its_crd_is() -> None:
    pod = {"containers": [{"image": f"{HOST}/a:{number}"} for number in range(200)]}
    derived = derive(DEPLOYMENTS, workload(pod, own=ASKS), listed={HOST})
    assert derived is not None
    assert len(derived.spec.images) == MOST_IMAGES


@pytest.mark.parametrize("pod", [{"containers": 5}, {"containers": [{"image": A}], "tolerations": [{"key": []}]}])
def test_what_no_api_server_would_take_is_an_error_not_a_crash(pod: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        derive(DEPLOYMENTS, workload(pod, own=ASKS), listed={HOST})


def test_names_are_bounded_and_distinct() -> None:
    long = "x" * 250
    names = {name_for("Deployment", long), name_for("Deployment", long[:-1] + "y"), name_for("StatefulSet", long)}
    assert len(names) == 3
    assert all(len(name) <= NAME_LIMIT for name in names)
    assert name_for("CronJob", "web") == "cronjob-web"
    dotted = name_for("Deployment", "x" * 228 + "." * 10)
    assert ".-" not in dotted


@pytest.mark.parametrize(
    "owner, name, ours",
    [
        (OwnerReference(kind="Deployment", name="web", controller=True), "deployment-web", True),
        (OwnerReference(kind="Deployment", name="web"), "deployment-web", False),
        (OwnerReference(kind="Deployment", name="web", controller=True), "mine", False),
        (OwnerReference(kind="Rollout", name="web", controller=True), "rollout-web", False),
        (None, "deployment-web", False),
    ],
)
def test_only_what_we_made_is_ours(owner: OwnerReference | None, name: str, *, ours: bool) -> None:
    metadata = Metadata(name=name, owner_references=[owner] if owner else [])
    assert is_derived(PrePull(metadata=metadata)) is ours


def test_the_images_here_are_references() -> None:
    assert ImageReference.parse(A).domain == HOST
