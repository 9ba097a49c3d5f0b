"""A real distribution's notifications: pushed there, told to the receiver, read by the leader, asked about at once."""

import asyncio
import os
import random
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controller.events.matching import Names
from controller.events.reader import Reader, receivers_of
from controller.holding.polls import REMEMBERED_ABSENCE_S, Polls
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import Config, parse
from tidegate.findings import Finding, ImageFinding
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.replicas import open_registries
from tidegate.testing.certificates import issue
from tidegate.testing.images import Image, build_image
from tidegate.testing.ports import free_port
from tidegate.testing.push import push_image

SENDERS, READERS = "what the registry knows", "what the leader knows"
IMAGES = 6
SETTLE_S = 4.0
"""Long enough for the pauses between questions to have grown."""


@dataclass(frozen=True, slots=True)
class Bed:
    """A distribution that notifies, and the receiver that it notifies."""

    registry: str
    receiver: str
    folder: Path

    @property
    def config(self) -> Config:
        return parse(
            "{apiVersion: tidegate.dev/v1alpha1, kind: Config, registries: [{host: registry.test, replicas: "
            f"{{here: {{endpoint: '{self.registry}', repository: 'mirror/{{path}}'}}}}, "
            "limits: {requestsPerSecond: 1000, burst: 1000}}]}"
        )


@asynccontextmanager
async def receiving(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The shipped program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller.events", "--tls-cert", str(folder / "tls.crt"), "--tls-key",
        str(folder / "tls.key"), "--port", str(port), "--secret-file", str(folder / "senders"),
        "--reader-secret-file", str(folder / "readers"),
        stderr=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while b'"events.started"' not in (line := await process.stderr.readline()):
                assert line, "it ended"
        yield process
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.fixture
async def bed(tmp_path: Path, distribution_at: Any) -> AsyncIterator[Bed]:
    tls, port = issue("localhost"), free_port()
    (tmp_path / "ca.pem").write_bytes(tls.authority)
    (tmp_path / "tls.crt").write_bytes(tls.certificate)
    (tmp_path / "tls.key").write_bytes(tls.key)
    (tmp_path / "senders").write_text(SENDERS)
    (tmp_path / "readers").write_text(READERS)
    endpoint = {
        "name": "tidegate", "url": f"https://localhost:{port}/events/distribution", "timeout": "1s", "threshold": 3,
        "backoff": "1s", "headers": {"Authorization": [f"Bearer {SENDERS}"]},
    }  # fmt: skip
    sections = {"notifications": {"endpoints": [endpoint]}}
    async with receiving(tmp_path, port):
        with distribution_at(tmp_path, {}, sections=sections, roots=tmp_path / "ca.pem") as registry:
            yield Bed(registry, f"https://localhost:{port}", tmp_path)


class Waiting:
    """Somebody waits for images, as the leader does for held Pods."""

    def __init__(self, checker: Checker) -> None:
        self.complete: dict[str, asyncio.Event] = {}
        self.polls = Polls(
            checker, found=self._found, clock=asyncio.get_running_loop().time, chance=random.SystemRandom()
        )

    def want(self, repository: str, image: Image) -> None:
        text = f"registry.test/{repository}@{image.digest}"
        self.complete[repository] = asyncio.Event()
        self.polls.want(text, ImageReference.parse(text))

    def _found(self, finding: ImageFinding, reference: ImageReference) -> None:
        if finding.finding is Finding.OK:
            self.complete[reference.path].set()


async def latencies(bed: Bed, prefix: str, *, told: bool) -> list[float]:
    """Seconds from the end of each push until the leader knows that the image is complete."""
    metrics, config = Metrics(CollectorRegistry(), program="controller"), bed.config
    memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
    async with AsyncExitStack() as stack:
        registries = await stack.enter_async_context(open_registries(config, metrics=metrics))
        checker = Checker(registries, platforms=config.cluster.platforms, metrics=metrics, memory=memory)
        stack.push_async_callback(checker.aclose)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        waiting = Waiting(checker)
        loops = [waiting.polls.run()]
        if told:
            receivers = receivers_of([bed.receiver], secret_file=bed.folder / "readers", ca_file=bed.folder / "ca.pem")
            assert receivers is not None
            reader = Reader(
                receivers, names=Names(config.registries), hurries=[waiting.polls], chance=random.SystemRandom()
            )
            loops += [loop() for loop in reader.loops().values()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        images = {f"{prefix}/{number}": build_image(seed=f"{prefix}{number}") for number in range(IMAGES)}
        for repository, image in images.items():
            waiting.want(repository, image)
        await asyncio.sleep(SETTLE_S)
        took = []
        for repository, image in images.items():
            await push_image(http, bed.registry, f"mirror/{repository}", image)
            pushed = asyncio.get_running_loop().time()
            await asyncio.wait_for(waiting.complete[repository].wait(), 10)
            took.append(asyncio.get_running_loop().time() - pushed)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return took


@pytest.mark.parametrize("kind", ["distribution"])
async def test_an_event_is_faster_than_asking(bed: Bed, kind: str) -> None:
    asked = await latencies(bed, "asked", told=False)
    told = await latencies(bed, "told", told=True)
    for name, took in (("asking", asked), ("told by events", told)):
        words = ", ".join(f"{one * 1000:.0f}" for one in sorted(took))
        print(f"{kind}, {name}: median {statistics.median(took) * 1000:.0f} ms after the push ({words})")
    assert statistics.median(told) < 0.35, "an absence is remembered for a quarter of a second at most"
    assert statistics.median(told) < statistics.median(asked)
