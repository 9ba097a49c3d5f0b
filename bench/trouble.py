"""`make bench-trouble`: replicas in trouble, 20 s each, under 50 reviews a second of the shipped webhook over TLS.

Half of the reviews are of images that the webhook knew before, four in ten of images that both replicas have and that
it has never been asked about, one in ten of images that nobody has. It ends with 1 if a known image was refused, if an
image was admitted that no replica was seen to hold, or if an answer took longer than half of the call's timeout.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import structlog
from prometheus_client import CollectorRegistry

from bench import reviews
from bench.distress import HOST, PATH, TROUBLES, Gate, Scene, Trouble, reference, scene
from controller.holding.polls import REMEMBERED_ABSENCE_S, Polls
from tidegate.completeness import Checker
from tidegate.completeness.memory import Memory, MemorySettings
from tidegate.config import parse
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.dns import Lookup, Names
from tidegate.replicas import open_registries
from tidegate.testing.dns import NameServer, Says
from tidegate.testing.images import build_image

PER_SECOND = 50
KNOWN = 10
WAITED_FOR = 5
SLOWEST_S = 5.0
"""Half of the call's timeout: patience is 1 s, the rest is for a machine with other work."""
_MIX = ("known", "new", "known", "new", "known", "nowhere", "known", "new", "known", "new")
_RECOVERY_S = 12.0
_LOOKS = 1000


@dataclass(slots=True)
class Tally:
    """What one webhook answered while the trouble lasted."""

    said: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in _MIX})
    slowest_s: float = 0.0
    late_s: float = 0.0
    """How late the load itself was at worst: other work on the machine."""
    asked: int = 0
    back_s: float | None = None
    wrong: list[str] = field(default_factory=list)

    def take(self, kind: str, answer: dict[str, object], seconds: float) -> None:
        """Count it, and judge it."""
        notes = answer["auditAnnotations"]
        assert isinstance(notes, dict)
        finding, allowed = notes["finding"], answer["allowed"]
        self.said[kind][f"{finding} {'admitted' if allowed else 'refused'}"] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if kind == "known" and not allowed:
            self.wrong.append(f"a known image was refused: {finding}")
        if kind != "known" and allowed and (finding != "ok" or kind == "nowhere"):
            self.wrong.append(f"an image nobody vouched for was admitted: {kind}, {finding}")


def _body(image: str) -> bytes:
    return reviews.bodies(reviews.POD, reviews.pod([image]), count=1)[0][1]


async def _review(session: aiohttp.ClientSession, gate: Gate, body: bytes) -> tuple[dict[str, object], float]:
    began = time.perf_counter()
    url = f"https://127.0.0.1:{gate.port}/validate?timeout=10s"
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert answer.status == 200, await answer.text()
        response = json.loads(await answer.read())["response"]
    return response, time.perf_counter() - began


def _mixed(on: Scene, count: int, nowhere: str) -> Iterator[tuple[str, bytes]]:
    """What is asked about, and the reviews of it."""
    new = iter(on.new)
    for number in range(count):
        kind = _MIX[number % len(_MIX)]
        if kind == "known":
            image = reference(on.known[number % KNOWN])
        else:
            image = reference(next(new)) if kind == "new" else f"{HOST}/{PATH}@sha256:{nowhere}{number:08x}"
        yield kind, _body(image)


async def _load(on: Scene, gate: Gate, tally: Tally, asked: Sequence[tuple[str, bytes]]) -> None:
    """Open loop: a review goes out when it is its turn, whatever became of those before."""
    began = time.perf_counter()

    async def one(kind: str, body: bytes) -> None:
        tally.take(kind, *await _review(on.session, gate, body))

    async with asyncio.TaskGroup() as tasks:
        for number, (kind, body) in enumerate(asked):
            late = time.perf_counter() - (began + number / PER_SECOND)
            tally.late_s = max(tally.late_s, late)
            await asyncio.sleep(max(0.0, -late))
            tasks.create_task(one(kind, body))


async def _back(on: Scene, gate: Gate, tally: Tally, bodies: Sequence[bytes]) -> None:
    """Seconds until an image that was never asked about is found on the replica that is well again."""
    began = time.perf_counter()
    for body in bodies:
        answer, _ = await _review(on.session, gate, body)
        notes = answer["auditAnnotations"]
        assert isinstance(notes, dict)
        if answer["allowed"] and notes["finding"] == "ok":
            tally.back_s = time.perf_counter() - began
            return
        await asyncio.sleep(0.25)


@asynccontextmanager
async def _polling(on: Scene) -> AsyncIterator[Metrics]:
    """The controller's questions about five images that held Pods wait for and that have not arrived."""
    metrics = Metrics(CollectorRegistry(), program="bench")
    async with open_registries(parse(on.config), metrics=metrics) as registries:
        memory = Memory(MemorySettings(absent_s=REMEMBERED_ABSENCE_S, tag_s=REMEMBERED_ABSENCE_S))
        checker = Checker(registries, platforms=["linux/amd64"], metrics=metrics, memory=memory)
        loop = asyncio.get_running_loop()
        chance = random.SystemRandom()
        polls = Polls(checker, found=lambda *_: None, clock=loop.time, chance=chance)
        asking = asyncio.create_task(polls.run())
        try:
            for number in range(WAITED_FOR):
                image = reference(build_image(seed=f"awaited-{number}"))
                polls.want(image, ImageReference.parse(image))
            yield metrics
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            await checker.aclose()


