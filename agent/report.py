"""The status on its way to the API server: the latest only, once, and again until it has arrived."""

import asyncio
import random
from dataclasses import dataclass
from typing import Never

import msgspec
import structlog

from agent.ports import NotReported, PlanGone, StatusSink
from tidegate.kube.own import NodePullStatus
from tidegate.kube.reflector import Pauses

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """A status, and the UID of the NodePull that it belongs to: a new object has to be told everything again."""

    plan_uid: str
    status: NodePullStatus

    def says_the_same(self, other: "Report | None") -> bool:
        """Whether nothing differs but the generation that was looked at."""
        if other is None or self.plan_uid != other.plan_uid:
            return False
        generation = other.status.observed_generation
        return msgspec.structs.replace(self.status, observed_generation=generation) == other.status


class Reporter:
    """Sends what it is told. What changes while a status is on its way is sent in one afterwards.

    A report that only says that a newer generation was looked at waits for `tell(…, also_generation=True)`.
    """

    def __init__(self, sink: StatusSink, *, pauses: Pauses, chance: random.Random | None = None) -> None:
        self._sink = sink
        self._pauses = pauses
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret
        self._latest: Report | None = None
        self._sent: Report | None = None
        self._sending: Report | None = None
        self._told = asyncio.Event()

    def tell(self, report: Report, *, also_generation: bool = False) -> None:
        """Make this the status."""
        there = self._sending or self._sent  # a watch tells of a write before the write itself is answered
        if report == there or (report.says_the_same(there) and not also_generation):
            self._latest = there
            return
        self._latest = report
        self._told.set()

    def forget(self) -> None:
        """What was sent is not what is there (any more): the next report is sent, whatever it says."""
        self._sent = None

    async def run(self) -> Never:
        """Send until cancelled."""
        failures = 0
        while True:
            await self._told.wait()
            try:
                await self._send()
            except NotReported as exc:
                failures += 1
                log.warning("status.not_reported", failures=failures, error=str(exc))
                await asyncio.sleep(self._pauses.after(failures, told=exc.retry_after_s, chance=self._chance))
            else:
                failures = 0

    async def flush(self, *, within_s: float) -> None:
        """The last word, tried once: what cannot be said in time is lost with this process."""
        try:
            async with asyncio.timeout(within_s):
                await self._send()
        except (NotReported, TimeoutError) as exc:
            log.warning("status.lost", error=str(exc) or "no time left")

    async def _send(self) -> None:
        report = self._latest
        if report is not None and report != self._sent:
            self._sending = report
            try:
                await self._sink.write(report.status)
            except PlanGone:
                log.info("status.plan_gone")
            finally:
                self._sending = None
            self._sent = report
        if self._latest is report:
            self._told.clear()
