"""Hostile bodies: one error that says what and where, or a value; never anything else, never for long."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.workload import (
    BUILT_IN,
    IMAGES_LIMIT,
    PRESETS,
    GroupKind,
    MalformedObject,
    Places,
    WorkloadView,
    placement,
    view,
)

POD, CRON_JOB, ROLLOUT = ("", "Pod"), ("batch", "CronJob"), ("argoproj.io", "Rollout")
JOB_SPEC = "/spec/jobTemplate/spec/template/spec"


def put(pointer: str, value: Any) -> dict[str, Any]:
    for step in reversed(pointer.removeprefix("/").split("/")):
        value = [value] if step == "0" else {step: value}
    return dict(value)


WRONG_SHAPES = [
    pytest.param(POD, "/spec/containers/0/image", 7, "expected a string, got a number", id="image is a number"),
    pytest.param(POD, "/spec/containers/0/image", 7.5, "expected a string, got a number", id="image is a fraction"),
    pytest.param(POD, "/spec/containers/0/image", True, "expected a string, got true or false", id="image is true"),
    pytest.param(POD, "/spec/containers/0/image", ["a"], "expected a string, got a list", id="image is a list"),
    pytest.param(POD, "/spec/containers/0/image", {}, "expected a string, got an object", id="image is an object"),
    pytest.param(POD, "/spec/containers", "nginx", "expected a list, got a string", id="containers is a string"),
    pytest.param(POD, "/spec/containers", {}, "expected a list, got an object", id="containers is an object"),
    pytest.param(POD, "/spec/containers/0", "nginx", "expected an object, got a string", id="container is a string"),
    pytest.param(POD, "/spec/containers/0", None, "expected an object, got null", id="container is null"),
    pytest.param(POD, "/spec/volumes/0/image", "x", "expected an object, got a string", id="image volume is a string"),
    pytest.param(POD, "/spec", [], "expected an object, got a list", id="spec is a list"),
    pytest.param(POD, "/metadata", "x", "expected an object, got a string", id="metadata is a string"),
    pytest.param(POD, "/metadata/labels", {"a": 1}, "expected a string, got a number", id="label is a number"),
    pytest.param(POD, "/metadata/ownerReferences", {}, "expected a list, got an object", id="owners is an object"),
    pytest.param(CRON_JOB, f"{JOB_SPEC}/containers/0/image", 7, "expected a string, got a number", id="CronJob"),
    pytest.param(ROLLOUT, "/spec/template/spec/containers/0/image", 7, "expected a string, got a number", id="Rollout"),
    pytest.param(ROLLOUT, "/spec/template", "x", "expected an object, got a string", id="Rollout's template"),
    pytest.param(ROLLOUT, "/spec", [], "expected an object, got a list", id="Rollout's spec"),
    pytest.param(
        ("apps.kruise.io", "ImageListPullJob"), "/spec/images/0", 7, "expected a string, got a number", id="list"
    ),
    pytest.param(("apps.kruise.io", "ImageListPullJob"), "/spec/images", "x", "expected a list, got a string", id="*"),
]


@pytest.mark.parametrize("key, pointer, value, reason", WRONG_SHAPES)
def test_a_wrong_shape_is_named_with_its_place(key: GroupKind, pointer: str, value: Any, reason: str) -> None:
    with pytest.raises(MalformedObject) as caught:
        view(*key, json.dumps(put(pointer, value)).encode())
    assert (caught.value.pointer, caught.value.reason) == (pointer, reason)
    assert str(caught.value) == f"{pointer}: {reason}"


DEEP = 200_000
BROKEN = [
    pytest.param(b"", "no valid JSON", id="nothing"),
    pytest.param(b"{", "no valid JSON", id="cut off"),
    pytest.param(b'{"spec": {"containers": [{"image": "a}', "no valid JSON", id="cut off in a string"),
    pytest.param(b"{} {}", "no valid JSON", id="two objects"),
    pytest.param(b"\xef\xbb\xbf{}", "no valid JSON", id="a byte order mark"),
    pytest.param(b"{'spec': 1}", "no valid JSON", id="single quotes"),
    pytest.param(b"null", "", id="null"),
    pytest.param(b"[]", "expected an object, got a list", id="a list"),
    pytest.param(b'"Pod"', "expected an object, got a string", id="a string"),
    pytest.param(b'{"metadata": {"name": "\xff"}}', "not UTF-8", id="no UTF-8"),
    pytest.param(b'{"metadata": {"name": "\\ud800"}}', "no valid JSON", id="a lone surrogate"),
    pytest.param(b'{"spec": {"containers": [{"image": "a\nb"}]}}', "no valid JSON", id="a raw newline in a string"),
    pytest.param(b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply", id="deep lists"),
    pytest.param(b'{"x":' * DEEP + b"1" + b"}" * DEEP, "nested too deeply", id="deep objects"),
    pytest.param(b'{"spec":' + b"[" * DEEP, "", id="deep and cut off"),
]


@pytest.mark.parametrize("key", [POD, CRON_JOB, ROLLOUT, ("", "PodTemplate"), ("apps.kruise.io", "ImagePullJob")])
@pytest.mark.parametrize("raw, reason", BROKEN)
def test_broken_bodies(key: GroupKind, raw: bytes, reason: str) -> None:
    with pytest.raises(MalformedObject) as caught:
        view(*key, raw)
    assert caught.value.reason.startswith(reason)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_more_images_than_any_object_has() -> None:
    def pod(count: int) -> bytes:
        return json.dumps({"spec": {"containers": [{"image": f"i{index}"} for index in range(count)]}}).encode()

    found = view("", "Pod", pod(IMAGES_LIMIT))
    assert found is not None
    assert len(found.images) == IMAGES_LIMIT
    with pytest.raises(MalformedObject, match="the object: more than 1000 images"):
        view("", "Pod", pod(10_000))


def test_lists_in_lists_do_not_multiply() -> None:
    document = {"spec": [[["x"] * 50] * 50] * 50}
    with pytest.raises(MalformedObject, match="more than 10000 elements"):
        view("a", "B", json.dumps(document).encode(), {("a", "B"): Places(images=("/spec/*/*/*",))})


def test_sixteen_megabytes_of_containers_are_answered_soon() -> None:
    raw = b'{"spec":{"containers":[' + b",".join([b'{"image":"i"}'] * 1_100_000) + b"]}}"
    started = time.process_time()
    with pytest.raises(MalformedObject, match="more than 1000 images"):
        view("", "Pod", raw)
    assert time.process_time() - started < 2


KEYS = ["metadata", "spec", "template", "jobTemplate", "containers", "initContainers", "volumes", "image", "reference"]
KEYS += ["labels", "annotations", "ownerReferences", "deletionTimestamp", "images", "nodeName", "schedulingGates", "0"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)
kinds = st.sampled_from(sorted({*BUILT_IN, *PRESETS}))


def never_crashes(key: GroupKind, raw: bytes) -> None:
    for read in (view, placement):
        try:
            found = read(*key, raw)
        except MalformedObject as exc:
            assert str(exc).isprintable()  # noqa: PT017 - either outcome is right
        else:
            assert found is not None
            if isinstance(found, WorkloadView):
                assert all(isinstance(use.image, str) and use.image for use in found.images)
                assert (found.name, found.labels, found.owner, found.is_mirror, found.scheduling_gates) is not None


@given(kinds, anything)
def test_any_json_is_answered(key: GroupKind, document: Any) -> None:
    never_crashes(key, json.dumps(document).encode())


@given(kinds, st.binary(max_size=60))
def test_any_bytes_are_answered(key: GroupKind, raw: bytes) -> None:
    never_crashes(key, raw)
    never_crashes(key, b'{"spec":' + raw + b"}")
