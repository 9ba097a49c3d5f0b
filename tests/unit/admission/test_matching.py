"""Every namespace meets exactly one validating webhook and at most one binding, whatever its label says."""

from collections.abc import Mapping
from typing import Any

import pytest

from tidegate.admission import EXCLUDED_NAMESPACES, policies, webhook_configurations
from tidegate.findings import Mode
from tidegate.policy import EFFECTIVE_MODE_LABEL, NAME_LABEL, Operator, Policy, Requirement, Selector, Settings
from tidegate.workload.places import BUILT_IN, PRESETS

LABELS = [None, *Mode]


def matches(selector: Mapping[str, Any], name: str, label: str | None, **more: str) -> bool:
    labels = {NAME_LABEL: name, **more} | ({} if label is None else {EFFECTIVE_MODE_LABEL: label})
    requirements = (
        Requirement(one["key"], Operator(one["operator"]), frozenset(one.get("values", ())))
        for one in selector["matchExpressions"]
    )
    return Selector(requirements=tuple(requirements)).matches(labels)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("unlabelled", [*Mode])
def test_a_namespace_without_a_label_counts_as_the_policys_mode(label: str | None, unlabelled: Mode) -> None:
    validating, mutating = webhook_configurations(unlabelled, own="tidegate", authority="")
    meant = [hook for hook in validating["webhooks"] if matches(hook["namespaceSelector"], "shop", label)]
    enforces = (label or unlabelled) == Mode.ENFORCE
    (hook,) = meant
    assert hook["failurePolicy"] == ("Fail" if enforces else "Ignore")
    assert hook["clientConfig"]["service"]["path"] == ("/validate/enforce" if enforces else "/validate/other")
    assert matches(mutating["webhooks"][0]["namespaceSelector"], "shop", label)
    bindings = [
        one["metadata"]["name"]
        for one in policies(Policy(base=Settings(mode=unlabelled)), ["r.example"], own="tidegate")
        if one["kind"].endswith("Binding")
        and one["spec"]["policyName"] == "tidegate-static-findings"
        and matches(one["spec"]["matchResources"]["namespaceSelector"], "shop", label)
    ]
    assert bindings == [f"tidegate-static-findings-{label or unlabelled}"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("unlabelled", [*Mode])
def test_glass_is_broken_with_nobody_there_to_see_it(label: str | None, unlabelled: Mode) -> None:
    validating, _ = webhook_configurations(unlabelled, own="tidegate", authority="")
    glass = {"tidegate.dev/break-glass": "on-call"}
    (hook,) = [one for one in validating["webhooks"] if matches(one["namespaceSelector"], "shop", label, **glass)]
    assert hook["failurePolicy"] == "Ignore"
    assert hook["clientConfig"]["service"]["path"] == "/validate/other"


@pytest.mark.parametrize("name", ["kube-system", "kube-node-lease", "calico-system", "gate", *EXCLUDED_NAMESPACES])
@pytest.mark.parametrize("label", LABELS)
def test_a_cluster_can_start_with_tidegate_down(name: str, label: str | None) -> None:
    for configuration in webhook_configurations(Mode.ENFORCE, own="gate", authority=""):
        for hook in configuration["webhooks"]:
            assert not matches(hook["namespaceSelector"], name, label)


def test_every_kind_that_holds_images_is_asked_about() -> None:
    for configuration in webhook_configurations(Mode.ENFORCE, own="tidegate", authority=""):
        for hook in configuration["webhooks"]:
            asked = {(rule["apiGroups"][0], plural) for rule in hook["rules"] for plural in rule["resources"]}
            assert {(group, f"{kind.lower()}s") for group, kind in (*BUILT_IN, *PRESETS)} <= asked
            assert not {"namespaces", "nodes", "leases", "*"} & {plural for _, plural in asked}
            assert "matchConditions" not in hook
