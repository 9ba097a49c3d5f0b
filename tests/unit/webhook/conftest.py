"""The webhook's application, asked without a socket, over a checker that knows what it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tidegate.findings import Finding, ImageFinding, Missing
from tidegate.metrics import Metrics
from tidegate.policy import Policy, Settings
from tidegate.reference import ImageReference
from webhook.app import Health, create_app
from webhook.gate import Gate, Rules

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


def found(image: str, finding: Finding) -> ImageFinding:
    missing = Missing(blobs=3, of_blobs=12, bytes=1_100_000_000) if finding is Finding.INCOMPLETE else Missing()
    return ImageFinding(image, finding, replica="westeurope", missing=missing)


class Labels:
    """Namespaces with their labels."""

    def __init__(self) -> None:
        self.known: dict[str, Mapping[str, str]] = {}

    def labels(self, name: str) -> Mapping[str, str]:
        return self.known.get(name, {})


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        """The response in an AdmissionReview."""
        assert self.status == 200, (self.status, self.body)
        document = json.loads(self.body)
        assert (document["apiVersion"], document["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: dict[str, Any] = document["response"]
        assert set(response["auditAnnotations"]) == {"verdict", "finding", "images"}
        return response

    @property
    def said(self) -> tuple[bool, str, str]:
        """Whether it is allowed, verdict and finding."""
        response = self.response
        notes = response["auditAnnotations"]
        return response["allowed"], notes["verdict"], notes["finding"]


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


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """Enforces, unless a test says otherwise."""
    metrics = Metrics(CollectorRegistry(), program="webhook")
    checker, namespaces, health = KnownImages(), Labels(), Health()
    rules = Rules(Policy(), frozenset({"r.example"}), checker)
    gate = Gate(rules, namespaces=namespaces, metrics=metrics)
    running = Webhook(create_app(gate, health=health, metrics=metrics), gate, checker, namespaces, health, metrics)
    running.namespaces.known["shop"] = {"tidegate.dev/mode": "enforce"}
    return running


def pod_spec(*images: str, **others: Any) -> dict[str, Any]:
    return {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(images)], **others}


def pod(*images: str, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", **(metadata or {})},
        "spec": pod_spec(*images, **spec),
    }


def review(
    new: object,
    *,
    kind: str = "Pod",
    group: str = "",
    operation: str = "CREATE",
    old: object = None,
    **others: Any,
) -> dict[str, Any]:
    """A review as an API server sends it."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": "things"},
        "name": "p", "namespace": "shop", "operation": operation,
        "userInfo": {"username": "dev", "groups": ["system:authenticated"]},
        "object": new, "oldObject": old, "dryRun": False, "options": None,
        **others,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@pytest.fixture
def make() -> "Make":
    return Make()


class Make:
    """Builders, as a fixture since test folders are no packages."""

    pinned = staticmethod(pinned)
    pod = staticmethod(pod)
    pod_spec = staticmethod(pod_spec)
    review = staticmethod(review)
