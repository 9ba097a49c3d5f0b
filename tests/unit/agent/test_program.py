"""`python -m agent` as it is shipped: a process beside a runtime, a registry and an API server that are doubles."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.own import NodeImageStatus, NodePull, Phase, Reason
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NODEPULLS
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import Answer, RegistryDouble, Stall
from tidegate.testing.runtime import RuntimeDouble

IMAGE = "registry.test/app:1"
WITHIN_S = 15.0

CONFIG = """\
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {local: {endpoint: "http://127.0.0.1:1"}}
"""


@dataclass
class Cluster:
    api: ApiServerDouble
    client: KubeClient
    plans: Reflector[NodePull]
    replica: RegistryDouble
    runtime: RuntimeDouble
    folder: Path

    async def plan(self, *images: dict[str, Any]) -> None:
        """The controller writes the spec of this node's NodePull."""
        await self.client.merge_patch(NODEPULLS, "node-1", {"spec": {"images": list(images)}})

    async def until(self, condition: Callable[[NodePull], bool]) -> NodePull:
        """Watch the NodePull until a condition holds."""
        revision = -1
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    revision = await self.plans.changed(revision)
                    plan = self.plans.objects.get("node-1")
                    if plan is not None and condition(plan):
                        return plan
        except TimeoutError:
            pytest.fail(f"not within {WITHIN_S:g} s; the last was {self.plans.objects.get('node-1')}")

    async def until_phase(self, phase: Phase) -> NodeImageStatus:
        plan = await self.until(lambda plan: [each.phase for each in plan.status.images] == [phase])
        return plan.status.images[0]

    @asynccontextmanager
    async def agent(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent", "--config", self.folder / "config.yaml", "--node", "node-1",
            "--kubeconfig", self.folder / "kubeconfig", "--cri-socket", self.runtime.socket, *arguments,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(WITHIN_S):
                    await process.communicate()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with (
        ApiServerDouble() as api,
        KubeClient(api.connection()) as client,
        RegistryDouble() as replica,
        RuntimeDouble(registries={"registry.test": replica.url}) as runtime,
    ):
        node = api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}, plural="nodes")
        uid = node["metadata"]["uid"]
        api.put(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "NodePull", "metadata": {"name": "node-1"},
                "spec": {"nodeUid": uid, "images": []},
            },
            plural="nodepulls",
        )  # fmt: skip
        api.kubeconfig(tmp_path / "kubeconfig")
        (tmp_path / "config.yaml").write_text(CONFIG)
        replica.put("app", build_image(layers=2), tag="1")
        plans = Reflector(client, NODEPULLS)
        watching = asyncio.create_task(plans.run(), name="test's own watch")
        yield Cluster(api, client, plans, replica, runtime, tmp_path)
        watching.cancel()
        await asyncio.wait([watching])


def granted(grant: str, *, seconds: float = 60) -> dict[str, Any]:
    expires = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    return {"image": IMAGE, "bytes": 8192, "grant": {"id": grant, "expiresAt": expires, "seconds": seconds}}


async def test_it_pulls_what_is_granted_and_says_so(cluster: Cluster) -> None:
    async with cluster.agent() as process:
        await cluster.plan({"image": IMAGE})
        assert (await cluster.until_phase(Phase.PENDING)).grant == ""
        assert len(cluster.replica.requests) == 0

        await cluster.plan(granted("g1"))
        status = await cluster.until_phase(Phase.PRESENT)
        assert (status.grant, status.attempts, status.bytes) == ("g1", 1, 8192)
        assert len(cluster.replica.requests) == 5
        process.terminate()
        _, stderr = await process.communicate()
    lines = [json.loads(line) for line in stderr.splitlines()]
    (ended,) = [line for line in lines if line["event"] == "pull.ended"]
    assert (ended["image"], ended["grant"], ended["result"], ended["attempt"]) == (IMAGE, "g1", "clean", 1)
    assert ended["seconds"] >= 0
    assert process.returncode == 0


async def test_it_pulls_as_many_at_once_as_the_file_lets_the_controller_grant(cluster: Cluster) -> None:
    (cluster.folder / "config.yaml").write_text(CONFIG + "prePull: {perNode: 2}\n")
    cluster.replica.put("app", build_image(layers=2, seed="second"), tag="2")
    cluster.replica.fault(stalls=(Stall(path="/blobs/"),))
    async with cluster.agent():
        await cluster.plan(granted("g1"), {**granted("g2"), "image": "registry.test/app:2"})
        await cluster.until(lambda plan: [each.phase for each in plan.status.images] == [Phase.PULLING] * 2)


async def test_a_changed_file_is_taken_in_place(cluster: Cluster) -> None:
    file = cluster.folder / "config.yaml"
    file.write_text(CONFIG.replace("registry.test", "other.test"))
    async with cluster.agent() as process:
        await cluster.plan(granted("g1"))
        assert "not a listed registry" in (await cluster.until_phase(Phase.FAILED)).message
        file.write_text(CONFIG)
        assert process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            while b"config.reloaded" not in await process.stderr.readline():
                pass
        await cluster.plan(granted("g2"))
        assert (await cluster.until_phase(Phase.PRESENT)).grant == "g2"


