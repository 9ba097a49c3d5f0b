"""What Pods, workload templates and PrePulls say about images."""

from typing import Any

import msgspec
import pytest

from controller.images.inventory import Use
from controller.images.pods import PLACED_PODS, PlacedPod
from controller.images.uses import Uses
from tidegate.kube.own import PrePull, PrePullSpec
from tidegate.kube.resources import CRONJOBS, DEPLOYMENTS
from tidegate.kube.shapes import Metadata, Pod, Workload

HOST = "r.example"
DECODER = msgspec.json.Decoder(PlacedPod)


def placed(phase: str = "Running", *, name: str = "p", **spec: Any) -> PlacedPod:
    metadata = {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}}
    raw = {"metadata": metadata, "spec": {"nodeName": "n"} | spec, "status": {"phase": phase, "conditions": []}}
    return PLACED_PODS.kept(DECODER.decode(msgspec.json.encode(raw)))


def containers(*images: str) -> list[dict[str, str]]:
    return [{"name": "c", "image": image} for image in images]


def said(use: Use | None) -> tuple[str, dict[str, bool]]:
    """The namespace, and whether each image ran."""
    assert use is not None
    return use.namespace, {image.text: image.name in use.ran for image in use.images}


EVERYWHERE = {
    "containers": containers("r.example/a:1", "r.example/b"),
    "initContainers": containers("r.example/init:1"),
    "ephemeralContainers": containers("r.example/debug:1"),
    "volumes": [{"name": "v", "image": {"reference": "r.example/data:1"}}, {"name": "w", "emptyDir": {}}],
}


@pytest.mark.parametrize(
    "phase,ran",
    [
        pytest.param("Pending", False, id="its images may still be on their way"),
        pytest.param("Running", True, id="all were pulled"),
        pytest.param("Succeeded", True, id="and so they were"),
        pytest.param("Failed", False, id="perhaps it never began"),
        pytest.param("Unknown", False, id="nobody knows"),
        pytest.param("", False, id="nobody says"),
    ],
)
def test_what_a_placed_pod_uses_and_what_ran_for_it(phase: str, *, ran: bool) -> None:
    used = ["r.example/a:1", "r.example/b", "r.example/init:1", "r.example/data:1"]
    expected = dict.fromkeys(used, ran) | {"r.example/debug:1": False}
    assert said(Uses({HOST}).of_placed(placed(phase, **EVERYWHERE))) == ("shop", expected)


def test_an_ephemeral_container_of_an_image_that_runs_takes_nothing_from_it() -> None:
    spec = {"containers": containers("r.example/a:1"), "ephemeralContainers": containers("r.example/a:1")}
    assert said(Uses({HOST}).of_placed(placed(**spec))) == ("shop", {"r.example/a:1": True})


def test_pods_that_are_alike_share_all_but_who_they_are() -> None:
    one, other = placed(name="one", **EVERYWHERE), placed(name="other", **EVERYWHERE)
    assert one.spec is other.spec
    assert one.metadata.namespace is other.metadata.namespace
    assert (one.metadata.name, one.metadata.uid, one.metadata.resource_version) == ("one", "u", "7")
    uses = Uses({HOST})
    assert uses.of_placed(one) is uses.of_placed(other)


def test_what_has_no_images_or_cannot_be_read_is_no_use() -> None:
    uses = Uses({HOST})
    assert uses.of_placed(None) is uses.of_pending(None) is uses.of_prepull(None) is None
    assert said(uses.of_placed(placed())) == ("shop", {})
    broken = Workload(metadata=Metadata(namespace="shop"), spec={"template": {"spec": {"containers": 7}}})
    assert uses.of_workload(DEPLOYMENTS, broken) is None


def test_templates_pending_pods_and_pre_pulls_run_nothing() -> None:
    uses, metadata = Uses({HOST}), Metadata(name="x", namespace="shop")
    template = {"template": {"spec": {"containers": containers("r.example/a:1")}}}
    expected = ("shop", {"r.example/a:1": False})
    assert said(uses.of_workload(DEPLOYMENTS, Workload(metadata=metadata, spec=template))) == expected
    nested = {"jobTemplate": {"spec": template}}
    assert said(uses.of_workload(CRONJOBS, Workload(metadata=metadata, spec=nested))) == expected
    pending = msgspec.convert({"metadata": {"namespace": "shop"}, "spec": template["template"]["spec"]}, Pod)
    assert said(uses.of_pending(pending)) == expected
    prepull = PrePull(metadata=metadata, spec=PrePullSpec(images=["r.example/a:1", "R.example/a:1", "%"]))
    use = uses.of_prepull(prepull)
    assert use is not None
    assert (use.namespace, len(use.images), use.ran) == ("", 1, frozenset())
