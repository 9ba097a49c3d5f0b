"""`make bench-scaleout`: twelve real nodes, one image, a registry that throttles, and who is warm when.

Root, Linux; brings the bed of `tests/testbed` up with twelve nodes and takes it down again. In front of the registry
stands nginx with a request limit (429), so that every strategy meets the same wall; its log is what is counted.

- `herd`: a Deployment of twelve, one Pod a node; kubelet's own back-off. So is a Job for every node (kube-fledged).
- `fixed N`: N nodes at once, each trying again after a second.
- `one by one`: one node at once, trying again after 1, 2, 4 and 8 s (OpenKruise's ImagePullJob as it comes).
- `tidegate`: a PrePull, with the limit configured, and with the limit unknown.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests" / "cluster")]

import aiohttp  # noqa: E402 - after the path is set
from bed import TESTBED, Cluster, run  # noqa: E402
from install import install  # noqa: E402

from bench.wall import HOST, Wall, walled  # noqa: E402
from tidegate.testing.images import build_image  # noqa: E402
from tidegate.testing.push import push_image  # noqa: E402

LAYERS = 12
LAYER_BYTES = 4_000_000
COST = LAYERS + 3
"""A HEAD, the manifest, the config and the layers."""
RATE, BURST = 20, 10
HERD_S = 180.0
PULL_S = 60.0

CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
cluster: {{name: bed}}
registries:
  - host: {host}
    replicas: {{local: {{endpoint: "http://{host}", plainHTTP: true}}}}
    pulls: {pulls}
policy: {{mode: audit, unlisted: allow}}
"""
KNOWN = "{inFlight: 12, maxInFlight: 12, requestsPerSecond: 20, maxRequestsPerSecond: 20, burst: 10}"
UNKNOWN = "{inFlight: 2, maxInFlight: 12, requestsPerSecond: 5, maxRequestsPerSecond: 80, burst: 10}"

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {nodes}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "{image}"}}]
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{app: {name}}}}}}}
"""
PREPULL = """
apiVersion: tidegate.dev/v1alpha1
kind: PrePull
metadata: {{name: {name}, namespace: default}}
spec: {{images: ["{image}"]}}
"""
ONE_PULL = f"""
import asyncio, sys
from tidegate.cri import CriImages, PullError
async def pull():
    async with CriImages() as images:
        await images.pull(sys.argv[1], timeout={PULL_S})
try:
    asyncio.run(pull())
except PullError as exc:
    sys.exit(str(exc)[:200])
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy."""

    strategy: str
    warm: int
    seconds: float
    ratio: float
    """To the floor."""
    throttled: int
    requests: int
    peak: int
    """Nodes in the middle of a pull at once, by the wall's log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/scaleout.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="strategies whose name begins so")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    arguments = parser.parse_args(argv)
    with bed(arguments.nodes) as cluster, walled(arguments.nodes, rate=RATE, burst=BURST) as wall:
        bench = Scaleout(cluster, wall, arguments.nodes, floor_s=(arguments.nodes * COST - BURST) / RATE)
        rows = list(bench.rows(tuple(arguments.only)))
    if arguments.output == "json":
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    for line in _lines(rows, arguments.nodes, bench.floor_s):
        print(line)
    return 0


def _lines(rows: Sequence[Row], nodes: int, floor_s: float) -> Iterator[str]:
    yield f"{nodes} nodes, {LAYERS} layers, {COST} requests a pull, {RATE}/s, burst {BURST}; floor {floor_s:.1f} s"
    yield ""
    yield "| strategy | warm | all warm after, s | ÷ floor | 429 | requests | peak in flight |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        took = f"{row.seconds:.1f}" if row.warm == nodes else f"not after {row.seconds:.0f}"
        figures = (row.strategy, row.warm, took, f"{row.ratio:.2f}", row.throttled, row.requests, row.peak)
        yield f"| {' | '.join(map(str, figures))} |"


@contextmanager
def bed(nodes: int) -> Iterator[Cluster]:
    """The cluster, up while the block runs."""
    up = run([str(TESTBED / "up"), "--nodes", str(nodes), "--registries", "2"], timeout_s=2400)
    if up.code:
        raise RuntimeError(up.err)
    try:
        yield Cluster(kubeconfig=up.out.strip().splitlines()[-1])
    finally:
        run([str(TESTBED / "down")], timeout_s=120)


