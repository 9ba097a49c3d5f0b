"""Connections that never shake hands: asyncio gives each half a megabyte, so only some are there at a time."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from controller.events.connections import MOST_HANDSHAKES, minded, receiving
from tidegate.testing.certificates import issue


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    pair = issue("localhost", "127.0.0.1")
    for name, content in (("ca", pair.authority), ("crt", pair.certificate), ("key", pair.key)):
        (folder / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "crt", folder / "key")
    app = web.Application(middlewares=[minded])
    app.add_routes([web.post("/", hello)])
    async with receiving(app, port=0, tls=tls, host="127.0.0.1") as port:
        yield port, ssl.create_default_context(cafile=folder / "ca")


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.02):
            return await reader.read(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def test_of_too_many_silent_ones_the_oldest_go_and_who_speaks_is_heard(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, trust):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * MOST_HANDSHAKES)]
        async with aiohttp.ClientSession() as http:
            for body in (b"", b"x" * 300_000):
                async with http.post(f"https://127.0.0.1:{port}/", data=body, ssl=trust) as answer:
                    assert await answer.read() == body
        cut = [await is_cut(reader) for reader, _ in silent]
        assert sum(cut) >= 2 * MOST_HANDSHAKES
        assert cut == sorted(cut, reverse=True), "oldest first"
        for _, writer in silent:
            writer.close()


async def test_who_talks_nonsense_is_cut_off(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"HTTP" not in await reader.read()
        writer.close()


async def test_what_comes_right_behind_the_handshake_is_not_lost(tmp_path: Path) -> None:
    """In TLS 1.3 a client's last word of the handshake and its request may be one packet."""
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    async with served(tmp_path) as (port, trust):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        inbound, outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(inbound, outbound, server_hostname="localhost")
        done: Any = False
        async with asyncio.timeout(5):
            while not done:
                try:
                    tls.do_handshake()
                    done = True
                    tls.write(request)
                except ssl.SSLWantReadError:
                    writer.write(outbound.read())
                    inbound.write(await reader.read(65536))
            writer.write(outbound.read())
            heard = b""
            while b"hi" not in heard:
                inbound.write(await reader.read(65536))
                try:
                    heard += tls.read(65536)
                except ssl.SSLWantReadError:
                    continue
        assert heard.startswith(b"HTTP/1.1 200")
        writer.close()
