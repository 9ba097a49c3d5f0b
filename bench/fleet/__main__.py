"""`make bench-fleet`: what thousands of nodes cost, on a real API server with etcd and with the shipped controller.

The agents are simulated, hundreds in a process (`bench.fleet.agents`): their loop, their watch and their writes are
real, their pulls are naps. For each size: Nodes are made, agents open their watches, the controller starts, then one
PrePull asks for all images on all nodes. Once all have heard of it and all slots are in use, what happens in a window
is measured; the run ends with the window or when every node has everything, whichever comes first. A pull takes as long
as makes the same number of pulls a second at every size, so what grows between sizes is due to the nodes.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.fleet.run import Size, measure
from bench.fleet.table import lines
from bench.machine import processor


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/fleet", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--nodes", type=int, nargs="+", default=[500, 5000], metavar="N", help="default: 500 and 5,000 in turn"
    )
    parser.add_argument("--images", type=int, default=20, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=20.0, metavar="N", help="pulls a second, at all sizes; default: %(default)g"
    )
    parser.add_argument(
        "--share", type=float, default=0.15, metavar="X", help="of the nodes may pull at once; default: %(default)g"
    )
    parser.add_argument("--window", type=float, default=120.0, metavar="S", help="measured; default: %(default)g")
    parser.add_argument("--each", type=int, default=625, metavar="N", help="agents a process; default: %(default)s")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where logs stay; default: nowhere")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what was started would go on
    before = os.getloadavg()[0]
    measured = []
    for nodes in arguments.nodes:
        in_flight = max(1, round(nodes * arguments.share))
        size = Size(
            nodes=nodes, images=arguments.images, in_flight=in_flight, pull_s=in_flight / arguments.rate,
            window_s=arguments.window, each=arguments.each,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="tidegate-fleet-") as name:
            folder = Path(name) if arguments.keep is None else arguments.keep / str(nodes)
            folder.mkdir(parents=True, exist_ok=arguments.keep is None)  # a new one: an old server left its state
            measured.append(asyncio.run(measure(size, folder)))
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} × {processor()}; all on the same cores; "
        f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    print()
    for line in lines(measured):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
