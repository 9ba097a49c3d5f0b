"""Alternating rounds: the floor, the webhook, the floor, the webhook; shown are medians, and ratios of pairs."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import uvloop

from bench import machine, tables
from bench.bed import Bench, Case, cases, up
from bench.load import Exchange, Load
from bench.processes import ROOT, Child, Cores, pin

_STAGES_S = 120


@dataclass(frozen=True, slots=True)
class Round:
    """One server in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float | None
    busy: float | None
    """CPU seconds per second: near 1 where the server is what limits."""


@dataclass(frozen=True, slots=True)
class Row:
    """A case, measured; figures are medians over its rounds."""

    name: str
    bytes: int
    pairs: int
    floor: Round
    ours: Round
    ratio: float
    """Reviews per second, ours to the floor's: the median of the pairs."""
    lowest: float
    highest: float
    cpu_ratio: float | None
    """CPU of the floor to ours: the same question, but what else runs on the machine counts less."""
    registry_requests: int
    """During the rounds."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    arguments = _parse(argv)
    cores = Cores.available()
    pin(cores.load)
    rows, rss = uvloop.run(_measure(arguments, cores))
    stages = _stages(cores) if arguments.stages else None
    if arguments.output == "json":
        print(json.dumps({"machine": machine.described(cores), "rows": [asdict(r) for r in rows], "rss_mb": rss,
                          "stages": stages}, indent=2))  # fmt: skip
    else:
        print("\n".join(tables.lines(machine.described(cores), rows, rss, stages)))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/webhook.py", description="The webhook against a bare endpoint.")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of the first row; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round; default: %(default)s")
    parser.add_argument("--first", action="store_true", help="only the first row")
    parser.add_argument("--no-stages", dest="stages", action="store_false", help="without the second table")
    parser.add_argument("--output", choices=["text", "json"], default="text")
    return parser.parse_args(argv)


async def _measure(arguments: argparse.Namespace, cores: Cores) -> tuple[list[Row], dict[str, float | None]]:
    async with up(cores) as bench:
        rows = []
        for number, case in enumerate(cases(bench)):
            if number and arguments.first:
                break
            pairs = arguments.rounds if number == 0 else max(2, arguments.rounds // 2)
            rows.append(await _row(bench, case, pairs=pairs, seconds=arguments.seconds))
        return rows, {"floor": bench.floor.rss_mb(), "ours": bench.ours.rss_mb()}


async def _row(bench: Bench, case: Case, *, pairs: int, seconds: float) -> Row:
    await bench.ours_load.round(case.ours, 0.5)  # whoever comes first pays for what is remembered from then on
    before = bench.registry.count()
    floors: list[Round] = []
    ours: list[Round] = []
    for _ in range(pairs):
        floors.append(await _round(bench.floor, bench.floor_load, case.floor, seconds))
        ours.append(await _round(bench.ours, bench.ours_load, case.ours, seconds))
    ratios = [mine.per_second / its.per_second for its, mine in zip(floors, ours, strict=True)]
    floor, our = _median(floors), _median(ours)
    cheaper = floor.cpu_s_per_1000 / our.cpu_s_per_1000 if floor.cpu_s_per_1000 and our.cpu_s_per_1000 else None
    return Row(
        case.name, _body_bytes(case), pairs, floor, our, statistics.median(ratios), min(ratios), max(ratios), cheaper,
        bench.registry.count() - before,
    )  # fmt: skip


async def _round(child: Child, load: Load, exchanges: Sequence[Exchange], seconds: float) -> Round:
    await load.round(exchanges, 0.2)
    cpu = child.cpu_s()
    sent = await load.round(exchanges, seconds)
    used = None if cpu is None else (child.cpu_s() or 0.0) - cpu
    times = sorted(sent.latencies)
    count = len(times)
    return Round(
        per_second=count / sent.elapsed, p50_ms=times[count // 2] * 1e3, p99_ms=times[count * 99 // 100] * 1e3,
        cpu_s_per_1000=None if used is None else used / count * 1e3, busy=None if used is None else used / sent.elapsed,
    )  # fmt: skip


def _median(rounds: Sequence[Round]) -> Round:
    def of(values: Sequence[float | None]) -> float | None:
        there = [value for value in values if value is not None]
        return statistics.median(there) if there else None

    return Round(
        per_second=statistics.median(r.per_second for r in rounds), p50_ms=statistics.median(r.p50_ms for r in rounds),
        p99_ms=statistics.median(r.p99_ms for r in rounds), cpu_s_per_1000=of([r.cpu_s_per_1000 for r in rounds]),
        busy=of([r.busy for r in rounds]),
    )  # fmt: skip


def _body_bytes(case: Case) -> int:
    return len(case.ours[0].request.partition(b"\r\n\r\n")[2])


def _stages(cores: Cores) -> dict[str, float]:
    """In a process of its own, on the servers' core."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.stages", "--core", str(-1 if cores.server is None else cores.server)],
        cwd=ROOT, check=True, capture_output=True, timeout=_STAGES_S,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found
