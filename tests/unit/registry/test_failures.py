"""A replica that is slow, broken, overloaded or no registry at all: bounded, retried once, and said in a line."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.config.registries import LimitsConfig
from tidegate.findings import DETAIL_LIMIT
from tidegate.registry.bounds import Timeouts
from tidegate.registry.errors import RegistryError, Throttled, Unauthorized, Unreachable

MANIFEST = "GET /v2/team/app/manifests/v1"
DIGEST = "sha256:" + "ab" * 32
QUICK = Timeouts(total_s=0.05, connect_s=0.05, evidence_s=0.02, retry_pause_s=0.0)


def one_after_another(*statuses: int, **headers: str) -> Callable[[web.Request], Any]:
    left = list(statuses)

    async def answer(_: web.Request) -> web.Response:
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, headers=headers if status >= 400 else {}, body=b"{}")

    return answer


@pytest.mark.parametrize(
    "statuses,asked,error",
    [
        pytest.param([503, 200], 2, None, id="503-then-well"),
        pytest.param([500, 500, 200], 2, Unreachable, id="500-twice"),
        pytest.param([502, 404], 2, RegistryError, id="502-then-404"),
        pytest.param([400, 200], 1, Unreachable, id="400-is-final"),
        pytest.param([401, 200], 1, Unauthorized, id="401-is-final"),
        pytest.param([403, 200], 1, Unauthorized, id="403-is-final"),
        pytest.param([408, 200], 1, Unreachable, id="408-is-final"),
    ],
)
async def test_one_retry_at_most(
    serve: Any, client: Any, statuses: list[int], asked: int, error: type[RegistryError] | None
) -> None:
    server = await serve(one_after_another(*statuses))
    async with client(server) as replica:
        if error is None:
            await replica.manifest("team/app", "v1")
        else:
            with pytest.raises(error):
                await replica.manifest("team/app", "v1")
    assert server.lines == [MANIFEST] * asked


async def test_a_server_that_asks_for_patience_is_not_pressed(serve: Any, client: Any) -> None:
    server = await serve(one_after_another(503, 200, **{"Retry-After": "30"}))
    async with client(server) as replica:
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1")
    assert len(server.seen) == 1


async def test_one_call_has_one_retry_whatever_it_is_spent_on(serve: Any, client: Any) -> None:
    hiccups = iter([503, 401, 503, 200])

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": "t"})
        status = next(hiccups)
        headers = {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'} if status == 401 else {}
        return web.Response(status=status, headers=headers)

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1")


@pytest.mark.parametrize(
    "script,step,asked",
    [
        pytest.param(b"", "connect", 2, id="hangs-up"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", "connect", 2, id="hangs-up-in-the-head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "protocol", 2, id="cut-body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", "protocol", 2, id="cut-chunk"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol", None, id="no-chunk-size"
        ),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", "protocol", 1, id="ssh"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", "protocol", 1, id="tls-alert"),
        pytest.param(b"HTTP/9.9 200 OK\r\n\r\n", "protocol", 1, id="http-9"),
        pytest.param(b"HTTP/1.1 20x OK\r\n\r\n", "protocol", 1, id="no-status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "protocol", 1, id="negative-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n", "protocol", 1, id="odd-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", "protocol", 1, id="long-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\x00Y: 1\r\n\r\n", "protocol", 1, id="nul-in-a-header"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol", 1, id="101"),
    ],
)
async def test_what_is_no_http(raw: Any, client: Any, script: bytes, step: str, asked: int | None) -> None:
    server = await raw(script)
    async with client(server) as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.manifest("team/app", "v1")
    assert caught.value.step == step
    assert len(caught.value.detail) <= DETAIL_LIMIT
    assert caught.value.detail.isprintable()
    if asked is not None:
        assert len(server.seen) == asked


async def test_nobody_listens(client: Any) -> None:
    async with client("http://127.0.0.1:1") as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.has_blob("team/app", DIGEST)
    assert caught.value.step == "connect"
    assert replica.requests == 1


async def test_a_name_that_nobody_has(client: Any) -> None:
    async with client(f"https://{'a' * 64}.invalid") as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.has_blob("team/app", DIGEST)
    assert caught.value.step == "dns"


async def test_plain_http_where_tls_was_meant(serve: Any, client: Any) -> None:
    server = await serve(one_after_another(200))
    async with client(f"https://127.0.0.1:{server.port}") as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.manifest("team/app", "v1")
    assert caught.value.step in {"tls", "connect"}


async def never(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def half_a_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"{")
    await asyncio.Event().wait()
    return response


@pytest.mark.parametrize("answer", [never, half_a_body], ids=["no-answer", "half-a-body"])
async def test_a_stall_ends_by_the_bound(serve: Any, client: Any, answer: Any) -> None:
    server = await serve(answer)
    async with client(server, timeouts=QUICK) as replica:
        with pytest.raises(Unreachable, match=r"0\.05 s") as caught:
            await replica.manifest("team/app", "v1")
    assert caught.value.step == "timeout"


async def test_a_realm_that_stalls_ends_by_the_bound(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return await never(request)
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    server = await serve(answer)
    async with client(server, timeouts=QUICK) as replica:
        with pytest.raises(Unreachable):
            await replica.manifest("team/app", "v1")


async def test_an_error_whose_words_stall_still_has_its_status(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=403, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"errors":')
        await asyncio.Event().wait()
        return response

    server = await serve(answer)
    async with client(server, timeouts=Timeouts(evidence_s=0.02)) as replica:
        with pytest.raises(Unauthorized, match="403"):
            await replica.manifest("team/app", "v1")


async def test_who_waits_for_a_connection_in_vain_is_told_by_the_bound(serve: Any, client: Any) -> None:
    server = await serve(never)
    async with client(server, timeouts=QUICK, limits=LimitsConfig(connections=1)) as replica:
        results = await asyncio.gather(
            *(replica.manifest("team/app", f"v{n}") for n in range(5)), return_exceptions=True
        )
    assert {type(result) for result in results} == {Unreachable}
    assert len(server.seen) <= 2  # the first gives its place up at its bound, microseconds before that of the second


async def test_a_megabyte_of_error_page_leaves_a_line(serve: Any, client: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=500, body=b"<html>" + b"sorry " * 200_000, content_type="text/html")

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Unreachable) as caught:
            await replica.manifest("team/app", "v1")
    assert len(str(caught.value)) <= DETAIL_LIMIT


@pytest.mark.parametrize(
    "header,left",
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("86400", 60.0, id="capped"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 60.0, id="date"),
    ],
)
async def test_a_429_is_obeyed_by_everybody(serve: Any, client: Any, metrics: Any, header: str, left: float) -> None:
    server = await serve(one_after_another(429, **{"Retry-After": header}))
    async with client(server) as replica:
        with pytest.raises(Throttled) as caught:
            await replica.manifest("team/app", "v1")
        assert caught.value.retry_after_s == left
        assert replica.pause_left_s() == pytest.approx(left, abs=1)
        with pytest.raises(Throttled) as caught:
            await replica.has_blob("team/other", DIGEST)
        assert caught.value.retry_after_s == pytest.approx(left, abs=1)
    assert len(server.seen) == 1
    sample = metrics.registry.get_sample_value
    assert sample("tidegate_throttled_total", {"registry": "registry.example", "caller": "tidegate"}) == 1


@pytest.mark.parametrize("header", ["0", "-1", "soon"])
async def test_a_429_of_a_moment_is_waited_out_and_tried_once_more(serve: Any, client: Any, header: str) -> None:
    server = await serve(one_after_another(429, 200, **{"Retry-After": header}))
    async with client(server) as replica:
        began = time.monotonic()
        await replica.manifest("team/app", "v1")
    assert len(server.seen) == 2
    assert (time.monotonic() - began > 0.9) is (header != "0")  # nothing that can be read is taken for one second


async def test_a_realm_that_throttles_pauses_the_replica(serve: Any, client: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(status=429, headers={"Retry-After": "9"})
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Throttled):
            await replica.manifest("team/app", "v1")
        assert replica.pause_left_s() > 8


@pytest.mark.parametrize("rate,burst", [(1.0, 3), (1.5, 1)])
async def test_requests_per_second_and_burst_bound_what_is_sent(
    serve: Any, client: Any, rate: float, burst: int
) -> None:
    server = await serve(one_after_another(200))
    limits = LimitsConfig(requestsPerSecond=rate, burst=burst)
    async with client(server, limits=limits, timeouts=Timeouts(total_s=0.5)) as replica:
        results = await asyncio.gather(
            *(replica.manifest("team/app", f"v{n}") for n in range(20)), return_exceptions=True
        )
    throttled = [result for result in results if isinstance(result, Throttled)]
    assert len(server.seen) == burst
    assert len(throttled) == 20 - burst


@pytest.mark.parametrize("connections", [1, 4])
async def test_connections_bound_what_is_in_flight(serve: Any, client: Any, connections: int) -> None:
    held = peak = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal held, peak
        held += 1
        peak = max(peak, held)
        await asyncio.sleep(0.005)
        held -= 1
        return web.Response(body=b"{}")

    server = await serve(answer)
    async with client(server, limits=LimitsConfig(connections=connections)) as replica:
        await asyncio.gather(*(replica.manifest("team/app", f"v{n}") for n in range(12)))
    assert peak == connections