async def test_a_throttled_pull_waits_for_its_next_grant(cluster: Cluster) -> None:
    cluster.replica.fault(answers=(Answer(status=429, path="/blobs/"),))
    async with cluster.agent():
        await cluster.plan(granted("g1"))
        status = await cluster.until_phase(Phase.FAILED)
        assert (status.reason, status.throttled, status.grant) == (Reason.THROTTLED, True, "g1")
        assert "429 Too Many Requests" in status.message
        cluster.replica.fault(answers=())
        await cluster.plan(granted("g2"))
        status = await cluster.until_phase(Phase.PRESENT)
        assert (status.attempts, status.grant) == (2, "g2")


async def test_a_signal_in_mid_pull_cancels_it_says_so_and_ends_the_process(cluster: Cluster) -> None:
    cluster.replica.fault(stalls=(Stall(path="/blobs/"),))
    async with cluster.agent() as process:
        await cluster.plan(granted("g1"))
        await cluster.until_phase(Phase.PULLING)
        await cluster.replica.record.until(lambda record: len(record.matching("/blobs/")) > 0)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await process.communicate()
    assert process.returncode == 0
    status = await cluster.until_phase(Phase.FAILED)
    assert (status.reason, status.message) == (Reason.CANCELED, "the agent was stopped")
    await cluster.replica.record.until(lambda record: record.in_flight == 0)


async def test_a_grants_seconds_end_the_pull(cluster: Cluster) -> None:
    cluster.replica.fault(stalls=(Stall(path="/blobs/"),))
    async with cluster.agent():
        await cluster.plan(granted("g1", seconds=0.3))
        status = await cluster.until_phase(Phase.FAILED)
        assert status.reason is Reason.CANCELED
        await cluster.replica.record.until(lambda record: record.in_flight == 0)


async def test_a_pull_goes_on_while_the_api_server_is_away_and_is_told_afterwards(cluster: Cluster) -> None:
    cluster.replica.fault(latency_s=0.1)
    async with cluster.agent():
        await cluster.plan(granted("g1"))
        await cluster.until_phase(Phase.PULLING)
        cluster.api.cut()
        cluster.api.stall()
        await cluster.replica.record.until(lambda record: record.count() == 5 and record.in_flight == 0)
        cluster.api.resume()
        assert (await cluster.until_phase(Phase.PRESENT)).attempts == 1


async def test_an_agent_that_died_leaves_no_grant_to_its_successor(cluster: Cluster) -> None:
    cluster.replica.fault(stalls=(Stall(path="/blobs/"),))
    async with cluster.agent() as process:
        await cluster.plan(granted("g1"))
        await cluster.until_phase(Phase.PULLING)
        process.kill()
        await process.communicate()
    async with cluster.agent():
        status = await cluster.until_phase(Phase.FAILED)
        assert (status.reason, status.message) == (Reason.CANCELED, "the agent was restarted during this pull")


async def test_its_metrics_are_served_where_it_is_told(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with cluster.agent("--metrics-port", str(port)), aiohttp.ClientSession() as session:
        await cluster.plan(granted("g1"))
        await cluster.until_phase(Phase.PRESENT)
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
    assert 'tidegate_pull_duration_seconds_count{registry="registry.test"} 1.0' in text
    assert 'tidegate_build_info{program="agent"' in text
    assert "tidegate_config_valid 1.0" in text, "or every agent would look like one with a broken file"


@pytest.mark.parametrize(
    "arguments, words",
    [
        pytest.param(["--node", "n", "--kubeconfig", "/nowhere"], "required: --config", id="no-config"),
        pytest.param(["--config", "/nowhere", "--node", "n"], "/nowhere", id="config-missing"),
        pytest.param(["--config", "{config}"], "NODE_NAME", id="no-node"),
        pytest.param(["--config", "{config}", "--node", "n"], "--kubeconfig", id="no-cluster"),
        pytest.param(["--config", "{config}", "--node", "n", "--at-once", "0"], "--at-once", id="none-at-once"),
    ],
)
async def test_a_wrong_call_is_2_and_says_what_is_wrong(tmp_path: Path, arguments: list[str], words: str) -> None:
    config = tmp_path / "config.yaml"
    await asyncio.to_thread(config.write_text, CONFIG)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", *(each.format(config=config) for each in arguments),
        stderr=asyncio.subprocess.PIPE, env={},
    )  # fmt: skip
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert words in stderr.decode()
    assert "Traceback" not in stderr.decode()


async def test_it_imports_neither_the_kubernetes_models_nor_a_web_framework() -> None:
    script = "import json, sys, agent.__main__; print(json.dumps([*sys.modules]))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await process.communicate()
    assert not {"'kubernetes'", "'fastapi'", "'starlette'", "'uvicorn'"} & set(
        stdout.decode().strip("[]\n").split(", ")
    )
