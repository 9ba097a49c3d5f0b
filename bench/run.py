"""Alternating rounds: the floor, the webhook, the floor, the webhook; what is shown are medians, and ratios of pairs."""

import argparse
import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
import yaml

from bench import machine, reviews, tables
from bench.load import Exchange, Load, exchange
from bench.processes import ROOT, Child, Cores, free_port, pin, running
from tidegate.testing.certificates import issue
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble

CONNECTIONS = 16
HOST = "registry.bench.example"
_DISTINCT = 512
"""Reviews of one kind that differ in their uid."""
_STAGES_S = 120


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what is asked, and what each of the two has to answer."""

    name: str
    floor: Sequence[Exchange]
    ours: Sequence[Exchange]


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


@dataclass(frozen=True, slots=True)
class Bench:
    """What is up."""

    floor: Child
    ours: Child
    floor_load: Load
    ours_load: Load
    registry: RegistryDouble


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
    async with _up(cores) as bench:
        rows = []
        for number, case in enumerate(_cases(bench)):
            if number and arguments.first:
                break
            pairs = arguments.rounds if number == 0 else max(2, arguments.rounds // 2)
            rows.append(await _row(bench, case, pairs=pairs, seconds=arguments.seconds))
        return rows, {"floor": bench.floor.rss_mb(), "ours": bench.ours.rss_mb()}


@asynccontextmanager
async def _up(cores: Cores) -> AsyncIterator[Bench]:
    """A registry in this process, the two servers on their core, and warm connections to both."""
    certificate = issue("localhost", "127.0.0.1")
    trust = ssl.create_default_context(cadata=certificate.authority.decode())
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        cert, key, config = folder / "tls.crt", folder / "tls.key", folder / "config.yaml"
        cert.write_bytes(certificate.certificate)
        key.write_bytes(certificate.key)
        async with RegistryDouble() as registry:
            config.write_text(yaml.safe_dump(_config(registry.url)), encoding="utf-8")
            ports = free_port(), free_port()
            floor_is = ["bench.floor", [str(ports[0]), str(cert), str(key)]]
            ours_is = ["webhook", ["--config", str(config), "--tls-cert", str(cert), "--tls-key", str(key),
                                   "--port", str(ports[1]), "--metrics-port", str(free_port())]]  # fmt: skip
            async with (
                running(*floor_is, port=ports[0], core=cores.server, log=folder / "floor.log") as floor,
                running(*ours_is, port=ports[1], core=cores.server, log=folder / "webhook.log") as ours,
                _connected(floor, trust) as floor_load,
                _connected(ours, trust) as ours_load,
            ):
                yield Bench(floor, ours, floor_load, ours_load, registry)


@asynccontextmanager
async def _connected(child: Child, trust: ssl.SSLContext) -> AsyncIterator[Load]:
    load = Load(child.port, trust)
    try:
        await load.open(CONNECTIONS)
        yield load
    finally:
        load.close()


def _config(registry: str) -> dict[str, object]:
    listed = {"host": HOST, "replicas": {"here": {"endpoint": registry}}}
    return {
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [listed], "policy": {"mode": "enforce"},
    }  # fmt: skip


def _cases(bench: Bench) -> list[Case]:
    """Two images that the registry has, and one that it lacks."""
    app, proxy = build_image(layers=12, seed="app"), build_image(layers=8, seed="proxy")
    bench.registry.put("shop/checkout", app, tag="2.14.3")
    bench.registry.put("mesh/proxy", proxy, tag="1.30.2")
    known = [f"{HOST}/shop/checkout:2.14.3@{app.digest}", f"{HOST}/mesh/proxy:1.30.2@{proxy.digest}"]
    absent = [f"{HOST}/shop/checkout:2.15.0@{build_image(seed='later').digest}", known[1]]
    allowed = '"allowed":true,"auditAnnotations":{"verdict":"allow","finding":"ok","images":"'
    denied = '"allowed":false,"status":{"message":"absent: '
    return [
        _case(bench, "Pod, two known images", reviews.POD, reviews.pod(known), allowed),
        _case(bench, "Deployment, the same", reviews.DEPLOYMENT, reviews.deployment(known), allowed),
        _case(bench, "Pod, one image not there: refused", reviews.POD, reviews.pod(absent), denied),
    ]


def _case(bench: Bench, name: str, kind: reviews.Kind, made: reviews.Json, ours: str) -> Case:
    floor_port, our_port = bench.floor.port, bench.ours.port
    floor_says, ours_says = '{{"response":{{"uid":"{}","allowed":true}}', '{{"response":{{"uid":"{}",'
    bodies = reviews.bodies(kind, made, count=_DISTINCT)
    return Case(
        name,
        [exchange("/validate", floor_port, body, floor_says.format(uid).encode()) for uid, body in bodies],
        [exchange("/validate", our_port, body, (ours_says.format(uid) + ours).encode()) for uid, body in bodies],
    )


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
