"""A scale-out in which programs are killed, streams cut and histories lost; the registry notices nothing."""

import asyncio
import time
from typing import Any

WITHIN_S = 60.0


async def test_a_controller_that_is_killed_and_comes_back_exceeds_nothing_and_loses_nothing(open_fleet: Any) -> None:
    async with open_fleet(nodes=6) as fleet:
        await fleet.start_all()
        fleet.want()
        await fleet.until(lambda: fleet.warm(2), within_s=WITHIN_S)
        await fleet.kill("controller")
        fleet.api.compact()
        await fleet.start_controller()
        await fleet.until(lambda: fleet.warm(6), within_s=WITHIN_S)
        assert fleet.replica.throttled == 0
        assert fleet.peak <= 3


async def test_streams_that_are_cut_and_histories_that_are_lost_delay_nobody(open_fleet: Any) -> None:
    async with open_fleet(nodes=4) as fleet:
        await fleet.start_all()
        fleet.want()
        for done in range(1, 4):
            await fleet.until(lambda done=done: fleet.warm(done), within_s=WITHIN_S)
            fleet.api.compact()
            fleet.api.cut()
        await fleet.until(lambda: fleet.warm(4), within_s=10)
        assert fleet.replica.throttled == 0
        assert fleet.peak <= 3


async def test_an_agent_that_is_killed_in_a_pull_frees_its_place_when_it_comes_back(open_fleet: Any) -> None:
    async with open_fleet(nodes=2, bandwidth=1 << 20) as fleet:
        await fleet.start_all()
        fleet.want()

        async def pulling() -> bool:
            return fleet.runtimes["node-0"].open_downloads > 0 and fleet.nodepulls()[0]["status"].get("pulling") != ""

        await fleet.until(pulling, within_s=WITHIN_S)
        await fleet.kill("agent node-0")
        await fleet.start_agent("node-0")
        await fleet.until(lambda: fleet.warm(2), within_s=WITHIN_S)
        assert fleet.replica.throttled == 0


async def test_warm_and_idle_costs_neither_cpu_nor_writes(open_fleet: Any) -> None:
    async with open_fleet(nodes=2) as fleet:
        await fleet.start_all()
        fleet.want()
        await fleet.until(lambda: fleet.warm(2), within_s=WITHIN_S)
        await asyncio.sleep(2)  # the last statuses: real time, as the programs' own
        requests, cpu, began = len(fleet.api.requests), sum(map(cpu_s, fleet.programs.values())), time.monotonic()
        await asyncio.sleep(3)
        elapsed = time.monotonic() - began
        written = [seen for seen in list(fleet.api.requests)[requests:] if seen.method != "GET"]
        assert [seen for seen in written if "/leases/" not in seen.path] == []
        assert 2 <= len(written) <= 2 + 3 / (0.75 * 0.4)  # of a lease of 3 s
        assert sum(map(cpu_s, fleet.programs.values())) - cpu < 0.05 * elapsed * len(fleet.programs)


def cpu_s(process: asyncio.subprocess.Process) -> float:
    """Seconds of processor time that a process has used."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:  # noqa: PTH123  no disk behind it
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
