"""The webhook's application, asked without a socket, over a checker that knows what it is told."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from tidegate.findings import Finding, ImageFinding, Missing
from tidegate.metrics import Metrics
from tidegate.policy import Policy, Runs, Settings
from tidegate.reference import Digest, ImageReference
from tidegate.registry.errors import NotFound
from tidegate.testing.admission import Answer, patch_of, patched, pod, pod_spec, review
from tidegate.testing.certificates import ServerCertificate, issue
from tidegate.testing.ports import free_port
from webhook.app import Health, create_app
from webhook.gate import Gate
from webhook.rules import Rules

DIGEST = "sha256:" + "a" * 64
JSON = {"content-type": "application/json"}


def pinned(name: str) -> str:
    """An image of the listed registry by digest."""
    return f"r.example/{name}@{DIGEST}"


class KnownImages:
    """Findings by repository path; `memory` is what needs no asking."""

    def __init__(self) -> None:
        self.memory: dict[str, Finding] = {}
        self.replica: dict[str, Finding | Exception] = {}
        self.tags: dict[str, Digest | Exception] = {}
        """By repository path and tag, as home has them."""
        self.resolved: list[tuple[str, float]] = []
        self.asked: list[tuple[str, float]] = []
        self.recalled: list[str] = []
        self.hold: asyncio.Event | None = None
        self._more = asyncio.Event()

    async def until(self, count: int) -> None:
        """Returns when so many have asked."""
        while len(self.asked) < count:
            self._more.clear()
            await self._more.wait()

    def recall(self, image: str, reference: ImageReference) -> ImageFinding | None:
        self.recalled.append(image)
        finding = self.memory.get(reference.path)
        return None if finding is None else found(image, finding)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        self.asked.append((image, deadline - asyncio.get_running_loop().time()))
        self._more.set()
        if self.hold is not None:
            await self.hold.wait()
        finding = self.replica.get(reference.path, Finding.OK)
        if isinstance(finding, Exception):
            raise finding
        return found(image, finding)

    async def resolve(self, reference: ImageReference, *, deadline: float) -> Digest:
        name = f"{reference.path}:{reference.tag or 'latest'}"
        self.resolved.append((name, deadline - asyncio.get_running_loop().time()))
        digest = self.tags.get(name, NotFound("no such tag", replica="home"))
        if isinstance(digest, Exception):
            raise digest
        return digest


def found(image: str, finding: Finding) -> ImageFinding:
    missing = Missing(blobs=3, of_blobs=12, bytes=1_100_000_000) if finding is Finding.INCOMPLETE else Missing()
    return ImageFinding(image, finding, replica="westeurope", missing=missing)


class Labels:
    """Namespaces with their labels."""

    def __init__(self) -> None:
        self.known: dict[str, Mapping[str, str]] = {}

    def knows(self, name: str) -> bool:
        del name
        return True

    async def appear(self, name: str, *, until: float) -> None:
        """Nothing is waited for."""

    def labels(self, name: str) -> Mapping[str, str]:
        return self.known.get(name, {})


class Ran:
    """Which image strings ran in which namespaces; counts how often that is asked."""

    def __init__(self) -> None:
        self.known: dict[str, set[str]] = {}
        self.asked = 0
        self.lacking: dict[Finding, datetime] = {}
        """Since when replicas lack what is asked about, by finding."""

    def runs(self, images: Mapping[str, ImageReference], *, namespace: str) -> Runs:
        self.asked += 1
        anywhere = set().union(*self.known.values())
        return Runs(frozenset(images) & self.known.get(namespace, set()), frozenset(images) & anywhere)

    def since(self, finding: ImageFinding, reference: ImageReference) -> datetime | None:
        del reference
        return self.lacking.get(finding.finding)


@dataclass(slots=True)
class Webhook:
    """The application with all that it stands on."""

    app: Any
    gate: Gate
    checker: KnownImages
    namespaces: Labels
    health: Health
    metrics: Metrics
    settings: Settings = field(default_factory=Settings)
    ran: Ran = field(default_factory=Ran)

    def use(self, policy: Policy) -> None:
        self.gate.rules = Rules(policy, frozenset({"r.example"}), self.checker)

    async def call(
        self,
        method: str,
        path: str,
        parts: Iterable[bytes] = (b"",),
        *,
        query: str = "",
        headers: Mapping[str, str] = JSON,
        leaves: bool = False,
    ) -> Answer:
        """One request; the body comes in these parts, and after them the client goes or waits."""
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages[-1]["more_body"] = leaves
        waiting = iter(messages)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return next(waiting, None) or {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "scheme": "https",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await self.app(scope, receive, send)
        start = sent[0]
        return Answer(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )

    async def judge(self, review: object, path: str = "/validate", *, query: str = "timeout=10s") -> Answer:
        body = review if isinstance(review, bytes) else json.dumps(review).encode()
        return await self.call("POST", path, [body], query=query)


class Ring:
    """Keys that a test hands out, and a clock that stands."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {"0001": b"k" * 32}
        self.now = 1_800_000_000.0

    def keys(self) -> Mapping[str, bytes]:
        return self.known

    def clock(self) -> float:
        return self.now


