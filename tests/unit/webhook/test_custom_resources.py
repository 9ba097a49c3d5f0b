"""Custom resources whose images the configuration names, from the file to the verdict."""

from dataclasses import replace
from typing import Any

import pytest

from tidegate.admission import webhook_configurations
from tidegate.config import parse
from tidegate.config.workloads import places_of
from tidegate.findings import Finding, Mode
from tidegate.policy import Policy, Settings
from tidegate.workload import PRESETS

DIGEST = "sha256:" + "a" * 64
OLD, NEW = f"r.example/old@{DIGEST}", f"r.example/new@{DIGEST}"
CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries: [{host: r.example, replicas: {a: {endpoint: "https://r.example"}}}]
workloads:
  - group: example.com
    kind: Train
    templates: [/spec/cars/*/template]
    podSpecs: [/spec/engine]
    images: [/spec/more/*/image]
  - {group: example.com, kind: Proxy, resource: proxies, images: [/spec/image], variables: true}
"""
PLACES = places_of(parse(CONFIG).workloads)


@pytest.fixture
def trained(webhook: Any) -> Any:
    webhook.use(Policy(base=Settings(mode=Mode.ENFORCE)))
    webhook.gate.rules = replace(webhook.gate.rules, places=PLACES)
    webhook.checker.replica["new"] = Finding.ABSENT
    return webhook


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(
            {"cars": {"front": {"template": {"spec": {"containers": [{"image": NEW}]}}}}}, id="template-in-map"
        ),
        pytest.param({"cars": [{"template": {"spec": {"initContainers": [{"image": NEW}]}}}]}, id="template-in-list"),
        pytest.param({"engine": {"volumes": [{"image": {"reference": NEW}}]}}, id="pod-spec"),
        pytest.param({"more": {"x": {"image": NEW}}}, id="image"),
    ],
)
@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
async def test_a_configured_kind_is_judged(trained: Any, make: Any, spec: dict[str, Any], operation: str) -> None:
    old = {"spec": {"more": [{"image": OLD}]}} if operation == "UPDATE" else None
    review = make.review({"spec": spec}, kind="Train", group="example.com", operation=operation, old=old)
    assert (await trained.judge(review)).said == (False, "hold", "absent")
    assert [image for image, _ in trained.checker.asked] == [NEW]


async def test_an_update_with_the_same_images_asks_nobody(trained: Any, make: Any) -> None:
    old = {"spec": {"more": [{"image": NEW}]}}
    review = make.review(
        {"spec": {"more": {"x": {"image": NEW}}}}, kind="Train", group="example.com", operation="UPDATE", old=old
    )
    assert (await trained.judge(review)).said == (True, "allow", "unchanged")
    assert not trained.checker.asked


async def test_what_is_filled_in_later_is_judged_on_the_pods(trained: Any, make: Any) -> None:
    review = make.review({"spec": {"image": "$(params.image)"}}, kind="Proxy", group="example.com")
    assert (await trained.judge(review)).said == (True, "allow", "exempt")


async def test_another_shape_than_configured_is_its_authors_fault(trained: Any, make: Any) -> None:
    review = make.review({"spec": {"more": "text"}}, kind="Train", group="example.com")
    assert (await trained.judge(review)).said == (False, "deny", "malformed")


def test_the_api_server_is_told_to_ask_about_them() -> None:
    validating, mutating = webhook_configurations(
        Mode.AUDIT, own="tidegate", authority="", custom={**PRESETS, **PLACES}
    )
    for hook in (*validating["webhooks"], *mutating["webhooks"]):
        asked = {rule["apiGroups"][0]: rule["resources"] for rule in hook["rules"]}
        assert asked["example.com"] == ["proxies", "trains"]
        assert "pipelineruns" in asked["tekton.dev"]
        assert asked["jobset.x-k8s.io"] == ["jobsets"]
