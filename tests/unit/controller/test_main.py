"""The program: how it is called, what it serves beside its work, how it ends."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.__main__ import main
from controller.budget import Limits
from controller.leading import settings_of
from tidegate.config import parse
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.ports import free_port

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
    assert settings.limits == {"registry.test": Limits(2, 7.5, 9, most_in_flight=32, most_rate=80)}
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


async def test_a_changed_file_is_taken_in_place_and_a_wrong_one_is_not(tmp_path: Path, eventually: Any) -> None:
    file, enforced = tmp_path / "config.yaml", CONFIG + "policy: {mode: enforce}\n"
    file.write_text(enforced)
    gated = {
        "containers": [{"name": "c", "image": "registry.test/a@sha256:" + "a" * 64}],
        "schedulingGates": [{"name": "tidegate.dev/replica"}],
    }
    metadata = {"name": "p", "namespace": "default"}
    port = free_port()
    async with ApiServerDouble() as api, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def readyz() -> str:
            async with http.get("/readyz?verbose") as answer:
                return await answer.text()

        api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": gated}, plural="pods")
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
        process = await controller(
            "--config", str(file), "--kubeconfig", kubeconfig, "--namespace", "kube-node-lease",
            "--metrics-port", str(port),
        )  # fmt: skip
        await lines_until(process, "leader.working")
        await eventually(lambda: api.objects("events.k8s.io", "events"))
        file.write_text("odd: 1")
        assert "odd: unknown key" in (await lines_until(process, "config.refused"))[-1]
        assert "[-]config " in await readyz()
        assert "[+]leadership ok (leader)" in await readyz()
        assert "schedulingGates" in api.objects("", "pods")[0]["spec"], "the old one is in force"
        file.write_text(CONFIG + "policy: {mode: audit}\n")
        await lines_until(process, "leader.working")
        await eventually(lambda: "schedulingGates" not in api.objects("", "pods")[0]["spec"])
        assert "[+]config ok" in await readyz()
        assert api.objects("coordination.k8s.io", "leases")[0]["spec"]["leaseTransitions"] == 0, "the same lease"
        process.send_signal(signal.SIGTERM)
        await lines_until(process, "controller.stopped")
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_stand_by_is_ready_writes_nothing_and_takes_over(tmp_path: Path, eventually: Any) -> None:
    file, port = tmp_path / "config.yaml", free_port()
    file.write_text(CONFIG)
    async with ApiServerDouble() as api, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
        arguments = ["--config", str(file), "--kubeconfig", kubeconfig, "--namespace", "kube-node-lease"]
        one = await controller(*arguments)
        await lines_until(one, "leader.working")
        two = await controller(*arguments, "--metrics-port", str(port))
        await lines_until(two, "controller.ready")
        async with http.get("/readyz?verbose") as answer:
            assert (answer.status, "[+]leadership ok (stand-by)" in await answer.text()) == (200, True)
        one.send_signal(signal.SIGTERM)
        await lines_until(one, "controller.stopped")
        assert await asyncio.wait_for(one.wait(), 10) == 0
        await lines_until(two, "leader.working")
        api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}, plural="nodes")
        await eventually(lambda: api.objects("tidegate.dev", "nodepulls"))
        two.send_signal(signal.SIGTERM)
        await lines_until(two, "controller.stopped")
        assert await asyncio.wait_for(two.wait(), 10) == 0
