"""The program: how it is called, what it serves beside its work, how it ends."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from controller.__main__ import main
from controller.budget import Limits
from controller.leading import settings_of
from tidegate.config import parse
from tidegate.testing.apiserver import ApiServerDouble

CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {a: {endpoint: "http://127.0.0.1:1"}}
"""


def test_the_budget_is_what_the_file_says() -> None:
    pulls = "    pulls: {inFlight: 2, requestsPerSecond: 7.5, burst: 9}\n"
    text = CONFIG + pulls + "prePull: {perNode: 4}\ncluster: {platforms: [linux/arm64]}\n"
    settings = settings_of(parse(text))
    assert settings.limits == {"registry.test": Limits(in_flight=2, rate=7.5, burst=9)}
    assert (settings.per_node, settings.platforms) == (4, ("linux/arm64",))
    assert settings_of(parse(CONFIG)).platforms == (), "the default excludes no node"


@pytest.mark.parametrize(
    "config, kubeconfig, complaint",
    [
        pytest.param("nonsense: 1", "there", "nonsense: unknown key", id="config"),
        pytest.param(CONFIG, "apiVersion: v1", "not a usable kubeconfig", id="kubeconfig"),
        pytest.param(CONFIG, None, "give --kubeconfig", id="no-cluster"),
    ],
)
def test_a_wrong_call_ends_with_two_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, kubeconfig: str | None, complaint: str
) -> None:
    file, connection = tmp_path / "config.yaml", tmp_path / "kubeconfig"
    file.write_text(config)
    arguments = ["--config", str(file)]
    if kubeconfig is not None:
        connection.write_text(kubeconfig)
        arguments += ["--kubeconfig", str(connection)]
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_without_a_config_it_is_no_call() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


async def controller(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller", *arguments, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")}, cwd=Path(__file__).parents[3],
    )  # fmt: skip


async def lines_until(process: asyncio.subprocess.Process, event: str) -> list[str]:
    seen: list[str] = []
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while not any(f'"event":"{event}"' in line for line in seen):
            line = await process.stderr.readline()
            assert line, "\n".join(seen)
            seen.append(line.decode())
    return seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_plans_and_leaves_when_it_is_told_to(tmp_path: Path, number: int, eventually: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    async with ApiServerDouble() as api:
        api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}, plural="nodes")
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}, plural="namespaces")
        process = await controller("--config", str(file), "--kubeconfig", str(api.kubeconfig(tmp_path / "kubeconfig")))
        await lines_until(process, "controller.ready")
        await eventually(lambda: api.objects("tidegate.dev", "nodepulls"))
        process.send_signal(number)
        await lines_until(process, "controller.stopped")
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_it_releases_whom_nothing_holds_and_keeps_the_keys(tmp_path: Path, eventually: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG + "policy: {mode: enforce, exempt: [{namespaces: [kube-public], reason: a test}]}\n")
    gated = {
        "containers": [{"name": "c", "image": "registry.test/a@sha256:" + "a" * 64}],
        "schedulingGates": [{"name": "tidegate.dev/replica"}],
    }
    async with ApiServerDouble() as api:
        for namespace in ("default", "kube-public"):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": gated}
            api.put(pod, plural="pods")
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
        process = await controller("--config", str(file), "--kubeconfig", kubeconfig, "--namespace", "kube-node-lease")
        await lines_until(process, "controller.ready")
        await eventually(lambda: {event["reason"] for event in api.objects("events.k8s.io", "events")} == {
            "ReplicaLagging", "ReplicaComplete"
        })  # fmt: skip
        waiting = [pod["metadata"]["namespace"] for pod in api.objects("", "pods") if "schedulingGates" in pod["spec"]]
        assert waiting == ["default"], "its registry cannot be asked"
        (secret,) = api.objects("", "secrets")
        assert (secret["metadata"]["namespace"], len(secret["data"])) == ("kube-node-lease", 1)
        process.send_signal(signal.SIGTERM)
        await lines_until(process, "controller.stopped")
        assert await asyncio.wait_for(process.wait(), 10) == 0
