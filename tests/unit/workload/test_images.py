"""Where images are found: every kind, every place of a pod spec, and nowhere else."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.workload import (
    BUILT_IN,
    PRESETS,
    GroupKind,
    ImageUse,
    MalformedObject,
    Places,
    holds_images,
    new_images,
    same_images,
    view,
)

TEMPLATES: Mapping[GroupKind, tuple[str, ...]] = {
    ("", "Pod"): ("/spec",),
    ("", "PodTemplate"): ("/template/spec",),
    ("", "ReplicationController"): ("/spec/template/spec",),
    ("apps", "Deployment"): ("/spec/template/spec",),
    ("apps", "ReplicaSet"): ("/spec/template/spec",),
    ("apps", "StatefulSet"): ("/spec/template/spec",),
    ("apps", "DaemonSet"): ("/spec/template/spec",),
    ("batch", "Job"): ("/spec/template/spec",),
    ("batch", "CronJob"): ("/spec/jobTemplate/spec/template/spec",),
    ("argoproj.io", "Rollout"): ("/spec/template/spec",),
    ("serving.knative.dev", "Service"): ("/spec/template/spec",),
    ("jobset.x-k8s.io", "JobSet"): ("/spec/replicatedJobs/0/template/spec/template/spec",),
    ("sparkoperator.k8s.io", "SparkApplication"): ("/spec/driver/template/spec", "/spec/executor/template/spec"),
    ("sparkoperator.k8s.io", "ScheduledSparkApplication"): (
        "/spec/template/driver/template/spec",
        "/spec/template/executor/template/spec",
    ),
    ("apps.kruise.io", "CloneSet"): ("/spec/template/spec",),
    ("apps.kruise.io", "StatefulSet"): ("/spec/template/spec",),
    ("apps.kruise.io", "DaemonSet"): ("/spec/template/spec",),
    ("apps.kruise.io", "BroadcastJob"): ("/spec/template/spec",),
    ("apps.kruise.io", "SidecarSet"): ("/spec",),
    ("apps.kruise.io", "EphemeralJob"): ("/spec/template",),
    ("apps.kruise.io", "AdvancedCronJob"): (
        "/spec/template/jobTemplate/spec/template/spec",
        "/spec/template/broadcastJobTemplate/spec/template/spec",
    ),
    ("apps.kruise.io", "UnitedDeployment"): (
        "/spec/template/statefulSetTemplate/spec/template/spec",
        "/spec/template/advancedStatefulSetTemplate/spec/template/spec",
        "/spec/template/cloneSetTemplate/spec/template/spec",
        "/spec/template/deploymentTemplate/spec/template/spec",
    ),
}
"""Pointers of the pod specs of each kind, spelled out here once more on purpose."""

IN_A_TASK = ("steps/0/image", "sidecars/0/image", "stepTemplate/image", "volumes/0/image/reference")
IN_AN_APPLICATION = (
    "image", "driver/image", "executor/image", "driver/initContainers/0/image", "driver/sidecars/0/image",
    "executor/initContainers/0/image", "executor/sidecars/0/image", "volumes/0/image/reference",
)  # fmt: skip

STRINGS: Mapping[GroupKind, tuple[str, ...]] = {
    ("sparkoperator.k8s.io", "SparkApplication"): tuple(f"/spec/{at}" for at in IN_AN_APPLICATION),
    ("sparkoperator.k8s.io", "ScheduledSparkApplication"): tuple(f"/spec/template/{at}" for at in IN_AN_APPLICATION),
    ("tekton.dev", "Task"): tuple(f"/spec/{at}" for at in IN_A_TASK),
    ("tekton.dev", "TaskRun"): tuple(f"/spec/taskSpec/{at}" for at in IN_A_TASK),
    ("tekton.dev", "Pipeline"): tuple(
        f"/spec/{tasks}/0/taskSpec/{at}" for tasks in ("tasks", "finally") for at in IN_A_TASK
    ),
    ("tekton.dev", "PipelineRun"): tuple(
        f"/spec/pipelineSpec/{tasks}/0/taskSpec/{at}" for tasks in ("tasks", "finally") for at in IN_A_TASK
    ),
    ("apps.kruise.io", "ImagePullJob"): ("/spec/image",),
    ("apps.kruise.io", "ImageListPullJob"): ("/spec/images/0",),
    ("apps.kruise.io", "SidecarSet"): ("/spec/containers/0/upgradeStrategy/hotUpgradeEmptyImage",),
}

IN_A_POD_SPEC = (
    "containers/0/image",
    "initContainers/0/image",
    "ephemeralContainers/0/image",
    "volumes/0/image/reference",
)


def put(pointer: str, value: Any) -> dict[str, Any]:
    """The smallest object that has the value at the pointer."""
    for step in reversed(pointer.removeprefix("/").split("/")):
        value = [value] if step == "0" else {step: value}
    return dict(value)


def resolve(document: Any, pointer: str) -> Any:
    """As RFC 6901 has it."""
    for step in pointer.removeprefix("/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def images(key: GroupKind, document: Any, configured: Mapping[GroupKind, Places] | None = None) -> list[ImageUse]:
    found = view(*key, json.dumps(document).encode(), configured or {})
    assert found is not None
    return list(found.images)


def every_place() -> Iterator[Any]:
    for key, pointers in TEMPLATES.items():
        for pod_spec in pointers:
            for place in IN_A_POD_SPEC:
                yield pytest.param(key, f"{pod_spec}/{place}", id=f"{key[1]}.{key[0]} {pod_spec}/{place}")
    for key, pointers in STRINGS.items():
        for pointer in pointers:
            yield pytest.param(key, pointer, id=f"{key[1]}.{key[0]} {pointer}")


@pytest.mark.parametrize("key, pointer", list(every_place()))
def test_every_place_of_every_kind(key: GroupKind, pointer: str) -> None:
    document = put(pointer, "registry.example.com/app:1")
    found = images(key, document)
    assert found == [ImageUse("registry.example.com/app:1", pointer, ephemeral="ephemeralContainers" in pointer)]
    assert resolve(document, pointer) == found[0].image


def test_a_star_goes_through_lists_and_maps_alike() -> None:
    places = {("example.com", "Train"): Places(pod_specs=("/spec/*/pods/*",), images=("/spec/*/images/*",))}
    document = {
        "spec": {
            "a/b": {"pods": {"x": {"containers": [{"image": "1"}]}, "y~": {"initContainers": [{"image": "2"}]}}},
            "c": {"pods": [{"containers": [{"image": "3"}]}, {}], "images": {"": "4", "é": "5", "none": None}},
            "d": {"images": ["6"], "pods": None},
            "e": {},
        }
    }
    found = images(("example.com", "Train"), document, places)
    assert [use.image for use in found] == list("123456")
    assert all(resolve(document, use.pointer) == use.image for use in found)


@pytest.mark.parametrize("value", ["text", 7, True])
def test_a_star_through_something_else_is_malformed(value: object) -> None:
    places = {("example.com", "Train"): Places(images=("/spec/*",))}
    with pytest.raises(MalformedObject, match="/spec: expected a list"):
        images(("example.com", "Train"), {"spec": value}, places)


def test_what_is_filled_in_later_is_no_image_yet_where_that_is_known() -> None:
    document = {
        "spec": {"steps": [{"image": "$(params.image)"}, {"image": "r.example/app:$(params.tag)"}, {"image": "a"}]}
    }
    assert [use.image for use in images(("tekton.dev", "Task"), document)] == ["a"]
    rollout = put("/spec/template/spec/containers/0/image", "$(params.image)")
    assert [use.image for use in images(("argoproj.io", "Rollout"), rollout)] == ["$(params.image)"]


def test_these_are_all_the_kinds() -> None:
    assert {*BUILT_IN, *PRESETS} == {*TEMPLATES, *STRINGS}
    assert all(holds_images(*key) for key in TEMPLATES)


@pytest.mark.parametrize(
    "group, kind",
    [
        ("", "Service"),
        ("", "Node"),
        ("", "Binding"),
        ("autoscaling", "Scale"),
        ("apps", "ControllerRevision"),
        ("apps", "Pod"),
        ("", "Deployment"),
        ("batch", "CloneSet"),
        ("", "pod"),
        ("serving.knative.dev", "Route"),
    ],
)
def test_other_kinds_hold_none_whatever_they_contain(group: str, kind: str) -> None:
    assert not holds_images(group, kind)
    assert view(group, kind, b'{"spec": {"containers": [{"image": 1}]') is None


def test_all_lists_of_a_pod_in_their_order() -> None:
    pod_spec = {
        "volumes": [{"image": {"reference": "v"}}, {"emptyDir": {}}, {"image": {"reference": "w"}}],
        "containers": [{"image": "a"}, {"image": "a"}],
        "initContainers": [{"image": "i", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"image": "e"}],
    }
    assert images(("", "Pod"), {"spec": pod_spec}) == [
        ImageUse("a", "/spec/containers/0/image"),
        ImageUse("a", "/spec/containers/1/image"),
        ImageUse("i", "/spec/initContainers/0/image"),
        ImageUse("e", "/spec/ephemeralContainers/0/image", ephemeral=True),
        ImageUse("v", "/spec/volumes/0/image/reference"),
        ImageUse("w", "/spec/volumes/2/image/reference"),
    ]


NOTHING_THERE = [
    pytest.param({}, id="an empty object"),
    pytest.param({"metadata": None, "spec": None}, id="nulls"),
    pytest.param({"spec": {}}, id="an empty spec"),
    pytest.param({"spec": {"containers": None, "volumes": None, "initContainers": None}}, id="nil lists, as Go writes"),
    pytest.param({"spec": {"containers": [{}, {"image": ""}, {"image": None}]}}, id="empty images, as templates have"),
    pytest.param({"spec": {"volumes": [{"image": None}, {"image": {}}, {"image": {"reference": ""}}]}}, id="volumes"),
    pytest.param({"spec": {"volumes": [{"rbd": {"image": "x"}}]}}, id="another volume's image"),
    pytest.param({"spec": {"image": "x", "template": {"spec": {"containers": [{"image": "x"}]}}}}, id="elsewhere"),
    pytest.param({"Spec": {"containers": [{"image": "x"}]}}, id="keys have a case"),
    pytest.param({"status": {"containerStatuses": [{"image": "x"}]}}, id="the status"),
]


@pytest.mark.parametrize("document", NOTHING_THERE)
def test_nothing_there(document: Any) -> None:
    assert images(("", "Pod"), document) == []


@pytest.mark.parametrize("key", TEMPLATES)
@pytest.mark.parametrize("empty", [None, {}])
def test_a_missing_template_holds_no_images(key: GroupKind, empty: Any) -> None:
    for pointer in TEMPLATES[key]:
        steps = pointer.removeprefix("/").split("/")
        for depth in range(1, len(steps) + 1):
            assert images(key, put("/" + "/".join(steps[:depth]), empty)) == []


CONFIGURED = {
    ("example.com", "Train"): Places(
        templates=("/spec/cars/*/template",), pod_specs=("/spec/engine",), images=("/spec/more/*", "/spec/a~1b/c~0d")
    )
}


def test_configured_places_with_lists_and_escapes() -> None:
    document = {
        "spec": {
            "cars": [put("/template/spec/containers/0/image", "a"), {}, put("/template/spec/containers/0/image", "b")],
            "engine": {"initContainers": [{"image": "c"}]},
            "more": ["d", "", None, "e"],
            "a/b": {"c~d": "f"},
        }
    }
    found = images(("example.com", "Train"), document, CONFIGURED)
    assert found == [
        ImageUse("a", "/spec/cars/0/template/spec/containers/0/image"),
        ImageUse("b", "/spec/cars/2/template/spec/containers/0/image"),
        ImageUse("c", "/spec/engine/initContainers/0/image"),
        ImageUse("d", "/spec/more/0"),
        ImageUse("e", "/spec/more/3"),
        ImageUse("f", "/spec/a~1b/c~0d"),
    ]
    assert [resolve(document, use.pointer) for use in found] == list("abcdef")


def test_configuration_overrules_a_preset_but_not_kubernetes_itself() -> None:
    elsewhere = Places(images=("/spec/elsewhere",))
    document = {"spec": {"elsewhere": "x", "template": put("/spec/containers/0/image", "y")}}
    for key, expected in {("argoproj.io", "Rollout"): "x", ("apps", "Deployment"): "y"}.items():
        assert [use.image for use in images(key, document, {key: elsewhere})] == [expected]


@pytest.mark.parametrize("pointer", ["", "/", "spec/image", "/spec//image", "/spec/", "$.spec.image"])
def test_what_is_no_pointer_is_refused_when_it_is_written(pointer: str) -> None:
    with pytest.raises(ValueError, match="is no JSON pointer"):
        Places(images=(pointer,))


names = st.sampled_from(["image", "images", "containers", "volumes", "reference", "template", "metadata", "x", "é/~"])
decoys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("decoy"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
aside = st.dictionaries(
    st.sampled_from(["env", "rbd", "command", "x", "containerz", "Image", "é/~"]), decoys, max_size=3
)
planted = st.text(min_size=1, max_size=12) | st.just("")


def with_decoys(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda others, own: {**others, **own}, aside, part)


containers = st.lists(with_decoys(st.fixed_dictionaries({}, optional={"image": planted})), max_size=4)
volumes = st.lists(
    with_decoys(
        st.fixed_dictionaries(
            {}, optional={"image": with_decoys(st.fixed_dictionaries({}, optional={"reference": planted}))}
        )
    ),
    max_size=3,
)
pod_specs = with_decoys(
    st.fixed_dictionaries(
        {},
        optional={
            "containers": containers,
            "initContainers": containers,
            "ephemeralContainers": containers,
            "volumes": volumes,
        },
    )
)


def expected_in(pod_spec: dict[str, Any], pointer: str) -> set[tuple[str, str]]:
    found = {
        (f"{pointer}/{kind}/{index}/image", container.get("image"))
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for index, container in enumerate(pod_spec.get(kind, []))
    } | {
        (f"{pointer}/volumes/{index}/image/reference", volume.get("image", {}).get("reference"))
        for index, volume in enumerate(pod_spec.get("volumes", []))
    }
    return {(at, image) for at, image in found if image}


@given(st.sampled_from(sorted(TEMPLATES)), st.data())
def test_what_is_planted_is_found_with_its_pointer_and_nothing_else_is(key: GroupKind, data: st.DataObject) -> None:
    pointer = data.draw(st.sampled_from(TEMPLATES[key]))
    pod_spec = data.draw(pod_specs)
    document = {**put(pointer, pod_spec), "status": data.draw(decoys), "x": data.draw(decoys)}
    found = images(key, document)
    assert {(use.pointer, use.image) for use in found} == expected_in(pod_spec, pointer)
    assert len({use.pointer for use in found}) == len(found)
    assert all(resolve(document, use.pointer) == use.image for use in found)
    assert all(use.ephemeral == ("/ephemeralContainers/" in use.pointer) for use in found)


def pod_of(*names: str) -> bytes:
    return json.dumps({"spec": {"containers": [{"image": name} for name in names]}}).encode()


@pytest.mark.parametrize(
    "old, new, same, added",
    [
        pytest.param("ab", "ab", True, "", id="the same"),
        pytest.param("ab", "ba", True, "", id="in another order"),
        pytest.param("ab", "abb", True, "", id="more often"),
        pytest.param("", "", True, "", id="none"),
        pytest.param("ab", "a", False, "", id="one fewer"),
        pytest.param("a", "ac", False, "c", id="one more"),
        pytest.param("ab", "ac", False, "c", id="another"),
        pytest.param("a", "A", False, "A", id="another spelling"),
        pytest.param("", "a", False, "a", id="the first"),
    ],
)
def test_the_same_images_compares_sets(old: str, new: str, same: bool, added: str) -> None:  # noqa: FBT001 - a table
    before, after = view("", "Pod", pod_of(*old)), view("", "Pod", pod_of(*new))
    assert before is not None
    assert after is not None
    assert same_images(before, after) is same
    assert "".join(use.image for use in new_images(before, after)) == added
