"""The shipped program, with real requests to three replicas of which two lag."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.registry.replication import Lag

CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: r.example
    home: home
    local: west
    replicas: {{home: {{endpoint: "{home}"}}, west: {{endpoint: "{west}"}}, north: {{endpoint: "{north}"}}}}
"""


async def until(condition: Callable[[], Any], *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.02)


async def counted(url: str, *replicas: str) -> None:
    """Wait until the lag of one image is told of each."""
    lines = {f'tidegate_replica_lag_seconds_count{{registry="r.example",replica="{one}"}} 1.0' for one in replicas}
    async with asyncio.timeout(10), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url) as answer:
                if lines <= set((await answer.text()).splitlines()):
                    return
            await asyncio.sleep(0.02)


async def test_where_a_running_image_is_and_when_it_arrived(tmp_path: Path) -> None:
    async with ApiServerDouble() as api, RegistryDouble() as home, RegistryDouble() as west, RegistryDouble() as north:
        part, nothing = (
            west.replicate_from(home, lag=Lag(blobs_s=None)),
            north.replicate_from(home, lag=Lag(manifests_s=None, blobs_s=None)),
        )
        image = build_image(layers=3)
        home.put("app", image, tag="1")
        text = f"r.example/app:1@{image.digest}"
        spec = {"nodeName": "node-1", "containers": [{"name": "c", "image": text}]}
        metadata = {"name": "p", "namespace": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}
        api.put(pod, plural="pods")

        def status() -> dict[str, Any]:
            objects = api.objects("tidegate.dev", "imageavailabilities")
            return dict(objects[0].get("status", {})) if objects else {}

        config, port = tmp_path / "config.yaml", free_port()
        config.write_text(CONFIG.format(home=home.url, west=west.url, north=north.url))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controller", "--config", str(config), "--kubeconfig",
            str(api.kubeconfig(tmp_path / "kubeconfig")), "--namespace", "kube-node-lease", "--metrics-port", str(port),
            stderr=asyncio.subprocess.DEVNULL, env={"PATH": os.environ.get("PATH", "")}, cwd=Path(__file__).parents[4],
        )  # fmt: skip
        await until(lambda: (status().get("completeOn"), status().get("missingOn")) == ("home", "north,west"))
        entries = {entry["name"]: entry for entry in status()["replicas"]}
        assert entries["west"]["finding"] == "incomplete"
        assert (entries["west"]["missing"]["blobs"], len(entries["west"]["missing"]["first"])) == (4, 4)
        assert entries["north"]["finding"] == "absent"
        await until(lambda: [use["name"] for use in status().get("namespaces", ())] == ["default"])

        part.catch_up()
        nothing.catch_up()
        await until(lambda: status()["completeOn"] == "home,north,west")
        assert all(entry["lagSeconds"] >= (entry["name"] != "home") * 0.1 for entry in status()["replicas"])
        await counted(f"http://127.0.0.1:{port}/metrics", "north", "west")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        part.stop()
        nothing.stop()
