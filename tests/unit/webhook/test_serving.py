"""Connections to the webhook: those that say nothing are cut, those that work or rest between reviews are not."""

import asyncio
from typing import Any

import pytest

from tidegate.testing.ports import free_port
from webhook.serve import serving

QUICK_S = 0.3


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    del scope
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b"\r\n")[0] + b" " + await reader.readexactly(2)


@pytest.mark.parametrize("said", [b"", b"P", b"POST /validate HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "P", "half"])
async def test_who_does_not_say_what_it_wants_is_cut_off(said: bytes) -> None:
    port = free_port()
    async with serving(app, port=port, headers_s=QUICK_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_a_body_may_take_its_time_and_a_connection_may_rest_between_two_reviews() -> None:
    port = free_port()
    async with serving(app, port=port, headers_s=QUICK_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(2 * QUICK_S)
            writer.write(b"b")
            assert await answer(reader) == b"HTTP/1.1 200 OK ok"
            await asyncio.sleep(2 * QUICK_S)
        writer.close()


async def test_what_trickles_in_after_an_answer_is_cut_off_too() -> None:
    port = free_port()
    async with serving(app, port=port, headers_s=QUICK_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await answer(reader) == b"HTTP/1.1 200 OK ok"
        writer.write(b"GET / HT")
        async with asyncio.timeout(5):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