def _sent(metrics: Metrics) -> float:
    family = next(iter(metrics.registry_requests.collect()))
    return sum(s.value for s in family.samples if s.name.endswith("_total") and s.labels["replica"] == "west")


async def _one(trouble: Trouble, seconds: float, number: int) -> tuple[list[Tally], float]:
    """The tallies of the two webhooks, and the controller's requests a second."""
    fresh = round(seconds * PER_SECOND * 0.4) + 2 * round(_RECOVERY_S * 4) + 8
    with tempfile.TemporaryDirectory(prefix="tidegate-trouble-") as name:
        async with scene(Path(name), known=KNOWN, new=fresh, seed=f"{number}") as on:
            for gate in on.gates:
                for image in on.known:
                    answer, _ = await _review(on.session, gate, _body(reference(image)))
                    assert answer["allowed"], answer
            tallies = [Tally() for _ in on.gates]
            asked = list(_mixed(on, round(seconds * PER_SECOND), f"{number:056x}"))
            left = [_body(reference(image)) for image in on.new[-round(_RECOVERY_S * 4) :]]
            async with _polling(on) as polls:
                await asyncio.sleep(1.0)
                before, polled = [await gate.asked(on.session) for gate in on.gates], _sent(polls)
                await on.begin(trouble)
                async with asyncio.TaskGroup() as tasks:
                    for gate, tally in zip(on.gates, tallies, strict=True):
                        tasks.create_task(_load(on, gate, tally, asked))
                per_second = (_sent(polls) - polled) / seconds
            for gate, tally, then in zip(on.gates, tallies, before, strict=True):
                tally.asked = await gate.asked(on.session) - then
            await on.end()
            async with asyncio.TaskGroup() as tasks:
                for gate, tally in zip(on.gates, tallies, strict=True):
                    tasks.create_task(_back(on, gate, tally, left))
    return tallies, per_second


async def _moved(ttl_s: int) -> tuple[int, float]:
    """Seconds from a name's move until it is followed by somebody who asks every 50 ms."""
    async with NameServer() as dns:
        names = Names(Lookup(nameservers=[dns.address]), now=asyncio.get_running_loop().time)
        dns.says["registry.test"] = Says(a=("127.0.0.1",), ttl=ttl_s)
        await names.addresses("registry.test")
        dns.says["registry.test"] = Says(a=("127.0.0.2",), ttl=ttl_s)
        began = time.perf_counter()
        for _ in range(_LOOKS):
            if await names.addresses("registry.test") == ("127.0.0.2",):
                break
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        await names.aclose()
        return ttl_s, seconds


def _words(said: Counter[str]) -> str:
    return "<br>".join(f"{count} {what}" for what, count in said.most_common())


async def _run(arguments: argparse.Namespace) -> int:
    moves = [asyncio.create_task(_moved(ttl_s)) for ttl_s in (0, 1, 5, 3600)]
    print("| trouble | webhook | known | new, on both replicas | nowhere | requests into it | slowest answer, s "
          "| load late, s | back after, s |\n|" + "---|" * 9)  # fmt: skip
    wrong: list[str] = []
    polled: list[str] = []
    for number, trouble in enumerate(t for t in TROUBLES if arguments.only in t.name):
        tallies, per_second = await _one(trouble, arguments.seconds, number)
        polled.append(f"{trouble.name} {per_second:.1f}")
        for name, tally in zip(("no failover", "failover: home"), tallies, strict=True):
            back = "-" if tally.back_s is None else f"{tally.back_s:.1f}"
            print(f"| {trouble.name} | {name} | {_words(tally.said['known'])} | {_words(tally.said['new'])} "
                  f"| {_words(tally.said['nowhere'])} | {tally.asked} | {tally.slowest_s:.2f} | {tally.late_s:.2f} "
                  f"| {back} |", flush=True)  # fmt: skip
            wrong += [f"{trouble.name}, {name}: {line}" for line in tally.wrong]
            if tally.slowest_s - tally.late_s > SLOWEST_S:
                wrong.append(f"{trouble.name}, {name}: an answer took {tally.slowest_s:.2f} s")
    print(f"\nRequests a second of the controller, {WAITED_FOR} images waited for: {'; '.join(polled)}")
    followed = [f"TTL {ttl_s} s: {seconds:.2f} s" for ttl_s, seconds in await asyncio.gather(*moves)]
    print(f"A name that moved was followed after: {'; '.join(followed)}\n")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load average {load} at the end")
    print("\n".join(Counter(wrong)) if wrong else "No known image was refused, none admitted that nobody vouched for.")
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="bench/trouble.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each trouble; default: %(default)s")
    parser.add_argument("--only", default="", metavar="WORD", help="troubles with this word in their name")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return asyncio.run(_run(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
