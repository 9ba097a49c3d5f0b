"""`make bench-holding`: ten thousand held Pods of five images, and the shipped controller that looks after them.

The API server and the replica are the doubles, in this process; the controller is a process of its own. Printed are the
requests to the replica while all wait (against one question a Pod and second, the naive way), the time from the
arrival of the images to the last open gate, and what the controller took of memory and CPU.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import yaml

from bench.processes import Child, Cores, pin, running
from tidegate.kube.own import REPLICA_GATE
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.registry.replication import Lag, Replication

HOST = "registry.bench.example"
IMAGES = 5
LAYERS = 12
SETTLE_S = 180.0
RELEASE_S = 300.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run; seconds and 10^6 bytes."""

    pods: int
    waited_s: float
    requests_per_s: float
    first_s: float
    all_s: float
    rss_mb: float | None
    cpu_waiting: float | None
    """CPU seconds per second while all wait."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/holding.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--pods", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--wait", type=float, default=20.0, metavar="S", help="how long they wait; default: %(default)s"
    )
    arguments = parser.parse_args(argv)
    cores = Cores.available()
    pin(cores.load)
    figures = asyncio.run(_measure(arguments.pods, arguments.wait, cores))
    naive = figures.pods
    print(f"{figures.pods:,} held Pods of {IMAGES} images of {LAYERS + 1} blobs, waiting for {figures.waited_s:.0f} s")
    print(
        f"requests to the replica while waiting: {figures.requests_per_s:.1f}/s "
        f"({figures.requests_per_s / naive:.5f} of one a Pod and second)"
    )
    print(f"released: the first {figures.first_s:.1f} s, the last {figures.all_s:.1f} s after the images arrived")
    print(f"the controller: RSS {figures.rss_mb or 0:.0f} MB, {figures.cpu_waiting or 0:.0%} of a core while all wait")
    return 0


async def _measure(pods: int, wait_s: float, cores: Cores) -> Figures:
    async with RegistryDouble() as home, RegistryDouble() as replica, ApiServerDouble() as api:
        replication = replica.replicate_from(home, lag=Lag(blobs_s=None))
        images = []
        for number in range(IMAGES):
            image = build_image(layers=LAYERS, seed=number)
            home.put(f"shop/app-{number}", image)
            images.append(f"{HOST}/shop/app-{number}@{image.digest}")
        for number in range(pods):
            _held(api, number, images[number % IMAGES])
        async with _controlled(api, replica.url, cores) as (child, sample):
            await _until(lambda: sample() == pods, within_s=SETTLE_S, what="all Pods are known to be held")
            await asyncio.sleep(5.0)  # the first Events are on their way meanwhile; they are none of the registry's
            asked, cpu, began = replica.count(), child.cpu_s(), time.monotonic()
            await asyncio.sleep(wait_s)
            waited_s = time.monotonic() - began
            rate = (replica.count() - asked) / waited_s
            busy = None if cpu is None else ((child.cpu_s() or cpu) - cpu) / waited_s
            first_s, all_s = await _released(api, replication, pods)
            return Figures(pods, waited_s, rate, first_s, all_s, child.rss_mb(), busy)


async def _released(api: ApiServerDouble, replication: Replication, pods: int) -> tuple[float, float]:
    """Seconds from the arrival to the first and to the last open gate, as the API server sees the patches."""
    opened = 0

    def patches() -> int:
        return sum(seen.method == "PATCH" and "/pods/" in seen.path for seen in api.requests)

    before = patches()
    replication.catch_up()
    began, first_s = time.monotonic(), 0.0
    while opened < pods:
        await asyncio.sleep(0.1)
        opened = patches() - before
        if opened and not first_s:
            first_s = time.monotonic() - began
        if time.monotonic() - began > RELEASE_S:
            message = f"only {opened} of {pods} were released after {RELEASE_S:g} s"
            raise RuntimeError(message)
    return first_s, time.monotonic() - began


@asynccontextmanager
async def _controlled(
    api: ApiServerDouble, replica: str, cores: Cores
) -> AsyncIterator[tuple[Child, Callable[[], float]]]:
    """The controller as a process, and how many Pods it says are held."""
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        config, port = folder / "config.yaml", free_port()
        listed = {"host": HOST, "replicas": {"local": {"endpoint": replica}}}
        document = {
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [listed],
            "policy": {"mode": "enforce", "hold": {"deadline": "1h"}},
        }  # fmt: skip
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        kubeconfig = api.kubeconfig(folder / "kubeconfig")
        arguments = (
            "--config",
            str(config),
            "--kubeconfig",
            str(kubeconfig),
            "--metrics-port",
            str(port),
            "--namespace",
            "default",
        )
        async with running(
            "controller", arguments, port=port, core=cores.server, log=folder / "controller.log"
        ) as child:
            yield child, lambda: _held_pods(port)


def _held_pods(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("tidegate_held_pods "):
                return float(line.split()[1])
    return -1.0


def _held(api: ApiServerDouble, number: int, image: str) -> None:
    api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"app-{number}", "namespace": "default", "labels": {"app": "app"}},
            "spec": {
                "containers": [{"name": "app", "image": image}],
                "schedulingGates": [{"name": REPLICA_GATE}],
            },
        },
        plural="pods",
    )


async def _until(holds: Callable[[], bool], *, within_s: float, what: str) -> None:
    end = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        if time.monotonic() > end:
            message = f"not after {within_s:g} s: {what}"
            raise RuntimeError(message)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
