"""What a run needs: a registry in this process, the two servers on their core, and reviews with their answers."""

import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench import reviews
from bench.load import Exchange, Load, exchange
from bench.processes import Child, Cores, running
from tidegate.testing.certificates import issue
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble

CONNECTIONS = 16
HOST = "registry.bench.example"
_DISTINCT = 512
"""Reviews of one kind that differ in their uid."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what is asked, and what each of the two has to answer."""

    name: str
    floor: Sequence[Exchange]
    ours: Sequence[Exchange]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is up."""

    floor: Child
    ours: Child
    floor_load: Load
    ours_load: Load
    registry: RegistryDouble


@asynccontextmanager
async def up(cores: Cores) -> AsyncIterator[Bench]:
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
            tls = str(cert), str(key)
            floor_is = (str(ports[0]), *tls)
            ours_is = (
                "--config", str(config), "--tls-cert", tls[0], "--tls-key", tls[1],
                "--port", str(ports[1]), "--metrics-port", str(free_port()),
            )  # fmt: skip
            async with (
                running("bench.floor", floor_is, port=ports[0], core=cores.server, log=folder / "floor.log") as floor,
                running("webhook", ours_is, port=ports[1], core=cores.server, log=folder / "webhook.log") as ours,
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


def cases(bench: Bench) -> list[Case]:
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
