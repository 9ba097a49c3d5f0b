"""The agent's senses on a real containerd: progress, stalls, giving way, collection, a restart, the disk."""

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agent import news
from agent.imagefs import ImageDisk
from agent.observed import Neighbours, Patience
from agent.pull import Job, Pulls
from agent.room import need
from tidegate.cri import CriError, registered
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, Phase, Reason
from tidegate.kube.reflector import Pauses
from tidegate.metrics import Metrics
from tidegate.testing.images import Image, build_image
from tidegate.testing.registry import Stall

pytestmark = pytest.mark.real

QUICK = Patience(look_s=0.05, stall_s=1.0, starve_s=0.3, stuck_s=5.0)
WITHIN_S = 20.0


def push(node: Any, repository: str, *, layers: int, layer_bytes: int = 4096) -> tuple[str, Image]:
    image = build_image(layers=layers, layer_bytes=layer_bytes, seed=uuid.uuid4().hex)
    node.replica.put(repository, image, tag="1")
    return f"{node.host}/{repository}@{image.digest}", image


def begin(node: Any, image: str, *, patience: Patience = QUICK, size: int = 0) -> asyncio.Task[NodeImageStatus]:
    pulls = Pulls(
        node.images, node.containerd, patience=patience, wall=lambda: datetime.now(UTC),
        metrics=Metrics(CollectorRegistry(), program="agent"),
    )  # fmt: skip
    grant = Grant(id="g", expires_at="2999-01-01T00:00:00Z", seconds=60)
    job = Job(NodeImage(image=image, bytes=size), grant, node.host, lambda _: None)
    job.task = asyncio.create_task(pulls.run(job, pulls.started(job, None)))
    return job.task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        for _ in itertools.count():
            if await condition():
                return
            await asyncio.sleep(0.05)


async def test_a_pull_that_gets_no_byte_has_stalled_and_says_how_far_it_was(node: Any) -> None:
    name, image = push(node, "app", layers=2, layer_bytes=4 << 20)
    node.replica.fault(stalls=(Stall(path=f"/blobs/{image.layers[0]}", after=3 << 20),))
    async with asyncio.timeout(WITHIN_S):
        status = await begin(node, name)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.STALLED)
    assert status.bytes > 1 << 20
    await until_gone(node)


async def until_gone(node: Any) -> None:
    async def nothing_comes() -> bool:
        return not await node.containerd.downloads()

    await until(nothing_comes)


async def test_a_slow_pull_takes_longer_than_a_stall_and_ends_well(node: Any) -> None:
    """containerd counts what it has written, a mebibyte of a layer at a time."""
    name, _ = push(node, "app", layers=1, layer_bytes=8 << 20)
    node.replica.fault(bandwidth=2 << 20)
    status = await begin(node, name, patience=Patience(look_s=0.05, stall_s=2.0))
    assert status.phase is Phase.PRESENT


async def test_kubelet_gets_its_slot_within_a_second_of_waiting_for_one_of_ours(node: Any) -> None:
    ours, image = push(node, "ours", layers=3)
    theirs, _ = push(node, "theirs", layers=1)
    node.replica.fault(stalls=tuple(Stall(path=f"/blobs/{layer}") for layer in image.layers))
    patience = Patience(look_s=0.05, stall_s=60, starve_s=0.3)
    pull = begin(node, ours, patience=patience)
    await node.replica.record.until(lambda record: record.in_flight == 3)
    kubelets = asyncio.create_task(node.images.pull(theirs, timeout=WITHIN_S))
    async with asyncio.timeout(5):
        await kubelets
    status = await pull
    assert (status.reason, status.message.split(":")[0]) == (Reason.CANCELED, "gave way")


async def test_nothing_is_begun_while_kubelet_pulls(node: Any) -> None:
    theirs, image = push(node, "theirs", layers=1)
    neighbours = Neighbours(node.containerd, patience=QUICK)
    clock = asyncio.get_running_loop().time
    assert not await neighbours.are_pulling([], clock())
    node.replica.fault(stalls=(Stall(path=f"/blobs/{image.layers[0]}"),))
    kubelets = asyncio.create_task(node.images.pull(theirs, timeout=WITHIN_S))
    await node.replica.record.until(lambda record: len(record.matching(image.layers[0])) > 0)
    assert await neighbours.are_pulling([], clock())
    kubelets.cancel()
    await asyncio.wait([kubelets])
    await until_gone(node)
    assert not await neighbours.are_pulling([], clock())


def told(heard: list[str | None], what: str | None) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return what in heard

    return condition


def answers(node: Any) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        try:
            return bool(await node.images.ready())
        except CriError:
            return False

    return condition


@asynccontextmanager
async def listening(node: Any) -> AsyncIterator[list[str | None]]:
    heard: list[str | None] = []
    following = asyncio.create_task(
        news.follow(
            node.containerd, on_image=heard.append, on_back=lambda: heard.append("back"),
            pauses=Pauses(first=0.2, most=0.5),
        )
    )  # fmt: skip
    await asyncio.sleep(0.3)  # nothing tells when a subscription has begun
    try:
        yield heard
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_what_a_collection_takes_is_told_by_the_name_that_we_know(node: Any) -> None:
    name, _ = push(node, "app", layers=1)
    await node.images.pull(name, timeout=WITHIN_S)
    async with listening(node) as heard:
        await node.images.remove((await node.images.images())[0].id)  # as kubelet's collection does: by id
        await until(told(heard, registered(name)))


async def test_a_restarted_containerd_is_noticed_and_listened_to_again(node: Any, containerd: Any) -> None:
    name, _ = push(node, "app", layers=1)
    async with listening(node) as heard:
        await asyncio.to_thread(containerd.restart)
        await until(told(heard, "back"))
        await until(answers(node))
        await node.images.pull(name, timeout=WITHIN_S)
        await until(told(heard, registered(name)))


async def test_the_disk_is_measured_where_the_runtime_says_that_images_lie(node: Any) -> None:
    (fs,) = await node.images.image_fs()
    seen = await asyncio.to_thread(os.statvfs, fs.mountpoint)
    free = seen.f_frsize * seen.f_bavail
    disk = ImageDisk(node.images.image_fs, low_percent=100)
    assert await disk.shortfall(need(1000)) == ""
    assert "needs" in await disk.shortfall(free + (1 << 30))
