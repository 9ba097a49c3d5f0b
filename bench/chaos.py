"""`make bench-chaos`: a scale-out while its parts are killed at random, and what the registry saw of it.

Root, Linux. Twelve real nodes want three images under a budget of three pulls at once; meanwhile controllers, agents,
containerds and the API server are killed without a word, thirty times in all. In the end every node has to be warm, and
the log of the wall before the registry must never show more nodes at once than the budget allows.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:1] = [str(ROOT), str(ROOT / "tests" / "cluster")]

from bed import TESTBED, Cluster, run  # noqa: E402 - after the path is set
from install import install  # noqa: E402

from bench.scaleout import BURST, CONFIG, HOST, RATE, bed, present, pushed  # noqa: E402
from bench.wall import Wall, walled  # noqa: E402

IN_FLIGHT = 3
IMAGES = 3
PULLS = (
    f"{{inFlight: {IN_FLIGHT}, maxInFlight: {IN_FLIGHT}, requestsPerSecond: 10, maxRequestsPerSecond: 10, burst: 10}}"
)
WARM_S = 600.0
TAINT = "tidegate.dev/not-ready"
PREPULL = """
apiVersion: tidegate.dev/v1alpha1
kind: PrePull
metadata: {{name: chaos, namespace: default}}
spec: {{images: [{images}], tolerations: [{{operator: Exists}}]}}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Kill and print."""
    parser = argparse.ArgumentParser(prog="bench/chaos.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=11, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    with bed(arguments.nodes) as cluster, walled(arguments.nodes, rate=RATE, burst=BURST) as wall:
        install(cluster, CONFIG.format(host=HOST, pulls=PULLS))
        return _chaos(cluster, wall, arguments.nodes, arguments.kills, random.Random(arguments.seed))  # noqa: S311 - repeatable


def _chaos(cluster: Cluster, wall: Wall, nodes: int, kills: int, chance: random.Random) -> int:
    images = [pushed(f"chaos {number}") for number in range(IMAGES)]
    for number in range(1, nodes + 1):
        cluster.kubectl("taint", "node", f"node-{number}", f"{TAINT}=:NoSchedule", "--overwrite")
    wall.forget()
    began = time.monotonic()
    cluster.apply(PREPULL.format(images=", ".join(f'"{image}"' for image in images)))
    killed = Counter(_killings(cluster, nodes, kills, chance))
    print(f"killed in {time.monotonic() - began:.0f} s: {dict(killed)}", flush=True)
    while (warm := sum(present(cluster, image) == nodes for image in images)) < IMAGES:
        if time.monotonic() - began > WARM_S:
            break
        time.sleep(1)
    seen = wall.seen()
    statuses = Counter(one.status for one in seen)
    peak = wall.busy(seen)
    tainted = [n["metadata"]["name"] for n in cluster.get("nodes")["items"] if TAINT in str(n["spec"].get("taints"))]
    print(f"{warm} of {IMAGES} images on all {nodes} nodes after {time.monotonic() - began:.0f} s")
    print(f"{len(seen)} requests, {statuses[429]} × 429; at most {peak} nodes at once, the budget is {IN_FLIGHT}")
    print(f"nodes that still carry {TAINT}: {', '.join(tainted) or 'none'}")
    return 0 if warm == IMAGES and peak <= IN_FLIGHT and not tainted else 1


def _killings(cluster: Cluster, nodes: int, kills: int, chance: random.Random) -> list[str]:
    """What was killed, in order."""
    whom: dict[str, Callable[[], bool]] = {
        "controller": lambda: _kill_in_pod(cluster, "app=tidegate-controller", chance),
        "agent": lambda: _kill_in_pod(cluster, "app=tidegate-agent", chance),
        "containerd": lambda: _kill_containerd(f"node-{chance.randint(1, nodes)}"),
        "kube-apiserver": _kill_api_server,
    }
    done = []
    while len(done) < kills:
        name = chance.choices(list(whom), weights=[4, 8, 8, 2])[0]
        if whom[name]():
            done.append(name)
            print(f"  {len(done)}: {name}", flush=True)
        time.sleep(chance.uniform(0.5, 2.5))
    return done


def _kill_in_pod(cluster: Cluster, selector: str, chance: random.Random) -> bool:
    pods = cluster.get("pods", "-n", "tidegate", "-l", selector)["items"]
    running = [
        (pod["spec"]["nodeName"], one["containerID"].removeprefix("containerd://"))
        for pod in pods
        for one in pod["status"].get("containerStatuses", [])
        if "running" in one["state"]
    ]
    if not running:
        return False
    node, container = chance.choice(running)
    tasks = run([str(TESTBED / "in"), node, "ctr", "--namespace", "k8s.io", "tasks", "ls"]).out
    pid = next((line.split()[1] for line in tasks.splitlines() if line.startswith(container)), None)
    return pid is not None and run([str(TESTBED / "in"), node, "kill", "-9", pid]).code == 0


def _kill_containerd(node: str) -> bool:
    return run([str(TESTBED / "in"), node, "sh", "-c", "kill -9 $(cat /run/testbed/containerd.pid)"]).code == 0


def _kill_api_server() -> bool:
    """And started again, as a static Pod would be."""
    folder = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
    os.kill(int((folder / "run" / "kube-apiserver.pid").read_text().split()[0]), signal.SIGKILL)
    time.sleep(3)
    return run([str(TESTBED / "up"), "--nodes", "1", "--registries", "2"], timeout_s=120).code == 0


if __name__ == "__main__":
    sys.exit(main())