def opened(ring: Ring | None = None, *, holds: bool = False) -> Webhook:
    """Enforces, unless a test says otherwise."""
    metrics = Metrics(CollectorRegistry(), program="webhook")
    checker, namespaces, health = KnownImages(), Labels(), Health()
    rules = Rules(Policy(), frozenset({"r.example"}), checker)
    given = ring or Ring()
    ran = Ran()
    gate = Gate(rules, namespaces=namespaces, metrics=metrics, keys=ring, clock=given.clock, running=ran, holds=holds)
    app = create_app(gate, health=health, metrics=metrics)
    running = Webhook(app, gate, checker, namespaces, health, metrics, ran=ran)
    running.namespaces.known["shop"] = {"tidegate.dev/mode": "enforce"}
    return running


@pytest.fixture
async def webhook() -> Webhook:
    """Standalone: nobody holds, and nothing is signed."""
    return opened()


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
async def in_cluster(ring: Ring) -> Webhook:
    return opened(ring, holds=True)


@pytest.fixture
def open_webhook() -> Callable[..., Webhook]:
    """For tests with more than one."""
    return opened


@pytest.fixture
def make() -> "Make":
    return Make()


class Make:
    """Builders, as a fixture since test folders are no packages."""

    pinned = staticmethod(pinned)
    pod = staticmethod(pod)
    pod_spec = staticmethod(pod_spec)
    review = staticmethod(review)
    patch_of = staticmethod(patch_of)
    patched = staticmethod(patched)


END_S = 10.0


class Child:
    """`python -m webhook`, asked over TLS as an API server asks it."""

    def __init__(self, folder: Path, port: int, metrics_port: int, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.process = process
        self.url = f"https://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    @property
    def log(self) -> str:
        """All that it has written."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def memory(self) -> tuple[int, int]:
        """Resident bytes: now, and at the highest."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        values = {line.split(":")[0]: line.split() for line in lines}
        return int(values["VmRSS"][1]) << 10, int(values["VmHWM"][1]) << 10

    async def ready(self, session: aiohttp.ClientSession) -> None:
        await until(lambda: self._answers(session), within_s=20.0)

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        assert self.process.returncode is None, self.log
        try:
            return "ok" in await self.get(session, "/readyz")
        except aiohttp.ClientConnectionError:
            return False

    async def get(self, session: aiohttp.ClientSession, path: str) -> str:
        async with session.get(self.url + path, ssl=self.trust) as answer:
            return await answer.text()

    async def metric(self, session: aiohttp.ClientSession, name: str) -> float:
        async with session.get(self.metrics_url) as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    async def judge(self, session: aiohttp.ClientSession, image: str, *, given: str = "10s") -> dict[str, Any]:
        """The response to the creation of a Pod with that image."""
        return (await self.ask(session, review(pod(image)), f"/validate?timeout={given}")).response

    async def ask(self, session: aiohttp.ClientSession, body: object, path: str) -> Answer:
        """Any review."""
        async with session.post(self.url + path, json=body, ssl=self.trust) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def finding(self, session: aiohttp.ClientSession, image: str, *, given: str = "10s") -> str:
        return str((await self.judge(session, image, given=given))["auditAnnotations"]["finding"])

    async def end(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(END_S):
            return await self.process.wait()


async def until(holds: Callable[[], Awaitable[bool]], *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - a child process gives no event
            await asyncio.sleep(0.02)


def put_certificate(folder: Path, pair: ServerCertificate) -> None:
    """As a mounted Secret does it: each file is replaced, none is written in place."""
    for name, content in (("ca.crt", pair.authority), ("tls.crt", pair.certificate), ("tls.key", pair.key)):
        put(folder / name, content)


def put(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


async def start(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """The webhook with its log in a file."""
    with (folder / "log").open("wb") as stream:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "webhook", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=stream, stderr=stream
        )


@asynccontextmanager
async def running(folder: Path, config: str, *more: str) -> AsyncIterator[Child]:
    """A webhook with that configuration, ready."""
    put(folder / "config.yaml", config.encode())
    put_certificate(folder, issue("localhost", "127.0.0.1"))
    port, metrics_port = free_port(), free_port()
    process = await start(folder, *command(folder, port, metrics_port), *more)
    child = Child(folder, port, metrics_port, process)
    try:
        async with aiohttp.ClientSession() as session:
            await child.ready(session)
        yield child
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def command(folder: Path, port: int, metrics_port: int) -> list[str]:
    return [
        "--config", str(folder / "config.yaml"), "--tls-cert", str(folder / "tls.crt"), "--tls-key",
        str(folder / "tls.key"), "--port", str(port), "--metrics-port", str(metrics_port),
    ]  # fmt: skip


def config(*registries: str, policy: str = "") -> str:
    """A file that enforces; each registry is a line of flow YAML."""
    listed = "\n".join(f"  - {registry}" for registry in registries)
    return (
        f"apiVersion: tidegate.dev/v1alpha1\nkind: Config\nregistries:\n{listed}\n"
        f"policy: {{mode: enforce, tags: allow, {policy}}}\n"
    )


class Programs:
    """The webhook as a process, as a fixture since test folders are no packages."""

    running = staticmethod(running)
    start = staticmethod(start)
    command = staticmethod(command)
    config = staticmethod(config)
    put = staticmethod(put)
    put_certificate = staticmethod(put_certificate)
    until = staticmethod(until)
    free_port = staticmethod(free_port)


@pytest.fixture
def programs() -> Programs:
    return Programs()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Many connections at once, like an API server's."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as opened:
        yield opened
