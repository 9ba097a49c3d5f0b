"""A client is opened once, counts what it sends, and leaves nothing behind."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from tidegate.metrics import Metrics
from tidegate.registry.errors import Unreachable


async def well(_: web.Request) -> web.Response:
    return web.Response(body=b"{}")


async def test_not_before_it_is_open(client: Any) -> None:
    replica = client("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="new"):
        await replica.manifest("team/app", "v1")
    with pytest.raises(RuntimeError, match="new"):
        await replica.has_blob("team/app", "sha256:" + "0" * 64)
    assert (replica.requests, replica.pause_left_s()) == (0, 0.0)


async def test_not_after_it_is_closed_and_not_twice(serve: Any, client: Any) -> None:
    server = await serve(well)
    replica = client(server)
    async with replica:
        await replica.manifest("team/app", "v1")
    with pytest.raises(RuntimeError, match="closed"):
        await replica.manifest("team/app", "v1")
    with pytest.raises(RuntimeError, match="make a new one"):
        await replica.__aenter__()
    assert replica.requests == 1


async def test_it_is_not_opened_while_it_is_open(client: Any) -> None:
    async with client("http://127.0.0.1:1") as replica:
        with pytest.raises(RuntimeError, match="open"):
            await replica.__aenter__()


async def test_closing_ends_calls_that_wait(serve: Any, client: Any) -> None:
    arrived = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = await serve(never)
    async with client(server) as replica:
        waiting = asyncio.create_task(replica.manifest("team/app", "v1"))
        await arrived.wait()
    with pytest.raises((Unreachable, RuntimeError)):
        await waiting


async def test_cancelling_a_call_in_the_middle_of_a_body_leaves_the_client_usable(serve: Any, client: Any) -> None:
    arrived = asyncio.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        arrived.set()
        await asyncio.Event().wait()
        return response

    server = await serve(half)
    async with client(server) as replica:
        waiting = asyncio.create_task(replica.manifest("team/app", "v1"))
        await arrived.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        server.answer = well
        await replica.manifest("team/app", "v1")


async def test_every_request_is_counted_with_its_code(serve: Any, client: Any, metrics: Metrics) -> None:
    statuses = iter([200, 404, 503, 500])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses), body=b"{}")

    server = await serve(answer)
    mine: list[None] = []
    async with client(server) as replica:
        await replica.manifest("team/app", "v1", on_request=lambda: mine.append(None))
        await replica.has_blob("team/app", "sha256:" + "0" * 64)
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1", on_request=lambda: mine.append(None))
        assert replica.requests == 4
    assert len(mine) == 3
    labels = {"registry": "registry.example", "replica": "west"}
    for method, code in (("GET", "200"), ("HEAD", "404"), ("GET", "503"), ("GET", "500")):
        sample = {**labels, "method": method, "code": code}
        assert metrics.registry.get_sample_value("tidegate_registry_requests_total", sample) == 1
    assert metrics.registry.get_sample_value("tidegate_registry_request_duration_seconds_count", labels) == 4


async def test_what_gets_no_answer_is_counted_as_error(client: Any, metrics: Metrics) -> None:
    async with client("http://127.0.0.1:1") as replica:
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1")
    sample = {"registry": "registry.example", "replica": "west", "method": "GET", "code": "error"}
    assert metrics.registry.get_sample_value("tidegate_registry_requests_total", sample) == 1


async def test_no_cookie_is_kept(serve: Any, client: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers={"Set-Cookie": "session=1; Path=/"})

    server = await serve(answer)
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
        await replica.manifest("team/app", "v1")
    assert all("Cookie" not in one.headers for one in server.seen)


async def test_connections_are_used_again(serve: Any, client: Any) -> None:
    ports: set[int] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(status=404, body=b'{"errors":[]}')

    server = await serve(answer)
    async with client(server) as replica:
        for _ in range(5):
            await replica.has_blob("team/app", "sha256:" + "0" * 64)
    assert len(ports) == 1


@pytest.mark.parametrize("versions", [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)])
async def test_tls_of_today(
    serve: Any, client: Any, server_tls: ssl.SSLContext, ca_file: str, versions: tuple[ssl.TLSVersion, bool]
) -> None:
    before = server_tls.maximum_version
    server_tls.maximum_version = versions[0]
    try:
        server = await serve(well, tls=True)
        async with client(server, replica={"caFile": ca_file}) as replica:
            await replica.manifest("team/app", "v1")
    finally:
        server_tls.maximum_version = before


async def test_a_bundle_of_another_ca_refuses_the_replica(serve: Any, client: Any, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = await serve(well, tls=True)
    async with client(server, replica={"caFile": str(tmp_path / "ca.pem")}) as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.manifest("team/app", "v1")
    assert caught.value.step == "tls"


async def test_a_certificate_for_another_name_refuses_the_replica(serve: Any, client: Any, ca_file: str) -> None:
    server = await serve(well, tls=True)
    async with client(f"https://127.0.0.2:{server.port}", replica={"caFile": ca_file}) as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.manifest("team/app", "v1")
    assert caught.value.step in {"tls", "connect"}


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["missing", "garbage"])
async def test_a_bundle_that_cannot_be_read_is_said_at_opening(
    client: Any, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError is one, and the caller knows which file it named
        async with client("https://127.0.0.1:1", replica={"caFile": str(file)}):
            raise AssertionError


async def test_nothing_of_the_environment_is_used(serve: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = await serve(well)
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
