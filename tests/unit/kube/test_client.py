"""The client against a server that misbehaves: bounds, evidence, and no call that waits for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trustme
from aiohttp import web

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import plain
from tidegate.kube.errors import Gone, KubeError, Unauthorized, Unavailable
from tidegate.kube.own import NodePull
from tidegate.kube.resources import NAMESPACES, NODEPULLS, NODES, PREPULLS
from tidegate.kube.shapes import Metadata, Namespace
from tidegate.kube.watching import EventType, Watching
from tidegate.testing.apiserver import ApiServerDouble

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[KubeClient]:
    """A client of a server that answers everything with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with KubeClient(plain(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
            yield client
    finally:
        await runner.cleanup()


def streamed(*chunks: bytes, broken: bool = False) -> Handler:
    """A watch that sends these chunks as they are."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        if broken and request.transport is not None:
            request.transport.abort()
        return response

    return handler


def line(kind: str, version: int, name: str = "n", **spec: Any) -> bytes:
    obj = {"metadata": {"name": name, "resourceVersion": str(version)}, "spec": spec}
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


async def versions(client: KubeClient, **options: Any) -> list[str]:
    watch = client.watch(NODEPULLS, resource_version="1", **options)
    async with asyncio.timeout(5), aclosing(watch):
        return [event.resource_version async for event in watch]


async def test_it_is_opened_once_and_not_used_before_or_after() -> None:
    client = KubeClient(plain("http://127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="not open yet"):
        await client.get(NODES, "n")
    async with client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await client.get(NODES, "n")
    with pytest.raises(RuntimeError, match="make a new one"):
        await client.__aenter__()


async def test_nobody_there_is_unavailable() -> None:
    async with KubeClient(plain("http://127.0.0.1:1")) as client:
        with pytest.raises(Unavailable, match="GET /api/v1/nodes/n"):
            await client.get(NODES, "n")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.get(NODES, "n", timeout_s=0.02), id="get"),
        pytest.param(lambda client: client.create(NODES, {"metadata": {"name": "n"}}, timeout_s=0.02), id="create"),
        pytest.param(lambda client: client.merge_patch(NODES, "n", {}, timeout_s=0.02), id="patch"),
        pytest.param(lambda client: client.delete(NODES, "n", timeout_s=0.02), id="delete"),
        pytest.param(lambda client: versions(client, watching=Watching(open_s=0.02)), id="watch"),
    ],
)  # fmt: skip
async def test_a_server_that_hangs_is_left_in_time(call: Callable[[KubeClient], Awaitable[Any]]) -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        api.stall()
        with pytest.raises(Unavailable, match="no answer in time"):
            await call(client)
        api.resume()
        await client.get(NAMESPACES, "default")


@pytest.mark.looptime
async def test_a_list_is_left_in_time_too() -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        api.stall()
        with pytest.raises(Unavailable, match="no answer in time"):
            await client.list(NODES)


async def test_a_watch_that_outlives_its_end_has_failed() -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        watch = client.watch(NODES, resource_version="1", watching=Watching(server_s=0.01, slack_s=0.02))
        made = asyncio.create_task(anext(watch))
        while not api.watches:  # noqa: ASYNC110  a loopback request
            await asyncio.sleep(0)
        api.stall()
        with pytest.raises(Unavailable, match="no answer in time"):
            await made


async def test_a_token_goes_along_and_a_wrong_one_is_unauthorized() -> None:
    async with ApiServerDouble(token="right") as api:
        async with KubeClient(api.connection()) as client:
            await client.get(NAMESPACES, "default")
        async with KubeClient(plain(api.url, token="wrong")) as client:
            with pytest.raises(Unauthorized):
                await client.get(NAMESPACES, "default")


async def test_a_watch_that_was_just_left_is_closed_with_the_client() -> None:
    """TLS says goodbye in steps, and this server never answers it."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    taken: list[asyncio.StreamWriter] = []

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        cast("asyncio.ReadTransport", writer.transport).pause_reading()
        taken.append(writer)

    server = await asyncio.start_server(busy, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    before = open_sockets()
    async with KubeClient(plain(f"https://127.0.0.1:{port}", context=trusting)) as client:
        watch = asyncio.create_task(anext(client.watch(NODES, resource_version="1")))
        while not taken:  # noqa: ASYNC110  a loopback request
            await asyncio.sleep(0)
        watch.cancel()
        await asyncio.wait([watch])
    assert open_sockets() == before + 1, "the server's"
    taken[0].transport.abort()
    server.close()
    await asyncio.sleep(0.02)  # the server's transports' own last steps


def open_sockets() -> int:
    return sum(
        path.readlink().name.startswith("socket:") for path in Path("/proc/self/fd").iterdir() if path.is_symlink()
    )


async def test_tls_is_verified() -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    strange = ssl.create_default_context()
    stranger.configure_trust(strange)

    async with ApiServerDouble(tls=context, ca_pem=ca.cert_pem.bytes()) as api:
        async with KubeClient(api.connection()) as client:
            await client.get(NAMESPACES, "default")
        async with KubeClient(plain(api.url, context=strange)) as client:
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await client.get(NAMESPACES, "default")


async def test_a_refusal_says_how_long_to_wait() -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        api.fail_next(1, code=HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=7)
        with pytest.raises(Unavailable) as told:
            await client.get(NAMESPACES, "default")
        assert (told.value.status, told.value.retry_after_s) == (429, 7.0)


async def test_a_redirect_is_not_followed() -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with served(handler) as client:
        with pytest.raises(Unavailable):
            await client.get(NODES, "n")
    assert seen == ["/api/v1/nodes/n"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"metadata": 7}', b"<html>"])
async def test_an_answer_that_is_no_object_is_unavailable(body: bytes) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with served(handler) as client:
        with pytest.raises(Unavailable, match="nodes: not the JSON"):
            await client.get(NODES, "n")
        with pytest.raises(Unavailable):
            await client.list(NODES)


async def test_one_object_that_does_not_decode_hides_no_other() -> None:
    items: list[dict[str, Any]] = [{"metadata": {"name": name}} for name in "abc"]
    items[1]["spec"] = {"nodeUid": 7}

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": items})

    async with served(handler) as client:
        listed = await client.list(NODEPULLS)
    assert [item.metadata.name for item in listed.items] == ["a", "c"]


async def test_items_may_be_null() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": None})

    async with served(handler) as client:
        listed = await client.list(NODEPULLS)
    assert (listed.items, listed.resource_version) == ([], "9")


async def test_a_list_whose_snapshot_is_gone_starts_over_and_ends() -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.query.get("continue", ""))
        if request.query.get("continue"):
            return web.json_response({"code": 410, "reason": "Expired"}, status=410)
        return web.json_response({"metadata": {"resourceVersion": "9", "continue": "token"}, "items": []})

    async with served(handler) as client:
        with pytest.raises(Gone):
            await client.list(NODEPULLS)
    assert asked == ["", "token"] * 3


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_lines_are_cut_wherever_the_chunks_end(size: int) -> None:
    body = b"".join(line("ADDED", number, nodeUid="x" * 30_000) for number in range(3))
    chunks = [body[start : start + size] for start in range(0, len(body), size)] if size > 7 else [body[:50], body[50:]]
    async with served(streamed(*chunks)) as client:
        assert await versions(client) == ["0", "1", "2"]


async def test_a_line_far_beyond_aiohttps_own_limit_is_one_event() -> None:
    async with served(streamed(line("ADDED", 5, nodeUid="x" * 2_000_000))) as client:
        assert await versions(client) == ["5"]


async def test_a_line_without_end_is_given_up() -> None:
    async with served(streamed(*[b"x" * (1 << 20)] * 18)) as client:
        with pytest.raises(Unavailable, match="line of more than"):
            await versions(client)


async def test_what_follows_the_last_newline_of_a_broken_stream_is_dropped() -> None:
    async with served(streamed(line("ADDED", 5), line("ADDED", 6)[:-10])) as client:
        assert await versions(client) == ["5"]


async def test_a_cut_connection_is_unavailable() -> None:
    async with served(streamed(line("ADDED", 5), broken=True)) as client:
        with pytest.raises(Unavailable):
            await versions(client)


@pytest.mark.parametrize(
    "last,error",
    [
        pytest.param(b'{"type":"ERROR","object":{"code":410,"reason":"Expired"}}\n', Gone, id="gone"),
        pytest.param(b'{"type":"ERROR","object":{"code":500}}\n', Unavailable, id="internal"),
        pytest.param(b'{"type":"ERROR","object":{}}\n', Unavailable, id="without a code"),
        pytest.param(b'{"type":"ERROR","object":{"code":403}}\n', KubeError, id="forbidden"),
        pytest.param(b"{broken\n", Unavailable, id="no JSON"),
        pytest.param(b'{"type":"ADDED"}\n', Unavailable, id="no object"),
        pytest.param(b'{"type":"ADDED","object":7}\n', Unavailable, id="an object that is none"),
    ],
)
async def test_errors_in_the_stream_are_raised(last: bytes, error: type[KubeError]) -> None:
    async with served(streamed(line("ADDED", 5), last)) as client:
        watch = client.watch(NODEPULLS, resource_version="1")
        async with asyncio.timeout(5), aclosing(watch):
            assert (await anext(watch)).type is EventType.ADDED
            with pytest.raises(error):
                await anext(watch)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"\n", id="an empty line"),
        pytest.param(line("NEWTYPE", 6), id="a type that we do not know"),
        pytest.param(line("MODIFIED", 6, nodeUid=7), id="an object that does not decode"),
    ],
)
async def test_what_cannot_be_understood_is_passed_over(odd: bytes) -> None:
    async with served(streamed(line("ADDED", 5), odd, line("ADDED", 7))) as client:
        assert await versions(client) == ["5", "7"]