class Scaleout:
    """The strategies, one after the other, each with an image of its own."""

    def __init__(self, cluster: Cluster, wall: Wall, nodes: int, *, floor_s: float) -> None:
        self.floor_s = floor_s
        self._cluster = cluster
        self._wall = wall
        self._nodes = [f"node-{number}" for number in range(1, nodes + 1)]

    def rows(self, only: tuple[str, ...]) -> Iterator[Row]:
        """Each as it is done."""
        plans = {
            "tidegate, limit configured": lambda image: self._tidegate(image, KNOWN),
            "tidegate, limit unknown": lambda image: self._tidegate(image, UNKNOWN),
            "one by one": lambda image: self._pulled(image, at_once=1, pauses=(1, 2, 4, 8)),
            "fixed 3": lambda image: self._pulled(image, at_once=3, pauses=(1,)),
            "herd": self._herd,
        }
        for name, plan in plans.items():
            if only and not name.startswith(only):
                continue
            image = pushed(name)
            time.sleep(BURST / RATE + 1)  # the wall's bucket is full again
            self._wall.forget()
            seconds = plan(image)
            print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
            yield self._row(name, image, seconds)

    def _row(self, name: str, image: str, seconds: float) -> Row:
        seen = self._wall.seen()
        statuses = Counter(one.status for one in seen)
        warm = sum(self._has(node, image) for node in self._nodes)
        return Row(name, warm, seconds, seconds / self.floor_s, statuses[429], len(seen), self._wall.peak(seen))

    def _has(self, node: str, image: str) -> bool:
        listed = run([str(TESTBED / "in"), node, "ctr", "--namespace", "k8s.io", "images", "ls", "-q"])
        return any(image.partition("@")[2] in line for line in listed.out.splitlines())

    def _herd(self, image: str) -> float:
        began = time.monotonic()
        self._cluster.apply(DEPLOYMENT.format(name="herd", nodes=len(self._nodes), image=image))
        while time.monotonic() - began < HERD_S:
            pods = self._cluster.get("pods", "-l", "app=herd")["items"]
            ids = [one.get("imageID") for pod in pods for one in pod["status"].get("containerStatuses", [])]
            if sum(map(bool, ids)) == len(self._nodes):
                break
            time.sleep(0.2)
        took = time.monotonic() - began
        self._cluster.kubectl("delete", "deployment", "herd", "--wait=true")
        return took

    def _pulled(self, image: str, *, at_once: int, pauses: Sequence[float]) -> float:
        """By CRI from each node, as a DaemonSet would; the last pause repeats."""
        python, code = str(ROOT / ".venv/bin/python"), ONE_PULL

        async def one(node: str, slots: asyncio.Semaphore) -> None:
            async with slots:
                for attempt in range(100):
                    child = await asyncio.create_subprocess_exec(
                        str(TESTBED / "in"), node, python, "-c", code, image, cwd=ROOT,
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    )  # fmt: skip
                    if await child.wait() == 0:
                        return
                    await asyncio.sleep(pauses[min(attempt, len(pauses) - 1)])

        async def everywhere() -> None:
            slots = asyncio.Semaphore(at_once)
            async with asyncio.timeout(HERD_S), asyncio.TaskGroup() as tasks:
                for node in self._nodes:
                    tasks.create_task(one(node, slots))

        began = time.monotonic()
        asyncio.run(everywhere())
        return time.monotonic() - began

    def _tidegate(self, image: str, pulls: str) -> float:
        install(self._cluster, CONFIG.format(host=HOST, pulls=pulls))
        self._cluster.kubectl("rollout", "restart", "-n", "tidegate", "deployment/tidegate-controller")
        self._cluster.kubectl("rollout", "status", "-n", "tidegate", "deployment/tidegate-controller", "--timeout=60s")
        time.sleep(30)  # a leader that was not told goodbye has a lease
        self._wall.forget()
        began = time.monotonic()
        self._cluster.apply(PREPULL.format(name=f"p{int(time.time())}", image=image))
        while time.monotonic() - began < HERD_S:
            if present(self._cluster, image) == len(self._nodes):
                break
            time.sleep(0.2)
        return time.monotonic() - began


def pushed(name: str) -> str:
    """Push an image that nobody has a part of, past the wall; its reference through the wall."""
    image = build_image(layers=LAYERS, layer_bytes=LAYER_BYTES, seed=f"{name} {time.time()}")
    repository = f"scale/{name.replace(' ', '-').replace(',', '')}"

    async def push() -> None:
        async with aiohttp.ClientSession() as session:
            await push_image(session, "http://127.0.0.1:5001", repository, image, tag="1")

    asyncio.run(push())
    return f"{HOST}/{repository}:1@{image.digest}"


def present(cluster: Cluster, image: str) -> int:
    """On how many nodes it is, as their agents say."""
    found = cluster.get("nodepulls")["items"]
    entries = [entry for one in found for entry in one.get("status", {}).get("images", [])]
    return sum(entry["image"] == image and entry["phase"] == "Present" for entry in entries)


if __name__ == "__main__":
    sys.exit(main())
