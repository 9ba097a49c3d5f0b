"""What the agent relies on beside CRI: downloads with their bytes, stored manifests, events. A part of the suite.

A module of its own, as runtimes that are no containerd have none of it.
"""
# ruff: noqa: S101, PLR2004  these are tests; a number in an assertion is the specification

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from tidegate.cri import Containerd, CriImages, Download, ImageEvent, registered
from tidegate.reference import Digest
from tidegate.testing.images import Image, build_image
from tidegate.testing.registry import RegistryDouble, Stall

_PULL_S = 20.0
_WITHIN_S = 10.0


class Node(Protocol):
    """See RuntimeConformance."""

    images: CriImages
    containerd: Containerd
    replica: RegistryDouble
    host: str


def fresh(*, layers: int, layer_bytes: int = 4096) -> Image:
    return build_image(layers=layers, layer_bytes=layer_bytes, seed=uuid.uuid4().hex)


async def until(node: Node, condition: Callable[[Sequence[Download]], bool]) -> Sequence[Download]:
    async with asyncio.timeout(_WITHIN_S):
        while True:
            downloads = await node.containerd.downloads()
            if condition(downloads):
                return downloads
            await asyncio.sleep(0.01)


@asynccontextmanager
async def pulling(node: Node, image: str) -> AsyncIterator[None]:
    """A pull is under way while the block runs, and is cut off at its end."""
    pull = asyncio.create_task(node.images.pull(image, timeout=_PULL_S))
    try:
        yield
    finally:
        pull.cancel()
        await asyncio.wait([pull])


class Downloads:
    async def test_where_nothing_comes_in_nothing_is_listed(self, node: Node) -> None:
        image = fresh(layers=2)
        node.replica.put("app", image, tag="1")
        await node.images.pull(f"{node.host}/app:1", timeout=_PULL_S)
        assert await until(node, lambda downloads: not downloads) == []

    async def test_a_layer_that_comes_in_says_how_far_it_is(self, node: Node) -> None:
        image = fresh(layers=2, layer_bytes=4 << 20)
        stalled = image.layers[0]
        node.replica.put("app", image, tag="1")
        node.replica.fault(stalls=(Stall(path=f"/blobs/{stalled}", after=3 << 20),))
        async with pulling(node, f"{node.host}/app:1"):
            (download,) = await until(node, lambda all_: [d.ref for d in all_ if d.received] == [f"layer-{stalled}"])
            assert download.digest == stalled
            assert download.received <= 3 << 20
            assert download.total == len(image.blobs[stalled])
        await until(node, lambda downloads: not downloads)

    async def test_what_waits_for_a_slot_is_listed_without_a_byte_and_goes_on_when_one_is_free(
        self, node: Node
    ) -> None:
        """Three layers of one pull keep another pull waiting at its manifest, for as long as they take."""
        slow, small = fresh(layers=3), fresh(layers=1)
        node.replica.put("slow", slow, tag="1")
        node.replica.put("small", small, tag="1")
        node.replica.fault(stalls=tuple(Stall(path=f"/blobs/{layer}") for layer in slow.layers))
        async with pulling(node, f"{node.host}/slow:1"):
            await node.replica.record.until(lambda record: record.in_flight == 3)
            waiting = asyncio.create_task(node.images.pull(f"{node.host}/small:1", timeout=_PULL_S))
            downloads = await until(node, lambda downloads: len(downloads) == 4)
            (manifest,) = [each for each in downloads if each.ref.startswith("manifest-")]
            assert (manifest.digest, manifest.received) == (small.digest, 0)
            assert not waiting.done()
        await waiting

    async def test_a_stored_manifest_can_be_read_while_its_layers_come_in(self, node: Node) -> None:
        image = fresh(layers=1)
        node.replica.put("app", image, tag="1")
        node.replica.fault(stalls=(Stall(path=f"/blobs/{image.layers[0]}"),))
        assert await node.containerd.manifest(image.digest) is None
        async with pulling(node, f"{node.host}/app:1"):
            await until(node, lambda downloads: any(each.ref.startswith("layer-") for each in downloads))
            assert await node.containerd.manifest(image.digest) == image.manifest
        assert await node.containerd.manifest(Digest("sha256:" + "0" * 64)) is None


class Events:
    @asynccontextmanager
    async def listening(self, node: Node) -> AsyncIterator[Callable[[int], Awaitable[list[ImageEvent]]]]:
        heard: asyncio.Queue[ImageEvent] = asyncio.Queue()

        async def listen() -> None:
            async for event in node.containerd.events():
                heard.put_nowait(event)

        async def take(count: int) -> list[ImageEvent]:
            async with asyncio.timeout(_WITHIN_S):
                return [await heard.get() for _ in range(count)]

        listener = asyncio.create_task(listen())
        await asyncio.sleep(0.2)  # nothing tells when a subscription has begun
        try:
            yield take
        finally:
            listener.cancel()
            await asyncio.wait([listener])

    async def test_every_name_that_comes_and_goes_is_told(self, node: Node) -> None:
        image = fresh(layers=1)
        node.replica.put("app", image, tag="1")
        tag, digest = f"{node.host}/app:1", f"{node.host}/app@{image.digest}"
        async with self.listening(node) as take:
            await node.images.pull(tag, timeout=_PULL_S)
            came = await take(3)
            assert {(event.kind, event.name) for event in came} == {
                ("create", tag), ("create", digest), ("create", image.config),
            }  # fmt: skip
            await node.images.remove(tag)
            went = await take(3)
            assert {(event.kind, event.name) for event in went} == {
                ("delete", tag), ("delete", digest), ("delete", image.config),
            }  # fmt: skip

    async def test_names_are_told_as_they_are_registered_not_as_pods_spell_them(self, node: Node) -> None:
        image = fresh(layers=1)
        node.replica.put("app", image, tag="1")
        spelled = f"{node.host}/app:1@{image.digest}"
        async with self.listening(node) as take:
            await node.images.pull(spelled, timeout=_PULL_S)
            assert registered(spelled) in {event.name for event in await take(2)}
            await node.images.remove(spelled)
            await take(2)


class ContainerdConformance(Downloads, Events):
    """See the module."""
