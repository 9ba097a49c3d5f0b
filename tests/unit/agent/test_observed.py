"""A pull under observation: reported half-way, stopped when it stalls, and out of kubelet's way."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.cri import CriError, Download, NotContainerd
from tidegate.kube.own import Phase, Reason

pytestmark = pytest.mark.looptime

TARGET, LAYER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64
A, TAGGED, B = f"registry.test/a@{TARGET}", "registry.test/a:1", "registry.test/b:1"

StartAgent = Callable[..., Any]


def layer(received: int, *, digest: str = LAYER, total: int = 1000) -> Download:
    return Download(f"layer-{digest}", received, total)


def with_manifest(world: Any) -> Any:
    world.downloads.manifests[TARGET] = json.dumps({"layers": [{"digest": LAYER}]}).encode()
    return world


async def pulls(world: Any, image: str = A, *, size: int = 1000, grant: str = "g1") -> None:
    world.plan(world.granted(image, grant, size=size))
    await world.settle()
    assert world.said(image).phase is Phase.PULLING


async def test_a_long_pull_says_once_that_half_of_it_is_here_and_takes_three_writes(start: StartAgent) -> None:
    world = with_manifest(start())
    world.plan(world.wanted(A))
    await world.settle()
    before = len(world.sink.written)
    await pulls(world)
    for received in range(0, 1000, 8):
        world.downloads.under_way = [layer(received)]
        await world.settle(1)
    assert (world.said(A).phase, world.said(A).bytes) == (Phase.PULLING, 504)
    world.downloads.under_way = []
    world.runtime.finish(A)
    await world.settle()
    assert (world.said(A).phase, world.said(A).bytes) == (Phase.PRESENT, 1000)
    assert len(world.sink.written) - before == 3


async def test_a_short_pull_takes_two_writes(start: StartAgent) -> None:
    world = start()
    world.plan(world.wanted(A))
    await world.settle()
    before = len(world.sink.written)
    await pulls(world)
    world.downloads.under_way = [layer(900)]
    await world.settle(50)
    world.runtime.finish(A)
    await world.settle()
    assert len(world.sink.written) - before == 2


async def test_a_slow_pull_that_moves_goes_on_for_as_long_as_its_grant_lets_it(start: StartAgent) -> None:
    world = with_manifest(start())
    await pulls(world)
    for received in range(10):
        world.downloads.under_way = [layer(received)]
        await world.settle(50)
    assert world.runtime.pulling == {A}


@pytest.mark.parametrize("image", [pytest.param(A, id="digest"), pytest.param(TAGGED, id="tag")])
async def test_a_pull_without_a_byte_for_a_minute_has_stalled(start: StartAgent, image: str) -> None:
    world = with_manifest(start())
    await pulls(world, image)
    world.downloads.under_way = [layer(400)]
    await world.settle(59)
    assert world.runtime.pulling == {image}
    await world.settle(5)
    status = world.said(image)
    assert (status.phase, status.reason, status.grant) == (Phase.FAILED, Reason.STALLED, "g1")
    assert (status.message, status.bytes) == ("no byte came for 60 s, after 400 bytes", 400)
    assert world.runtime.canceled == [image]


async def test_unpacking_is_no_stall(start: StartAgent) -> None:
    world = with_manifest(start())
    await pulls(world)
    world.downloads.under_way = [layer(400)]
    await world.settle(5)
    world.downloads.under_way = []
    await world.settle(500)
    assert world.runtime.pulling == {A}


@pytest.mark.parametrize("error", [NotContainerd("unknown service"), CriError("no")])
async def test_a_runtime_that_does_not_tell_stops_nothing(start: StartAgent, error: Exception) -> None:
    world = start()
    world.downloads.broken = error
    await pulls(world)
    await world.settle(500)
    assert world.runtime.pulling == {A}


async def test_nothing_is_begun_while_somebody_else_pulls(start: StartAgent) -> None:
    world = start()
    world.downloads.under_way = [layer(1, digest=OTHER)]
    world.plan(world.granted(A, "g1"))
    for received in range(20):
        world.downloads.under_way = [layer(received, digest=OTHER)]
        await world.settle(1)
    assert world.runtime.pulled == []
    world.downloads.under_way = []
    await world.settle(1.1)
    assert world.runtime.pulled == [A]


async def test_a_grant_that_kubelet_used_up_is_given_back(start: StartAgent) -> None:
    world = start()
    world.plan(world.granted(A, "g1", expires_s=10))
    for received in range(12):
        world.downloads.under_way = [layer(received, digest=OTHER)]
        await world.settle(1)
    status = world.said(A)
    assert (status.reason, status.grant, world.runtime.pulled) == (Reason.CANCELED, "g1", [])
    assert status.message == "the grant cannot be used: kubelet was pulling for all its time"


async def test_a_pull_of_others_that_is_stuck_is_not_waited_for(start: StartAgent) -> None:
    world = start()
    world.downloads.under_way = [layer(5, digest=OTHER)]
    world.plan(world.granted(A, "g1"))
    await world.settle(29)
    assert world.runtime.pulled == []
    await world.settle(3)
    assert world.runtime.pulled == [A]


async def test_a_pull_whose_slots_kubelet_waits_for_gives_way_twice_and_then_ends(start: StartAgent) -> None:
    world = with_manifest(start())
    for number in range(3):
        await pulls(world, grant=f"g{number}")
        for received in range(6):
            world.downloads.under_way = [layer(received), Download(f"manifest-{OTHER}", 0, 500)]
            await world.settle(1)
        if number == 2:
            break
        status = world.said(A)
        assert (status.phase, status.reason) == (Phase.FAILED, Reason.CANCELED)
        assert status.message == "gave way: kubelet was waiting for a download slot of the runtime"
        world.downloads.under_way = []
        await world.settle(1)
    assert world.runtime.pulling == {A}
    world.runtime.finish(A)
    await world.settle()
    assert world.said(A).phase is Phase.PRESENT


async def test_a_pull_beside_which_kubelets_moves_goes_on(start: StartAgent) -> None:
    world = with_manifest(start())
    await pulls(world)
    for received in range(20):
        world.downloads.under_way = [layer(received), layer(received, digest=OTHER)]
        await world.settle(1)
    assert world.runtime.pulling == {A}


async def test_the_parts_of_an_index_are_its_pulls_own(start: StartAgent) -> None:
    child = "sha256:" + "d" * 64
    world = start()
    world.downloads.manifests[TARGET] = json.dumps(
        {"manifests": [{"digest": OTHER, "platform": {"architecture": "s390x"}}, {"digest": child}]}
    ).encode()
    await pulls(world)
    await world.settle(1)
    world.downloads.manifests[child] = json.dumps({"config": {"digest": LAYER}, "layers": []}).encode()
    for received in range(10):
        world.downloads.under_way = [layer(received), Download(f"manifest-{child}", 0, 10)]
        await world.settle(1)
    assert world.runtime.pulling == {A}


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"layers": [{}]}', b'{"layers": 7}', b"\xff"])
async def test_a_manifest_that_cannot_be_read_makes_nobody_else_of_its_downloads(
    start: StartAgent, body: bytes
) -> None:
    world = start()
    world.downloads.manifests[TARGET] = body
    await pulls(world)
    world.downloads.under_way = [layer(3)]
    await world.settle(10)
    assert world.runtime.pulling == {A}


async def test_being_stopped_while_it_waits_for_kubelet_is_quick(start: StartAgent) -> None:
    world = start()
    world.downloads.under_way = [layer(1, digest=OTHER)]
    world.plan(world.granted(A, "g1"))
    await world.settle(2)
    world.stopping.set()
    async with asyncio.timeout(1):
        await world.task
    assert world.runtime.pulled == []
