"""`tidegate policies` prints what the API server is told, and says what is wrong with a call."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from tidegate.cli.main import app

CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries: [{host: r.example, replicas: {west: {endpoint: "https://west.example"}}}]
policy: {mode: warn}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["policies", *arguments])


def test_policies_come_before_their_bindings(config: Path) -> None:
    ran = run("--config", str(config))
    assert ran.exit_code == 0
    documents = [*yaml.safe_load_all(ran.stdout)]
    assert [(one["kind"].removeprefix("ValidatingAdmission"), one["metadata"]["name"]) for one in documents] == [
        ("Policy", "tidegate-namespace-labels"),
        ("Policy", "tidegate-static-findings"),
        ("PolicyBinding", "tidegate-namespace-labels"),
        ("PolicyBinding", "tidegate-static-findings-enforce"),
        ("PolicyBinding", "tidegate-static-findings-warn"),
        ("PolicyBinding", "tidegate-static-findings-audit"),
    ]


def test_webhook_configurations_come_with_a_ca(config: Path, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("PEM")
    ran = run("--config", str(config), "--webhooks-ca", str(authority), "--namespace", "gate")
    documents = {one["kind"]: one for one in yaml.safe_load_all(ran.stdout)}
    hooks = documents["ValidatingWebhookConfiguration"]["webhooks"]
    hooks += documents["MutatingWebhookConfiguration"]["webhooks"]
    assert {hook["clientConfig"]["caBundle"] for hook in hooks} == {"UEVN"}
    assert {hook["clientConfig"]["service"]["namespace"] for hook in hooks} == {"gate"}
    assert [hook["failurePolicy"] for hook in hooks] == ["Fail", "Ignore", "Ignore", "Ignore"]


@pytest.mark.parametrize(
    "text", [pytest.param("kind: Nothing", id="no configuration"), pytest.param("{", id="no YAML")]
)
def test_a_wrong_call_prints_nothing_and_ends_with_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for arguments in (("--config", str(path)), ("--config", str(tmp_path / "none"))):
        ran = run(*arguments)
        assert ran.exit_code == 2
        assert ran.stdout == ""
        assert "config.yaml" in ran.stderr or "none" in ran.stderr
