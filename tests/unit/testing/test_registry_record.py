"""The double tells what it was asked, opens once, speaks TLS, and keeps no secret of its clients."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import trustme

from tidegate.testing.images import build_image
from tidegate.testing.registry import Authorization, Kind, RegistryDouble
from tidegate.testing.registry.records import REMEMBERED, Record, Request

Ask = Callable[..., Awaitable[Any]]
IMAGE = build_image()


class TestRecord:
    async def test_each_request_is_there(self, double: RegistryDouble, ask: Ask) -> None:
        double.put("app", IMAGE)
        path = f"/v2/app/blobs/{IMAGE.config}"

        await ask("GET", f"{double.url}{path}?a=b", Range="bytes=0-4", X_Trace="7")

        (request,) = double.requests
        assert (request.method, request.path, request.query, request.kind) == ("GET", path, "a=b", Kind.BLOB)
        assert (request.status, request.sent, request.headers["x-trace"]) == (206, 5, "7")
        assert request.authorization is Authorization.NONE
        assert request.seconds is not None
        assert 0 <= request.seconds < 1

    @pytest.mark.parametrize(
        "header, kind",
        [
            ("Basic YTpi", Authorization.BASIC),
            ("bearer abc", Authorization.BEARER),
            ("AWS4-HMAC-SHA256 x", Authorization.OTHER),
        ],
    )
    async def test_a_credential_leaves_its_kind_and_nothing_else(
        self, double: RegistryDouble, ask: Ask, header: str, kind: Authorization
    ) -> None:
        await ask("GET", f"{double.url}/v2/", Authorization=header, Cookie="session=secret")

        (request,) = double.requests
        assert request.authorization is kind
        assert "authorization" not in request.headers
        assert "secret" not in repr(request)
        assert header.split()[1] not in repr(request)

    @pytest.mark.parametrize(
        "path, kind",
        [
            ("/v2/", Kind.BASE),
            ("/v2/a/b/manifests/1", Kind.MANIFEST),
            (f"/v2/a/blobs/{IMAGE.config}", Kind.BLOB),
            ("/v2/a/blobs/uploads/", Kind.UPLOAD),
            ("/v2/a/blobs/uploads/1-2", Kind.UPLOAD),
            ("/v2/a/tags/list", Kind.TAGS),
            ("/", Kind.OTHER),
        ],
    )
    async def test_its_kind_is_in_its_path(self, double: RegistryDouble, ask: Ask, path: str, kind: Kind) -> None:
        await ask("GET", f"{double.url}{path}")

        assert double.requests[0].kind is kind
        assert double.count(kind=kind) == double.count() == 1

    async def test_counts_go_by_method_kind_and_status(self, double: RegistryDouble, ask: Ask) -> None:
        double.put("app", IMAGE)
        await ask("HEAD", f"{double.url}/v2/app/blobs/{IMAGE.config}")
        await ask("HEAD", f"{double.url}/v2/other/blobs/{IMAGE.config}")
        await ask("GET", f"{double.url}/v2/app/manifests/9")

        assert double.count(method="HEAD") == double.count(kind=Kind.BLOB) == 2
        assert double.count(status=404) == 2
        assert double.count(method="HEAD", kind=Kind.BLOB, status=200) == 1
        assert [request.path for request in double.record.matching("manifests")] == ["/v2/app/manifests/9"]

        double.record.clear()
        assert (double.count(), len(double.requests)) == (0, 0)

    async def test_it_forgets_requests_and_no_counts(self) -> None:
        record = Record()
        for number in range(REMEMBERED + 5):
            request = Request(
                method="GET", path=str(number), query="", kind=Kind.OTHER, at=0.0,
                authorization=Authorization.NONE, headers={}, status=200,
            )  # fmt: skip
            record.arrive(request)
            record.leave(request, now=1.0)

        assert len(record.requests) == REMEMBERED
        assert record.requests[0].path == "5"
        assert record.count(status=200) == REMEMBERED + 5
        assert (record.in_flight, record.peak_in_flight) == (0, 1)

    async def test_waiting_for_it_has_an_end(self) -> None:
        with pytest.raises(TimeoutError):
            await Record().until(lambda record: record.count() > 0, within_s=0.01)


class TestLifeOfADouble:
    async def test_it_has_no_address_before_it_listens(self) -> None:
        with pytest.raises(RuntimeError, match="not listening"):
            _ = RegistryDouble().url

    async def test_it_opens_once(self) -> None:
        double = RegistryDouble()
        async with double:
            pass

        with pytest.raises(RuntimeError, match="make a new one"):
            await double.__aenter__()

    async def test_it_answers_nobody_after_its_end(self, ask: Ask) -> None:
        async with RegistryDouble() as double:
            url = double.url

        with pytest.raises(aiohttp.ClientConnectionError):
            await ask("GET", f"{url}/v2/")

    async def test_it_can_be_another_host(self, ask: Ask) -> None:
        async with RegistryDouble(host="localhost") as double:
            assert double.netloc.startswith("localhost:")
            assert (await ask("GET", f"{double.url}/v2/")).status == 200

    async def test_it_speaks_tls_with_the_certificate_that_it_is_given(self, ask: Ask) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        trusting, stranger = ssl.create_default_context(), ssl.create_default_context()
        authority.configure_trust(trusting)
        trustme.CA().configure_trust(stranger)

        async with RegistryDouble(ssl_context=context) as double:
            assert double.url.startswith("https://127.0.0.1:")
            assert (await ask("GET", f"{double.url}/v2/", ssl=trusting)).status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await ask("GET", f"{double.url}/v2/", ssl=stranger)
            # The refused handshake ends on the server's side too before the loop does.
            await asyncio.sleep(0)
