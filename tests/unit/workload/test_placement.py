"""Where a workload's Pods may run, as far as the object says it."""

import json
from typing import Any

import pytest

from tidegate.workload import ANYWHERE, MalformedObject, Placement, placement

TOLERATION = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
POD_SPEC = {"nodeSelector": {"pool": "gpu"}, "tolerations": [TOLERATION], "affinity": AFFINITY, "nodeName": "n1"}
PLACED = Placement(node_selector={"pool": "gpu"}, tolerations=(TOLERATION,), affinity=AFFINITY, node_name="n1")


@pytest.mark.parametrize(
    "group, kind, document",
    [
        pytest.param("", "Pod", {"spec": POD_SPEC}, id="Pod"),
        pytest.param("", "PodTemplate", {"template": {"spec": POD_SPEC}}, id="PodTemplate"),
        pytest.param("apps", "DaemonSet", {"spec": {"template": {"spec": POD_SPEC}}}, id="DaemonSet"),
        pytest.param(
            "batch", "CronJob", {"spec": {"jobTemplate": {"spec": {"template": {"spec": POD_SPEC}}}}}, id="CronJob"
        ),
        pytest.param("argoproj.io", "Rollout", {"spec": {"template": {"spec": POD_SPEC}}}, id="Rollout"),
        pytest.param(
            "apps.kruise.io",
            "AdvancedCronJob",
            {
                "spec": {
                    "template": {
                        "jobTemplate": None,
                        "broadcastJobTemplate": {"spec": {"template": {"spec": POD_SPEC}}},
                    }
                }
            },
            id="the second of two places",
        ),
    ],
)
def test_a_pod_specs_own_fields(group: str, kind: str, document: Any) -> None:
    assert placement(group, kind, json.dumps(document).encode()) == PLACED


@pytest.mark.parametrize(
    "group, kind, document",
    [
        pytest.param("", "Pod", {"spec": {"nodeSelector": None, "tolerations": None, "affinity": None}}, id="nulls"),
        pytest.param("", "Pod", {"spec": {}}, id="nothing said"),
        pytest.param("apps", "Deployment", {"spec": {"template": None}}, id="no template"),
        pytest.param("apps", "Deployment", {"spec": {"template": {"spec": None}}}, id="an empty template"),
        pytest.param("apps.kruise.io", "ImagePullJob", {"spec": {"image": "a"}}, id="no pod spec"),
    ],
)
def test_anywhere(group: str, kind: str, document: Any) -> None:
    assert placement(group, kind, json.dumps(document).encode()) == ANYWHERE


def test_other_kinds_have_none() -> None:
    assert placement("", "Service", b"{}") is None


def test_a_wrong_shape() -> None:
    with pytest.raises(MalformedObject, match="/spec/template/spec/nodeSelector: expected a string, got a number"):
        placement("apps", "Deployment", b'{"spec": {"template": {"spec": {"nodeSelector": {"a": 1}}}}}')
