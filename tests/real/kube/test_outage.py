"""kube-apiserver while nobody answers: closed where namespaces enforce, open elsewhere and in an emergency."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tidegate.admission import webhook_configurations
from tidegate.findings import Mode
from tidegate.testing.ports import free_port

pytestmark = pytest.mark.real

EFFECTIVE, GLASS = "tidegate.dev/effective-mode", "tidegate.dev/break-glass"


@pytest.fixture(scope="module")
def armed(api_server: Any) -> Iterator[Any]:
    """Both configurations, with nobody behind them; policy.mode is enforce."""
    documents = webhook_configurations(Mode.ENFORCE, own="tidegate", authority="")
    for document in documents:
        for hook in document["webhooks"]:
            hook["clientConfig"] = {"url": f"https://127.0.0.1:{free_port()}/nobody"}
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*documents]})
    api_server.kubectl("apply", "-f", "-", text=given)
    yield api_server
    api_server.kubectl("delete", "-f", "-", text=given)


@pytest.mark.parametrize(
    "name,labels,admitted",
    [
        pytest.param("outage-enforce", {EFFECTIVE: "enforce"}, False, id="enforces"),
        pytest.param("outage-new", {}, False, id="not labelled yet, and the policy enforces"),
        pytest.param("outage-warn", {EFFECTIVE: "warn"}, True, id="warns"),
        pytest.param("outage-audit", {EFFECTIVE: "audit"}, True, id="audits"),
        pytest.param("outage-glass", {EFFECTIVE: "enforce", GLASS: "on-call"}, True, id="an emergency"),
        pytest.param("outage-glass-new", {GLASS: "on-call"}, True, id="an emergency, not labelled yet"),
        pytest.param("calico-system", {EFFECTIVE: "enforce"}, True, id="left out by name"),
    ],
)
async def test_who_is_refused(armed: Any, api: Any, name: str, labels: dict[str, str], *, admitted: bool) -> None:
    del armed
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    assert (await api("POST", "/api/v1/namespaces", space)).status == 201
    containers = [{"name": "c", "image": f"r.example/app@sha256:{'a' * 64}"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    said = await api("POST", f"/api/v1/namespaces/{name}/pods", pod, dry=True)
    assert said.status == (201 if admitted else 500), said
    assert ('failed calling webhook "validate.tidegate.dev"' in said.message) is not admitted
