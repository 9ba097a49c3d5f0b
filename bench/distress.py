"""What can be wrong with a replica, and the scene: home and local in here, a webhook with a failover, one without."""

import dataclasses
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml

from bench.processes import running
from tidegate.testing.certificates import issue
from tidegate.testing.images import Image, build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import Answer, RegistryDouble, Stall
from tidegate.testing.registry.faults import NO_FAULTS, Faults

HOST = "registry.bench.example"
PATH = "shop/checkout"
PATIENCE_S = 1.0
_COUNTED = re.compile(r'^tidegate_registry_requests_total\{.*replica="west".*\} ([0-9.e+]+)$', re.MULTILINE)
_OTHER = b'{"schemaVersion": 2, "not": "what was asked for"}'


@dataclass(frozen=True, slots=True)
class Trouble:
    """`faults` are what the local replica has while it lasts; None: nobody listens there."""

    name: str
    faults: Callable[[Sequence[Image]], Faults | None]


def _refuses(status: int, *headers: tuple[str, str]) -> Callable[[Sequence[Image]], Faults | None]:
    return lambda _: Faults(answers=(Answer(status=status, headers=headers),))


TROUBLES = (
    Trouble("stopped", lambda _: None),
    Trouble("blackholed (accepts, says nothing)", lambda _: Faults(stalls=(Stall(),))),
    Trouble("slow (0.8 s an answer)", lambda _: Faults(latency_s=0.8)),
    Trouble("503", _refuses(503)),
    Trouble("429, Retry-After: 5", _refuses(429, ("Retry-After", "5"))),
    Trouble("401", _refuses(401, ("WWW-Authenticate", 'Basic realm="west"'))),
    Trouble("lies (other bytes)", lambda images: Faults(lies={image.digest: _OTHER for image in images})),
)


@dataclass(slots=True)
class Gate:
    """One webhook process."""

    name: str
    port: int
    metrics_port: int
    log: Path

    async def asked(self, session: aiohttp.ClientSession) -> int:
        """Requests to the local replica so far, by its own count: failed connections are in it."""
        async with session.get(f"http://127.0.0.1:{self.metrics_port}/metrics/") as answer:
            return sum(int(float(count)) for count in _COUNTED.findall(await answer.text()))


@dataclass(slots=True)
class Scene:
    """What is up."""

    home: RegistryDouble
    west: RegistryDouble
    port: int
    """Of the local replica, whatever becomes of it."""
    gates: Sequence[Gate]
    session: aiohttp.ClientSession
    config: str
    known: Sequence[Image]
    new: Sequence[Image]
    stack: AsyncExitStack = field(repr=False)
    west_is: AsyncExitStack = field(repr=False)

    async def begin(self, trouble: Trouble) -> None:
        """From now on the local replica is in trouble."""
        faults = trouble.faults([*self.known, *self.new])
        if faults is None:
            await self.west_is.aclose()
        else:
            self.west.faults = dataclasses.replace(faults)

    async def end(self) -> None:
        """All is well again, at the same address."""
        await self.west_is.aclose()
        self.west_is = AsyncExitStack()
        west = RegistryDouble(port=self.port, faults=NO_FAULTS)
        put(west, [*self.known, *self.new])
        self.west = await self.west_is.enter_async_context(west)
        self.stack.push_async_callback(self.west_is.aclose)


def put(double: RegistryDouble, images: Sequence[Image]) -> None:
    """All of them, whole."""
    for image in images:
        double.put(PATH, image)


def reference(image: Image) -> str:
    """As a Pod has it."""
    return f"{HOST}/{PATH}@{image.digest}"


@asynccontextmanager
async def scene(folder: Path, *, known: int, new: int, seed: str) -> AsyncIterator[Scene]:
    """Both replicas have all images; nobody has been asked about any."""
    images = [build_image(layers=3, layer_bytes=256, seed=f"{seed}-{number}") for number in range(known + new)]
    certificate = issue("localhost", "127.0.0.1")
    cert, key = folder / "tls.crt", folder / "tls.key"
    cert.write_bytes(certificate.certificate)
    key.write_bytes(certificate.key)
    trust = ssl.create_default_context(cadata=certificate.authority.decode())
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(RegistryDouble())
        west_is = AsyncExitStack()
        west = await west_is.enter_async_context(RegistryDouble())
        stack.push_async_callback(west_is.aclose)
        for double in (home, west):
            put(double, images)
        gates = []
        for name, failover in (("no failover", []), ("failover: home", ["home"])):
            config = folder / f"{name.partition(':')[0].replace(' ', '-')}.yaml"
            config.write_text(yaml.safe_dump(_config(home.url, west.url, failover)), encoding="utf-8")
            gate = Gate(name, free_port(), free_port(), config.with_suffix(".log"))
            arguments = (
                "--config", str(config), "--tls-cert", str(cert), "--tls-key", str(key),
                "--port", str(gate.port), "--metrics-port", str(gate.metrics_port),
            )  # fmt: skip
            await stack.enter_async_context(running("webhook", arguments, port=gate.port, core=None, log=gate.log))
            gates.append(gate)
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Scene(
            home, west, int(west.netloc.rpartition(":")[2]), gates, session,
            yaml.safe_dump(_config(home.url, west.url, [])), images[:known], images[known:], stack, west_is,
        )  # fmt: skip


def _config(home: str, west: str, failover: Sequence[str]) -> Mapping[str, object]:
    listed = {
        "host": HOST, "home": "home", "local": "west", "failover": list(failover),
        "replicas": {"home": {"endpoint": home}, "west": {"endpoint": west}},
        "limits": {"requestsPerSecond": 1000, "burst": 1000, "connections": 64},
    }  # fmt: skip
    policy = {"mode": "enforce", "patience": f"{PATIENCE_S:g}s"}
    return {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [listed], "policy": policy}
