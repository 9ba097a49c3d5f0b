"""Certificates of drills are proven by handshakes, and by handshakes that must fail."""

import asyncio
import ssl
from pathlib import Path

import pytest

from tidegate.testing.certificates import ServerCertificate, issue


async def _shake_hands(served: ServerCertificate, trusted: bytes, name: str, folder: Path) -> None:
    (folder / "crt").write_bytes(served.certificate)
    (folder / "key").write_bytes(served.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cadata=trusted.decode())
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
        writer.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_the_authority_vouches_for_each_name(name: str, tmp_path: Path) -> None:
    served = issue("localhost", "127.0.0.1")
    await _shake_hands(served, served.authority, name, tmp_path)


async def test_a_stranger_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await _shake_hands(issue("localhost"), issue("localhost").authority, "localhost", tmp_path)


async def test_another_name_is_not_vouched_for(tmp_path: Path) -> None:
    served = issue("localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        await _shake_hands(served, served.authority, "registry.example.com", tmp_path)
