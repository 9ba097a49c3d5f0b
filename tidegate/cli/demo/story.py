"""The whole story, in order: the gate, then the scale-out three times."""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tidegate.cli.demo.budgeted import open_cluster
from tidegate.cli.demo.fleet import open_fleet
from tidegate.cli.demo.gate import open_gate
from tidegate.cli.demo.result import DemoResult
from tidegate.cli.demo.scene import (
    BANDWIDTH,
    BURST,
    LAYERS,
    NODES,
    PULL_COST,
    REQUESTS_PER_SECOND,
    heavy_image,
    heavy_reference,
    wire_s,
)
from tidegate.cli.demo.screen import Screen
from tidegate.cli.demo.without import fixed_bound, herd


async def tell(screen: Screen) -> DemoResult:
    """Run it. Raises ProgramFailed when a program does not do its part."""
    image = heavy_image()
    reference = heavy_reference(image)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-demo-")))
        gate = await stack.enter_async_context(open_gate(folder))
        fleets = [
            await stack.enter_async_context(open_fleet(title, image)) for title in ("herd", "three at once", "tidegate")
        ]
        cluster = await stack.enter_async_context(open_cluster(fleets[2], folder))

        screen.heading("Nothing enters the cluster before its image has come in")
        await gate.ready()
        gated = await gate.roll_out(screen.told)

        screen.heading("Nothing floods the registry")
        screen.told(
            "step",
            f"{len(NODES)} new nodes want one image of {LAYERS} layers ({PULL_COST} requests a pull); "
            f"the replica bears {REQUESTS_PER_SECOND:g} requests/s, a burst of {BURST}, and {BANDWIDTH >> 20} MiB/s",
        )
        await cluster.ready()
        async with screen.race(fleets):
            await herd(fleets[0], reference)
            await fixed_bound(fleets[1], reference)
            await cluster.scale_out(fleets[2], reference)
        naive, fixed, budgeted = (fleet.result() for fleet in fleets)
    result = DemoResult(gated, naive, fixed, budgeted, wire_s(image))
    screen.summary(result)
    return result
