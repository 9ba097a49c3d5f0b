"""Where a pod could run: the scheduler's rules, as far as they decide whether an image is wanted on a node."""

from typing import Any

import msgspec
import pytest

from controller.placement import ANYWHERE, Demands, facts, fits, of_workload
from tidegate.kube.shapes import Node, Toleration
from tidegate.workload import Placement


def node(**fields: Any) -> Any:
    ready = [{"type": "Ready", "status": fields.pop("ready", "True")}]
    metadata = {"name": "node-1", "uid": "u1", "labels": {"zone": "a", "size": "8"}} | fields.pop("metadata", {})
    status = {"conditions": ready, "nodeInfo": fields.pop("info", {})}
    return facts(msgspec.convert({"metadata": metadata, "spec": fields, "status": status}, Node))


def affinity(*terms: dict[str, Any]) -> Demands:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return of_workload(Placement({}, (), {"nodeAffinity": required}, ""))


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    "subject, usable",
    [
        pytest.param(node(), True, id="ready"),
        pytest.param(node(ready="False"), False, id="not-ready"),
        pytest.param(node(ready="Unknown"), False, id="lost"),
        pytest.param(node(unschedulable=True), False, id="cordoned"),
        pytest.param(node(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), False, id="on-its-way-out"),
    ],
)
def test_only_nodes_that_can_take_pods_count(subject: Any, *, usable: bool) -> None:
    assert fits(ANYWHERE, subject) is usable


def test_a_node_that_has_not_said_whether_it_is_ready_is_not_known_to_be_unready() -> None:
    assert fits(ANYWHERE, facts(Node()))


@pytest.mark.parametrize(
    "selector, fit",
    [
        ({}, True),
        ({"zone": "a"}, True),
        ({"zone": "a", "size": "8"}, True),
        ({"zone": "b"}, False),
        ({"zone": "a", "gpu": ""}, False),
    ],
)
def test_every_label_of_the_node_selector_must_be_there(selector: dict[str, str], *, fit: bool) -> None:
    assert fits(Demands(node_selector=selector), node()) is fit


TAINT = {"key": "team", "value": "ml", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    "taint, toleration, fit",
    [
        pytest.param(TAINT, None, False, id="not-tolerated"),
        pytest.param(TAINT, {"key": "team", "value": "ml"}, True, id="equal"),
        pytest.param(TAINT, {"key": "team", "value": "web"}, False, id="another-value"),
        pytest.param(TAINT, {"key": "team", "operator": "Exists"}, True, id="exists"),
        pytest.param(TAINT, {"operator": "Exists"}, True, id="everything"),
        pytest.param(TAINT, {"key": "team", "value": "ml", "effect": "NoExecute"}, False, id="another-effect"),
        pytest.param(TAINT, {"key": "other", "operator": "Exists"}, False, id="another-key"),
        pytest.param(TAINT, {"key": "team", "operator": "Lt", "value": "9"}, False, id="an-operator-of-the-future"),
        pytest.param(TAINT | {"effect": "NoExecute"}, None, False, id="no-execute"),
        pytest.param(TAINT | {"effect": "PreferNoSchedule"}, None, True, id="a-preference"),
        pytest.param({"key": "tidegate.dev/not-ready", "effect": "NoSchedule"}, None, True, id="our-startup-taint"),
        pytest.param({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, None, True, id="not-ready-yet"),
        pytest.param({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}, None, False, id="disk"),
        pytest.param(
            {"key": "startup-taint.cluster-autoscaler.kubernetes.io/tidegate", "effect": "NoSchedule"},
            None, True, id="an-autoscaler-startup-taint",
        ),
    ],
)  # fmt: skip
def test_taints_keep_images_away_as_they_keep_pods(taint: Any, toleration: Any, *, fit: bool) -> None:
    tolerations = (msgspec.convert(toleration, Toleration),) if toleration else ()
    assert fits(Demands(tolerations=tolerations), node(taints=[taint])) is fit


@pytest.mark.parametrize(
    "demands, fit",
    [
        pytest.param(affinity(expression("zone", "In", "a", "b")), True, id="in"),
        pytest.param(affinity(expression("zone", "In", "b")), False, id="not-among"),
        pytest.param(affinity(expression("gpu", "In", "x")), False, id="in-needs-the-label"),
        pytest.param(affinity(expression("zone", "NotIn", "b")), True, id="not-in"),
        pytest.param(affinity(expression("gpu", "NotIn", "x")), True, id="not-in-holds-without-the-label"),
        pytest.param(affinity(expression("zone", "Exists")), True, id="exists"),
        pytest.param(affinity(expression("gpu", "Exists")), False, id="exists-not"),
        pytest.param(affinity(expression("gpu", "DoesNotExist")), True, id="does-not-exist"),
        pytest.param(affinity(expression("zone", "DoesNotExist")), False, id="but-it-does"),
        pytest.param(affinity(expression("size", "Gt", "7")), True, id="greater"),
        pytest.param(affinity(expression("size", "Gt", "8")), False, id="not-greater"),
        pytest.param(affinity(expression("size", "Lt", "9")), True, id="less"),
        pytest.param(affinity(expression("zone", "Gt", "7")), False, id="no-number"),
        pytest.param(affinity(expression("size", "Gt")), False, id="nothing-to-compare-with"),
        pytest.param(affinity(expression("zone", "Resembles", "a")), False, id="unknown-operator"),
        pytest.param(affinity(expression("zone", "In", "b"), expression("size", "Exists")), True, id="terms-are-or"),
        pytest.param(
            affinity({"matchExpressions": [
                {"key": "zone", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]}),
            False, id="requirements-are-and",
        ),
        pytest.param(affinity({}), False, id="an-empty-term-matches-nothing"),
        pytest.param(affinity(), False, id="no-term-matches-nothing"),
        pytest.param(
            affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}),
            True, id="by-name",
        ),
        pytest.param(
            affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}),
            False, id="by-another-name",
        ),
        pytest.param(of_workload(Placement({}, (), {"podAffinity": {}}, "")), True, id="no-node-affinity"),
    ],
)  # fmt: skip
def test_required_node_affinity(demands: Demands, *, fit: bool) -> None:
    assert fits(demands, node()) is fit


ARM = {"operatingSystem": "linux", "architecture": "arm64"}


@pytest.mark.parametrize(
    "info, platforms, fit",
    [
        (ARM, (), True),
        (ARM, ("linux/amd64",), False),
        (ARM, ("linux/amd64", "linux/arm64/v8"), True),
        ({}, ("linux/amd64",), True),
    ],
)
def test_images_go_to_nodes_of_their_platforms(info: Any, platforms: tuple[str, ...], *, fit: bool) -> None:
    assert fits(ANYWHERE, node(info=info), platforms=platforms) is fit


def test_what_no_api_server_would_take_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected"):
        of_workload(Placement({}, ({"key": 5},), None, ""))