async def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.json_response({"code": 404}, status=404)

    async with served(handler) as client:
        with pytest.raises(KubeError):
            await client.get(NODES, "../secrets?x=1#y")
    assert seen == ["/api/v1/nodes/..%2Fsecrets%3Fx%3D1%23y"]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda client: client.get(PREPULLS, "p"), id="a namespaced object without a namespace"),
        pytest.param(lambda client: client.get(NODES, "n", namespace="x"), id="a namespace where there is none"),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused(call: Callable[[KubeClient], Awaitable[Any]]) -> None:
    async with KubeClient(plain("http://127.0.0.1:1")) as client:
        with pytest.raises(ValueError, match="namespace"):
            await call(client)


async def test_what_is_created_names_its_kind() -> None:
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, await request.json()))
        return web.json_response({"metadata": {"name": "x"}})

    async with served(handler) as client:
        await client.create(NODEPULLS, NodePull(metadata=Metadata(name="x")))
        await client.create(NAMESPACES, Namespace(metadata=Metadata(name="x")))
        await client.create(PREPULLS, {"metadata": {"name": "x", "namespace": "ns"}})
    assert [(path, body["apiVersion"], body["kind"]) for path, body in seen] == [
        ("/apis/tidegate.dev/v1alpha1/nodepulls", "tidegate.dev/v1alpha1", "NodePull"),
        ("/api/v1/namespaces", "v1", "Namespace"),
        ("/apis/tidegate.dev/v1alpha1/namespaces/ns/prepulls", "tidegate.dev/v1alpha1", "PrePull"),
    ]
