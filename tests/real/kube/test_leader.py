"""Two controllers on kube-apiserver: who leads when one is killed, told to stop, or when the server answers nothing."""

import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from controller.__main__ import GAVE_UP
from tidegate.kube.lease import Timing

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

CHECKOUT = Path(__file__).parents[3]
CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - {host: registry.test, replicas: {a: {endpoint: "http://127.0.0.1:1"}}}
"""
T = Timing()
POLLED_S = 0.5
"""How exactly anything is measured on a busy machine."""


@dataclass
class Controller:
    """One process, and what it logs: event → when, in seconds of the epoch."""

    name: str
    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(json.loads(line))

    def at(self, event: str, *, after: float = 0.0) -> float | None:
        moments = [
            datetime.fromisoformat(line["timestamp"]).timestamp() for line in self.lines if line["event"] == event
        ]
        return next((moment for moment in moments if moment > after), None)


@dataclass
class Pair:
    api_server: Any
    namespace: str
    one: Controller
    two: Controller

    def lease(self) -> dict[str, Any]:
        text = self.api_server.kubectl("get", "lease", "tidegate-controller", "-n", self.namespace, "-o", "json")
        spec: dict[str, Any] = json.loads(text)["spec"]
        return spec


async def until(met: Callable[[], Any], *, within_s: float) -> Any:
    async with asyncio.timeout(within_s):
        while not (found := met()):  # noqa: ASYNC110  what is awaited is in another program's hands
            await asyncio.sleep(0.02)
    return found


@pytest.fixture
async def pair(api_server: Any, tmp_path: Path) -> AsyncIterator[Pair]:
    """The first leads, the second stands by."""
    namespace = f"leader-{uuid.uuid4().hex[:8]}"
    api_server.kubectl("create", "namespace", namespace)
    (tmp_path / "config.yaml").write_text(CONFIG)
    arguments = [
        "--config", str(tmp_path / "config.yaml"), "--kubeconfig", str(api_server.kubeconfig), "--namespace", namespace,
    ]  # fmt: skip
    async with running("one", arguments) as one:
        await until(lambda: one.at("lease.won"), within_s=30)
        async with running("two", arguments) as two:
            await until(lambda: two.at("controller.ready"), within_s=30)
            yield Pair(api_server, namespace, one, two)
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api_server.kubectl("delete", kind, "--all", "--wait=true")
    api_server.kubectl("delete", "namespace", namespace, "--wait=false")


@asynccontextmanager
async def running(name: str, arguments: list[str]) -> AsyncIterator[Controller]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controller", *arguments, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    controller = Controller(name, process)
    reading = asyncio.create_task(controller.read())
    try:
        yield controller
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)
        await reading


async def test_who_is_killed_is_followed_within_a_lease(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.one.process.kill()
    killed = time.time()
    won = await until(lambda: pair.two.at("lease.won"), within_s=T.lease_s + 3 * T.retry_s)
    assert won - killed <= T.lease_s + T.retry_s + POLLED_S
    assert pair.lease()["leaseTransitions"] == 1
    with capsys.disabled():
        print(f"\nkill -9: the other leads after {won - killed:.2f} s (lease {T.lease_s:g} s)")


async def test_who_is_told_to_stop_is_followed_at_once(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.one.process.terminate()
    told = time.time()
    won = await until(lambda: pair.two.at("leader.working"), within_s=10)
    assert won - told <= 2.0 + POLLED_S
    assert await asyncio.wait_for(pair.one.process.wait(), 10) == 0
    released = pair.one.at("lease.released")
    assert released is not None
    assert released <= won
    with capsys.disabled():
        print(f"\nSIGTERM: released after {released - told:.2f} s, the other works after {won - told:.2f} s")


async def test_a_frozen_server_stops_the_leader_before_another_starts(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.sleep(2 * T.retry_s)
    renewed = datetime.fromisoformat(pair.lease()["renewTime"]).timestamp()
    pair.api_server.freeze()
    frozen = time.time()
    try:
        lost = await until(lambda: pair.one.at("lease.lost"), within_s=T.renew_s + T.retry_s)
        assert lost - frozen <= T.renew_s + POLLED_S
        await asyncio.sleep(max(0.0, frozen + T.lease_s + 3 - time.time()))
        assert pair.two.at("lease.won") is None
    finally:
        pair.api_server.thaw()
    thawed = time.time()
    both = (pair.one, pair.two)
    won = await until(
        lambda: min((at for each in both if (at := each.at("lease.won", after=lost))), default=None),
        within_s=T.lease_s + 5 * T.retry_s,
    )
    assert lost < won
    assert won - renewed > T.lease_s - T.retry_s
    await asyncio.sleep(2 * T.retry_s)
    winners = [each.name for each in both if each.at("lease.won", after=lost)]
    assert len(winners) == 1
    with capsys.disabled():
        print(
            f"\nfrozen: last renewal at {renewed - frozen:+.2f} s, work ended at +{lost - frozen:.2f} s, thawed at "
            f"+{thawed - frozen:.2f} s, {winners[0]} leads from +{won - frozen:.2f} s"
        )


async def test_a_leader_that_was_frozen_itself_writes_nothing_more(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.one.process.send_signal(signal.SIGSTOP)
    frozen = time.time()
    won = await until(lambda: pair.two.at("lease.won"), within_s=T.lease_s + 3 * T.retry_s)
    pair.one.process.send_signal(signal.SIGCONT)
    awake = time.time()
    assert await asyncio.wait_for(pair.one.process.wait(), 10) == GAVE_UP, "its time was over long ago"
    stood_back = time.time()
    await asyncio.sleep(2 * T.retry_s)
    assert pair.lease()["leaseTransitions"] == 1, "it took nothing back"
    assert pair.two.at("lease.lost") is None
    with capsys.disabled():
        print(
            f"\nfrozen leader: the other leads after {won - frozen:.2f} s, it ends {stood_back - awake:.2f} s after "
            "it was woken"
        )
