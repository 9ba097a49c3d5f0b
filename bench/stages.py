"""Where the time of a warm review goes: each stage by itself, in this process, in CPU time.

`python -m bench.stages` prints JSON: stage → µs. The stages follow `webhook.gate.Gate`; what they leave between them
and the whole is the glue. Transport (TLS, HTTP) is in none of them: the first table has it, as the floor has it too.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client import CollectorRegistry

from bench import floor, reviews
from bench.bed import HOST
from bench.processes import pin
from tidegate.config import Config
from tidegate.metrics import Metrics
from tidegate.policy import decide, static_finding
from tidegate.process import logs
from tidegate.reference import ImageReference
from tidegate.testing.images import build_image
from tidegate.testing.registry import RegistryDouble
from webhook.app import Health, create_app
from webhook.gate import Gate, respond
from webhook.live import rules_of
from webhook.namespaces import Standalone
from webhook.review import decode, encode
from webhook.rules import Asked, Rules
from webhook.subjects import object_of, subject_of, uses_to_judge

_TIMES = 2000
_REPEATS = 7
_FAR_S = 60.0

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def main() -> None:
    """Print what each stage takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, default=-1)
    core = parser.parse_args().core
    pin(None if core < 0 else core)
    with TemporaryDirectory(prefix="tidegate-bench-") as folder:
        kept = os.dup(sys.stderr.fileno())  # the log line is written as in earnest: to standard error, which is a file
        with (Path(folder) / "log").open("wb") as log:
            os.dup2(log.fileno(), sys.stderr.fileno())
        try:
            found = asyncio.run(_measure())
        finally:
            os.dup2(kept, sys.stderr.fileno())
    print(json.dumps(found))


async def _measure() -> dict[str, float]:
    logs.configure()
    metrics = Metrics(CollectorRegistry(), program="webhook")
    async with RegistryDouble() as registry:
        known = [_pushed(registry, "shop/checkout", "2.14.3", 12), _pushed(registry, "mesh/proxy", "1.30.2", 8)]
        config = Config.model_validate(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "policy": {"mode": "enforce"},
                "registries": [{"host": HOST, "replicas": {"here": {"endpoint": registry.url}}}],
            }
        )  # fmt: skip
        [(_, body)] = reviews.bodies(reviews.POD, reviews.pod(known), count=1)
        async with rules_of(config, metrics=metrics) as rules:
            return await _all(rules, metrics, body)


def _pushed(registry: RegistryDouble, repository: str, tag: str, layers: int) -> str:
    image = build_image(layers=layers, seed=repository)
    registry.put(repository, image, tag=tag)
    return f"{HOST}/{repository}:{tag}@{image.digest}"


async def _all(rules: Rules, metrics: Metrics, body: bytes) -> dict[str, float]:
    gate = Gate(rules, namespaces=Standalone(), metrics=metrics)
    ours = create_app(gate, health=Health(), metrics=metrics)
    asked = Asked("validate", None, asyncio.get_running_loop().time() + _FAR_S * 10)
    review = decode(body)
    answer = await gate.answer(review, asked)  # from here on everything is known
    assert answer.allowed
    settings = rules.policy.settings_for({})
    seen = object_of(review, rules.places)
    assert seen is not None
    subject = subject_of(seen, review)
    references = {use.image: ImageReference.parse(use.image) for use in seen.images}

    def judged_by_text() -> None:
        for image, reference in references.items():
            static_finding(
                image, reference, policy=rules.policy, settings=settings, subject=subject, listed=rules.hosts
            )

    def recalled() -> list[Any]:
        return [rules.checker.recall(image, reference) for image, reference in references.items()]

    findings = recalled()
    decision = decide(findings, settings=settings, subject=subject)
    standing = gate._judge.standing(review.namespace, asked)  # noqa: SLF001
    judged = await gate._judged(review, standing)  # noqa: SLF001 - a stage of its own
    return {
        "all of ours, without HTTP": await _awaited(lambda: _once(ours, "/validate", body)),
        "· FastAPI with nothing to do (the floor's app)": await _awaited(lambda: _once(floor.app, "/validate", body)),
        "· decode the review": _sync(lambda: decode(body)),
        "· view the object": _sync(lambda: object_of(review, rules.places)),
        "· subject, new images": _sync(lambda: (subject_of(seen, review), uses_to_judge(seen, review, rules.places))),
        "· judge the text (2 images)": _sync(judged_by_text),
        "· recall (2 images)": _sync(recalled),
        "· decide": _sync(lambda: decide(findings, settings=settings, subject=subject)),
        "· metrics": _sync(lambda: gate._count(judged, asked)),  # noqa: SLF001
        "· log line": _sync(lambda: gate._log(review, asked, judged, 0.0)),  # noqa: SLF001
        "· answer": _sync(lambda: respond(review.uid, decision, judged.mode)),
        "· encode": _sync(lambda: encode(answer)),
    }


def _sync(stage: Callable[[], object]) -> float:
    """µs of one call: the median of some runs of many."""
    runs = []
    for _ in range(_REPEATS):
        began = time.process_time()
        for _ in range(_TIMES):
            stage()
        runs.append(time.process_time() - began)
    return statistics.median(runs) / _TIMES * 1e6


async def _awaited(stage: Callable[[], Awaitable[object]]) -> float:
    runs = []
    for _ in range(_REPEATS):
        began = time.process_time()
        for _ in range(_TIMES):
            await stage()
        runs.append(time.process_time() - began)
    return statistics.median(runs) / _TIMES * 1e6


async def _once(app: App, path: str, body: bytes) -> None:
    """As uvicorn calls it."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "server": ("127.0.0.1", 8443), "client": ("127.0.0.1", 40000), "scheme": "https", "root_path": "",
        "path": path, "raw_path": path.encode(), "query_string": b"timeout=10s", "state": {},
        "headers": [
            (b"host", b"127.0.0.1:8443"), (b"user-agent", b"kube-apiserver-admission"),
            (b"content-length", str(len(body)).encode()), (b"accept", b"application/json, */*"),
            (b"content-type", b"application/json"), (b"accept-encoding", b"gzip"),
        ],
    }  # fmt: skip
    message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> Mapping[str, object]:
        return message

    async def send(message: Mapping[str, object]) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200

    await app(scope, receive, send)


if __name__ == "__main__":
    main()
