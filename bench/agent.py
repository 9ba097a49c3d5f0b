"""What one agent costs its node: memory and processor time, idle and during a large pull.

    python -m bench.agent [--idle SECONDS] [--bytes N]

The shipped program, as a process of its own, beside a runtime, a registry and an API server in this one. Its runtime is
asked, listened to and looked at as containerd is; what the agent holds does not depend on which of them answers.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.processes import ROOT, Child
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import NODEPULLS
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.runtime import RuntimeDouble

IMAGE = "registry.test/app:1"
LAYERS = 8
SETTLE_S = 10.0
WITHIN_S = 300.0
CONFIG = """\
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {local: {endpoint: "http://127.0.0.1:1"}}
"""


@dataclass(slots=True)
class Figures:
    """Of one run."""

    idle_mb: float = 0.0
    idle_cpu_s_per_hour: float = 0.0
    pull_mb: float = 0.0
    pull_cpu_s: float = 0.0
    pull_s: float = 0.0
    writes: int = 0
    phase: str = ""

    def lines(self, size: int) -> list[str]:
        """As they are printed."""
        pull = f"{self.pull_mb:.1f} MB at most, {self.pull_cpu_s:.2f} s of processor time"
        return [
            f"idle: {self.idle_mb:.1f} MB resident, {self.idle_cpu_s_per_hour:.1f} s of processor time an hour",
            f"pull of {size / 1e9:.2f} GB in {self.pull_s:.1f} s ({self.phase}): {pull}, {self.writes} writes",
        ]


async def _run(*, idle_s: float, size: int) -> Figures:
    figures = Figures()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api = await stack.enter_async_context(ApiServerDouble())
        client = await stack.enter_async_context(KubeClient(api.connection()))
        replica = await stack.enter_async_context(RegistryDouble())
        runtime = await stack.enter_async_context(RuntimeDouble(registries={"registry.test": replica.url}))
        node = api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}, plural="nodes")
        api.put(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "NodePull", "metadata": {"name": "node-1"},
                "spec": {"nodeUid": node["metadata"]["uid"], "images": [{"image": IMAGE, "bytes": size}]},
            },
            plural="nodepulls",
        )  # fmt: skip
        await asyncio.to_thread((folder / "config.yaml").write_text, CONFIG)
        replica.put("app", build_image(layers=LAYERS, layer_bytes=size // LAYERS), tag="1")
        child = await _started(stack, folder, runtime.socket, api.url)
        await asyncio.sleep(SETTLE_S)
        before = child.cpu_s() or 0.0
        await asyncio.sleep(idle_s)
        figures.idle_mb = child.rss_mb() or 0.0
        figures.idle_cpu_s_per_hour = ((child.cpu_s() or 0.0) - before) * 3600 / idle_s
        replica.fault(bandwidth=size / 20)
        await _pull(client, child, figures, size)
    return figures


async def _started(stack: AsyncExitStack, folder: Path, socket: str, url: str) -> Child:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.agent_alone", url, "--config", folder / "config.yaml", "--node", "node-1",
        "--cri-socket", socket,
        cwd=ROOT, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    async def stop() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
    return Child(process.pid, 0)


async def _pull(client: KubeClient, child: Child, figures: Figures, size: int) -> None:
    clock = asyncio.get_running_loop().time
    before, began = child.cpu_s() or 0.0, clock()
    expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    grant = {"id": "g1", "expiresAt": expires, "seconds": WITHIN_S}
    spec = {"images": [{"image": IMAGE, "bytes": size, "grant": grant}]}
    await client.merge_patch(NODEPULLS, "node-1", {"spec": spec})
    seen: set[str] = set()
    async with asyncio.timeout(WITHIN_S):
        while figures.phase not in {"Present", "Failed"}:
            await asyncio.sleep(0.1)
            plan = await client.get(NODEPULLS, "node-1")
            figures.pull_mb = max(figures.pull_mb, child.rss_mb() or 0.0)
            figures.phase = plan.status.images[0].phase if plan.status.images[0].grant == "g1" else ""
            seen.add(plan.metadata.resource_version)
    figures.pull_s, figures.pull_cpu_s = clock() - began, (child.cpu_s() or 0.0) - before
    figures.writes = len(seen) - 1  # the first is the grant's own


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--idle", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    given = parser.parse_args()
    print("\n".join(asyncio.run(_run(idle_s=given.idle, size=given.bytes)).lines(given.bytes)))


if __name__ == "__main__":
    main()
