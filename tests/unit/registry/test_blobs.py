"""A blob is there, or it is not, or the replica could not be asked."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry.errors import RegistryError, Throttled, Unauthorized, Unreachable, Unsupported

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
HEAD, GET = f"HEAD /v2/team/app/blobs/{DIGEST}", f"GET /v2/team/app/blobs/{DIGEST}"


def by_method(**statuses: int) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=statuses[request.method], headers={"Content-Length": "0"})

    return answer


@pytest.mark.parametrize(
    "statuses,there,lines",
    [
        pytest.param({"HEAD": 200}, True, [HEAD], id="there"),
        pytest.param({"HEAD": 404}, False, [HEAD], id="not-there"),
        pytest.param({"HEAD": 405, "GET": 206}, True, [HEAD, GET], id="no-head"),
        pytest.param({"HEAD": 405, "GET": 200}, True, [HEAD, GET], id="no-head-no-range"),
        pytest.param({"HEAD": 405, "GET": 404}, False, [HEAD, GET], id="no-head-not-there"),
        pytest.param({"HEAD": 405, "GET": 416}, True, [HEAD, GET], id="no-head-empty-blob"),
        pytest.param({"HEAD": 401, "GET": 206}, True, [HEAD, GET], id="public-ecr"),
        pytest.param({"HEAD": 403, "GET": 206}, True, [HEAD, GET], id="head-forbidden"),
        pytest.param({"HEAD": 400, "GET": 206}, True, [HEAD, GET], id="head-not-understood"),
    ],
)
async def test_answers(serve: Any, client: Any, statuses: Mapping[str, int], lines: list[str], *, there: bool) -> None:
    server = await serve(by_method(**statuses))
    async with client(server) as replica:
        assert await replica.has_blob("team/app", DIGEST) is there
    assert server.lines == lines


@pytest.mark.parametrize(
    "statuses,error",
    [
        pytest.param({"HEAD": 401, "GET": 401}, Unauthorized, id="401"),
        pytest.param({"HEAD": 403, "GET": 403}, Unauthorized, id="403"),
        pytest.param({"HEAD": 405, "GET": 405}, Unreachable, id="405"),
        pytest.param({"HEAD": 501, "GET": 501}, Unreachable, id="501"),
        pytest.param({"HEAD": 429}, Throttled, id="429"),
        pytest.param({"HEAD": 500}, Unreachable, id="500"),
        pytest.param({"HEAD": 503}, Unreachable, id="503"),
        pytest.param({"HEAD": 204}, Unreachable, id="204"),
        pytest.param({"HEAD": 418}, Unreachable, id="418"),
    ],
)
async def test_failures(serve: Any, client: Any, statuses: Mapping[str, int], error: type[RegistryError]) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=statuses[request.method], headers={"Retry-After": "9"})

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(error):
            await replica.has_blob("team/app", DIGEST)


async def test_the_fallback_asks_for_one_byte_and_reads_no_blob(serve: Any, client: Any) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        if request.method == "HEAD":
            return web.Response(status=405)
        response = web.StreamResponse(headers={"Content-Length": str(2**30)})  # no Range here
        await response.prepare(request)
        try:
            while sent < 2**30:
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            pass
        return response

    server = await serve(answer)
    async with client(server) as replica:
        assert await replica.has_blob("team/app", DIGEST)
    assert server.seen[1].headers["Range"] == "bytes=0-0"
    assert sent < 32 * 2**20


async def test_once_head_is_known_not_to_work_it_is_left_out(serve: Any, client: Any) -> None:
    server = await serve(by_method(HEAD=405, GET=206))
    async with client(server) as replica:
        await replica.has_blob("team/app", DIGEST)
        await replica.has_blob("team/app", OTHER)
    assert [one.method for one in server.seen] == ["HEAD", "GET", "GET"]


async def test_a_login_page_is_no_blob(serve: Any, client: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="sign in", content_type="text/html")

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Unreachable):
            await replica.has_blob("team/app", DIGEST)


def leads_to(*targets: str, status: int = 307) -> Callable[[web.Request], Any]:
    left = list(targets)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": left.pop(0) if len(left) > 1 else left[0]})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("there", [True, False])
async def test_storage_is_asked_whether_it_has_the_bytes(serve: Any, client: Any, status: int, *, there: bool) -> None:
    storage = await serve(by_method(HEAD=200 if there else 404), host="localhost")
    server = await serve(leads_to(f"{storage.url}/b?sig=a%2Fb", status=status))
    async with client(server) as replica:
        assert await replica.has_blob("team/app", DIGEST) is there
    assert storage.lines == ["HEAD /b"]


async def test_storage_whose_url_is_signed_for_get_is_asked_by_get(serve: Any, client: Any) -> None:
    storage = await serve(by_method(HEAD=403, GET=206), host="localhost")
    server = await serve(leads_to(f"{storage.url}/b"))
    async with client(server) as replica:
        assert await replica.has_blob("team/app", DIGEST)
    assert storage.lines == ["HEAD /b", "GET /b"]
    assert storage.seen[1].headers["Range"] == "bytes=0-0"


async def test_storage_that_refuses_is_named_and_the_repository_stays_usable(serve: Any, client: Any) -> None:
    storage = await serve(by_method(HEAD=403, GET=403), host="localhost")
    server = await serve(leads_to(f"{storage.url}/b"))
    async with client(server) as replica:
        with pytest.raises(Unauthorized, match="localhost"):
            await replica.has_blob("team/app", DIGEST)
        server.answer = by_method(HEAD=200)
        assert await replica.has_blob("team/app", DIGEST)


async def test_three_redirects_are_followed_and_a_fourth_is_not(serve: Any, client: Any) -> None:
    storage = await serve(by_method(HEAD=200), host="localhost")
    server = await serve(leads_to("/1", "/2", f"{storage.url}/3"))
    async with client(server) as replica:
        assert await replica.has_blob("team/app", DIGEST)
    server = await serve(leads_to("/1", "/2", "/3", f"{storage.url}/4"))
    async with client(server) as replica:
        with pytest.raises(Unsupported, match="3 times"):
            await replica.has_blob("team/app", DIGEST)
    assert storage.lines == ["HEAD /3"]


@pytest.mark.parametrize(
    "location,error",
    [
        pytest.param("/again", Unsupported, id="loop"),
        pytest.param("ftp://localhost/x", Unsupported, id="ftp"),
        pytest.param("http://u:p@localhost/x", Unsupported, id="credential"),
        pytest.param("http://169.254.169.254/latest/meta-data", Unsupported, id="instance-metadata"),
        pytest.param("http://localhost/" + "a" * 9000, Unreachable, id="longer-than-a-header"),
        pytest.param("http://localhost:99999/", Unreachable, id="no-url"),
        pytest.param("http://" + "a" * 300 + ".example/", Unreachable, id="no-dns-name"),
        pytest.param("", Unreachable, id="empty"),
    ],
)
async def test_redirects_that_lead_nowhere(serve: Any, client: Any, location: str, error: type[RegistryError]) -> None:
    server = await serve(leads_to(location))
    async with client(server) as replica:
        with pytest.raises(error):
            await replica.has_blob("team/app", DIGEST)


async def test_a_redirect_from_tls_to_plain_is_not_followed(serve: Any, client: Any, ca_file: str) -> None:
    plain = await serve(by_method(HEAD=200), host="localhost")
    server = await serve(leads_to(f"{plain.url}/b"), tls=True)
    async with client(server, replica={"caFile": ca_file}) as replica:
        with pytest.raises(Unsupported, match="plain"):
            await replica.has_blob("team/app", DIGEST)
    assert plain.seen == []
