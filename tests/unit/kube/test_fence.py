"""Only a leader writes, at the very moment of sending, and it knows what became of all it wrote."""

import asyncio

import pytest

from tidegate.kube.client import REQUEST_S, KubeClient
from tidegate.kube.errors import Unavailable
from tidegate.kube.fence import CLOSING_S, Fence
from tidegate.kube.resources import NAMESPACES
from tidegate.testing.apiserver import ApiServerDouble

pytestmark = pytest.mark.looptime


async def test_reading_is_free_and_writing_is_not() -> None:
    leads = [True]
    fence = Fence(lambda: leads[0])
    async with ApiServerDouble() as api, KubeClient(api.connection(), writing=fence.writing) as client:
        await client.merge_patch(NAMESPACES, "default", {"metadata": {"labels": {"a": "1"}}})
        leads[0] = False
        sent = len(api.requests)
        with pytest.raises(Unavailable, match="does not lead"):
            await client.merge_patch(NAMESPACES, "default", {"metadata": {"labels": {"a": "2"}}})
        assert len(api.requests) == sent
        assert (await client.get(NAMESPACES, "default")).metadata.labels["a"] == "1"
    assert fence.is_settled()


async def test_it_closes_when_what_is_under_way_is_done() -> None:
    fence, done = Fence(lambda: True), asyncio.Event()

    async def write() -> None:
        with fence.writing():
            await done.wait()

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    closing = asyncio.create_task(fence.close())
    await asyncio.sleep(CLOSING_S / 2)
    assert not closing.done()
    with pytest.raises(Unavailable), fence.writing():
        pass
    done.set()
    await closing
    await writing
    assert fence.is_settled()
    fence.open()
    with fence.writing():
        pass


async def test_what_was_broken_off_may_still_come_to_be() -> None:
    fence = Fence(lambda: True)

    async def write() -> None:
        with fence.writing():
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await fence.close()
    assert asyncio.get_running_loop().time() - began == pytest.approx(CLOSING_S, abs=0.1)
    writing.cancel()
    await asyncio.wait([writing])
    assert not fence.is_settled()
    await asyncio.sleep(REQUEST_S)
    assert fence.is_settled()
