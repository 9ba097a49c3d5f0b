"""The plan and the status as the API server has them: this node's NodePull, and its Node's UID."""

import asyncio
import random

import structlog

from agent.plan import as_patch
from agent.ports import NotReported, PlanGone
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import KubeError, NotFound
from tidegate.kube.own import NodePull, NodePullStatus
from tidegate.kube.reflector import Pauses, Reflector
from tidegate.kube.resources import NODEPULLS, NODES

log = structlog.get_logger()


class ClusterPlans:
    """A PlanSource over a reflector of the one NodePull that is named like the node. `run` is a root task."""

    def __init__(self, client: KubeClient, *, node: str, pauses: Pauses) -> None:
        self._client = client
        self._node = node
        self._pauses = pauses
        self._chance = random.Random()  # noqa: S311 - jitter is no secret
        self._reflector = Reflector(client, NODEPULLS, field_selector=f"metadata.name={node}", pauses=pauses)

    async def run(self) -> None:
        """Keep the plan current until cancelled."""
        await self._reflector.run()

    def current(self) -> NodePull | None:
        """See PlanSource."""
        return self._reflector.objects.get(self._node)

    async def changed(self, since: int) -> int:
        """See PlanSource."""
        return await self._reflector.changed(since)

    async def node_uid(self) -> str:
        """See PlanSource."""
        failures = 0
        while True:
            try:
                node = await self._client.get(NODES, self._node)
            except KubeError as exc:
                failures += 1
                log.warning("node.not_read", node=self._node, failures=failures, error=str(exc))
                await asyncio.sleep(self._pauses.after(failures, told=exc.retry_after_s, chance=self._chance))
            else:
                return node.metadata.uid


class ClusterStatus:
    """A StatusSink that patches the status of the NodePull named like the node."""

    def __init__(self, client: KubeClient, *, node: str) -> None:
        self._client = client
        self._node = node

    async def write(self, status: NodePullStatus) -> None:
        """See StatusSink."""
        try:
            await self._client.merge_patch(NODEPULLS, self._node, as_patch(status), subresource="status")
        except NotFound as exc:
            raise PlanGone(str(exc)) from exc
        except KubeError as exc:
            raise NotReported(str(exc), retry_after_s=exc.retry_after_s) from exc
