"""A waiting Pod: what it has in common with others, and the patch that lets it go."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from controller.warm.pods import MOST_PREFERRED, WEIGHT, Waiting, chosen, waiting_of
from tidegate.kube.shapes import Pod

HOST = "r.example"
APP = f"{HOST}/app@sha256:" + "a" * 64
GATE, OTHER = "tidegate.dev/pre-pull", "example.com/quota"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def pod(*gates: str, metadata: dict[str, Any] | None = None, **spec: Any) -> Pod:
    told = {"name": "p", "namespace": "shop", "uid": "u1", "annotations": {GATE: "hold"}, **(metadata or {})}
    containers = [{"name": "c", "image": APP}, {"name": "d", "image": "elsewhere.test/x:1"}]
    document = {"metadata": told, "spec": {"containers": containers, "schedulingGates": [{"name": g} for g in gates]}}
    document["spec"] |= spec
    return msgspec.convert(document, Pod)


def waiting(*gates: str, **parts: Any) -> Waiting:
    made = waiting_of(pod(*(gates or (GATE,)), **parts), listed={HOST}, now=NOW)
    assert made is not None
    return made


@pytest.mark.parametrize(
    "passed",
    [
        pytest.param(None, id="gone"),
        pytest.param(pod(OTHER), id="another-gate"),
        pytest.param(pod(GATE, nodeName="n"), id="placed"),
        pytest.param(pod(GATE, metadata={"deletionTimestamp": "2026-11-25T12:00:00Z"}), id="on-its-way-out"),
    ],
)
def test_others_wait_for_nothing(passed: Pod | None) -> None:
    assert waiting_of(passed, listed={HOST}, now=NOW) is None


def test_images_that_nodes_pull_from_beforehand_are_waited_for() -> None:
    assert waiting().images == (APP,)
    assert waiting().wishes
    assert not waiting(metadata={"annotations": {GATE: "true"}}).wishes
    assert not waiting(GATE, "tidegate.dev/replica").is_free


def test_pods_of_one_owner_and_template_are_one_group() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "w", "uid": "rs1", "controller": True}
    one = waiting(metadata={"ownerReferences": [owner]})
    assert one.group == waiting(metadata={"ownerReferences": [owner], "name": "q", "uid": "u2"}).group
    assert one.group != waiting(metadata={"ownerReferences": [{**owner, "uid": "rs2"}]}).group
    assert one.group != waiting(metadata={"ownerReferences": [owner]}, nodeSelector={"pool": "gpu"}).group
    assert waiting().group != waiting(metadata={"uid": "u2"}).group


def term(node: str) -> dict[str, Any]:
    return {
        "weight": WEIGHT,
        "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]},
    }


def test_the_patch_opens_this_gate_only_and_prefers_the_warm_nodes() -> None:
    assert waiting(GATE, OTHER).let_go({"n2", "n1"}) == {
        "spec": {
            "schedulingGates": [{"name": OTHER}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term("n1"), term("n2")]}},
        }
    }


def test_without_a_warm_node_it_only_opens_the_gate() -> None:
    assert waiting().let_go(()) == {"spec": {"schedulingGates": None}}


def test_what_the_pod_prefers_by_itself_stays() -> None:
    own = {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [own]}, "podAntiAffinity": {}}
    patch = waiting(affinity=affinity).let_go({"n1"})
    assert patch["spec"]["affinity"] == {
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [own, term("n1")]}
    }


def test_an_affinity_is_bounded_and_not_the_same_for_all() -> None:
    warm = {f"n{number:04}" for number in range(1000)}
    of_pods = [chosen(warm, f"u{number}") for number in range(40)]
    assert {len(names) for names in of_pods} == {MOST_PREFERRED}
    assert len({name for names in of_pods for name in names}) > 500
    assert chosen(warm, "u1") == chosen(sorted(warm, reverse=True), "u1")
