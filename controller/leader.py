"""One term of leading: the rooms under the configuration in force, built anew in place whenever that changes.

Rooms are replaced only when all that they wrote has been answered, so that the new ones find it. Where a write had to
be broken off, the new ones grant nothing until it can no longer come to be.
"""

import asyncio
from typing import Never

import structlog

from controller.copies import Copies
from controller.events.reader import Receivers
from controller.leading import Desk, lead
from controller.live import LiveConfig
from tidegate.kube.client import KubeClient
from tidegate.kube.fence import Fence
from tidegate.kube.lease import Term
from tidegate.metrics import Metrics

log = structlog.get_logger()


class Leader:
    """`client` writes through `fence`. `notes` are for `/readyz?verbose`."""

    def __init__(
        self,
        live: LiveConfig,
        *,
        client: KubeClient,
        fence: Fence,
        copies: Copies,
        receivers: Receivers | None,
        metrics: Metrics,
        namespace: str,
        notes: dict[str, str],
    ) -> None:
        self._live = live
        self._client = client
        self._fence = fence
        self._copies = copies
        self._receivers = receivers
        self._metrics = metrics
        self._namespace = namespace
        self._notes = notes
        self._say("stand-by")

    async def work(self, term: Term) -> Never:
        """All of it, until cancelled."""
        self._say("leader")
        try:
            await self._work(term.settled_at)
        finally:
            self._fence.open()
            self._say("stand-by")

    async def _work(self, settled_at: float) -> Never:
        while True:
            in_force = self._live.now
            desk = Desk(
                config=in_force.config,
                client=self._client,
                copies=self._copies,
                checker=in_force.checker,
                metrics=self._metrics,
                namespace=self._namespace,
                settled_at=settled_at,
                receivers=self._receivers,
            )
            log.info("leader.working", registries=[registry.host for registry in in_force.config.registries])
            async with asyncio.TaskGroup() as tasks:
                rooms = tasks.create_task(lead(desk), name="rooms")
                await self._live.changed(in_force)
                await self._fence.close()
                rooms.cancel()
            self._fence.open()
            settled_at = max(settled_at, self._fence.settled_at)

    def _say(self, role: str) -> None:
        self._notes["leadership"] = f"ok ({role})"
