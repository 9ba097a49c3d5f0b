"""Manifests come by GET, whole and small, and their bytes decide."""

import asyncio
import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate.registry import accept
from tidegate.registry.bounds import MANIFEST_BYTES
from tidegate.registry.errors import Mismatch, NotFound, RegistryError, Unreachable, Unsupported

BODY = b'{"schemaVersion": 2}'


def digest(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def says(body: bytes = BODY, status: int = 200, **more: Any) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, **more)

    return answer


def streams(chunk: bytes, chunks: int) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(chunks):
            await response.write(chunk)
        await response.write_eof()
        return response

    return answer


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_by_digest_the_bytes_are_compared(serve: Any, client: Any, algorithm: str) -> None:
    server = await serve(says())
    async with client(server) as replica:
        manifest = await replica.manifest("team/app", digest(BODY, algorithm))
        assert (manifest.body, manifest.digest) == (BODY, digest(BODY, algorithm))
        with pytest.raises(Mismatch) as caught:
            await replica.manifest("team/app", digest(b"other", algorithm))
    assert digest(BODY, algorithm)[:40] in caught.value.detail
    assert server.lines[0] == f"GET /v2/team/app/manifests/{digest(BODY, algorithm)}"


async def test_by_tag_the_digest_is_computed_and_headers_are_not_believed(serve: Any, client: Any) -> None:
    server = await serve(says(headers={"Docker-Content-Digest": digest(b"a lie")}))
    async with client(server) as replica:
        assert (await replica.manifest("team/app", "v1")).digest == digest(BODY)


async def test_all_four_types_are_accepted_and_nothing_is_compressed(serve: Any, client: Any) -> None:
    server = await serve(says())
    async with client(server) as replica:
        await replica.manifest("team/app", "v1")
    headers = server.seen[0].headers
    assert headers["Accept"].split(", ") == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("tidegate/")


@pytest.mark.parametrize(
    "header,expected",
    [
        pytest.param(accept.OCI_INDEX, accept.OCI_INDEX, id="plain"),
        pytest.param(f"{accept.OCI_INDEX}; charset=utf-8", accept.OCI_INDEX, id="parameters"),
        pytest.param(f" {accept.OCI_INDEX.upper()} ;x", accept.OCI_INDEX, id="upper-case"),
        pytest.param("", "", id="empty"),
        pytest.param(";" * 400, "", id="semicolons"),
        pytest.param("a" * 4000, "a" * 255, id="long"),
    ],
)
async def test_the_media_type_comes_without_parameters(serve: Any, client: Any, header: str, expected: str) -> None:
    server = await serve(says(headers={"Content-Type": header}))
    async with client(server) as replica:
        assert (await replica.manifest("team/app", "v1")).media_type == expected


@pytest.mark.parametrize(
    "answer,error",
    [
        pytest.param(says(b"x" * (MANIFEST_BYTES + 1)), Unsupported, id="one-byte-over"),
        pytest.param(streams(b"x" * 65536, MANIFEST_BYTES // 65536 + 1), Unsupported, id="one-chunk-over"),
        pytest.param(says(status=404), NotFound, id="404"),
        pytest.param(says(b"", status=204), Unreachable, id="204"),
        pytest.param(says(b""), Unreachable, id="empty"),
        pytest.param(says(b"<html>sign in", content_type="text/html"), Unreachable, id="html"),
        pytest.param(says(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}), Unreachable, id="compressed"),
    ],
)
async def test_what_a_tag_may_not_answer(serve: Any, client: Any, answer: Any, error: type[RegistryError]) -> None:
    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(error):
            await replica.manifest("team/app", "v1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(says(b"x" * MANIFEST_BYTES), id="with-a-length"),
        pytest.param(streams(b"x" * 65536, MANIFEST_BYTES // 65536), id="in-chunks"),
    ],
)
async def test_four_mebibytes_are_taken(serve: Any, client: Any, answer: Any) -> None:
    server = await serve(answer)
    async with client(server) as replica:
        assert len((await replica.manifest("team/app", digest(b"x" * MANIFEST_BYTES))).body) == MANIFEST_BYTES


@pytest.mark.parametrize(
    "answer,error",
    [
        pytest.param(says(content_type="text/html"), None, id="right-bytes-whatever-the-type"),
        pytest.param(says(headers={"Content-Encoding": "gzip"}), None, id="right-bytes-whatever-the-encoding"),
        pytest.param(says(b"<html>", content_type="text/html"), Mismatch, id="html-under-a-digest"),
        pytest.param(says(b""), Mismatch, id="nothing-under-a-digest"),
        pytest.param(says(BODY + b"\n"), Mismatch, id="one-newline-more"),
        pytest.param(says(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}), Unreachable, id="compressed"),
    ],
)
async def test_under_a_digest_only_the_bytes_count(
    serve: Any, client: Any, answer: Any, error: type[RegistryError] | None
) -> None:
    server = await serve(answer)
    async with client(server) as replica:
        if error is None:
            assert (await replica.manifest("team/app", digest(BODY))).body == BODY
        else:
            with pytest.raises(error):
                await replica.manifest("team/app", digest(BODY))


async def test_a_replica_may_keep_repositories_under_other_names(serve: Any, client: Any) -> None:
    server = await serve(says())
    async with client(server, replica={"repository": "mirror/{path}-x"}) as replica:
        await replica.manifest("team/app", "v1")
    assert server.lines == ["GET /v2/mirror/team/app-x/manifests/v1"]


@pytest.mark.parametrize(
    "repository,reference",
    [
        pytest.param("team/app", "../../token", id="climbing-reference"),
        pytest.param("team/../../token", "v1", id="climbing-repository"),
        pytest.param("team/app", "v1?x=y", id="query"),
        pytest.param("team/app", "v1#x", id="fragment"),
        pytest.param("team/app", "v%2e", id="percent"),
        pytest.param("team/app", "v1\r\nX-Evil: 1", id="newline"),
        pytest.param("team/app\n", "v1", id="trailing-newline"),
        pytest.param("team//app", "v1", id="empty-component"),
        pytest.param("/team", "v1", id="leading-slash"),
        pytest.param("", "v1", id="no-repository"),
        pytest.param("team/app", "", id="no-reference"),
        pytest.param("team/app", "v" * 129, id="long-tag"),
        pytest.param("t" * 2000, "v1", id="long-repository"),
        pytest.param("team/app", "sha256:0000", id="short-digest"),
        pytest.param("team/app", "sha256:" + "A" * 64, id="upper-case-digest"),
        pytest.param("team/app", "md5:" + "a" * 32, id="md5"),
    ],
)
async def test_nothing_is_smuggled_into_a_url(serve: Any, client: Any, repository: str, reference: str) -> None:
    server = await serve(says())
    async with client(server) as replica:
        with pytest.raises(Unsupported):
            await replica.manifest(repository, reference)
    assert server.seen == []


async def test_a_small_blob_is_fetched_and_hashed(serve: Any, client: Any) -> None:
    server = await serve(says())
    async with client(server) as replica:
        assert await replica.blob("team/app", digest(BODY), most=100) == BODY
        with pytest.raises(Mismatch):
            await replica.blob("team/app", digest(b"other"), most=100)
        with pytest.raises(Unsupported):
            await replica.blob("team/app", digest(BODY), most=len(BODY) - 1)
        server.answer = says(status=404)
        with pytest.raises(NotFound):
            await replica.blob("team/app", digest(BODY), most=100)
        server.answer = says(status=206)
        with pytest.raises(Unreachable):
            await replica.blob("team/app", digest(BODY), most=100)
    assert server.lines[0] == f"GET /v2/team/app/blobs/{digest(BODY)}"


async def test_thirty_two_mebibytes_are_refused_by_their_length_alone(serve: Any, client: Any) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Length": str(32 * 2**20)})
        await response.prepare(request)
        try:
            for _ in range(512):
                await response.write(b"x" * 65536)
                sent += 65536
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    server = await serve(answer)
    async with client(server) as replica:
        with pytest.raises(Unsupported):
            await replica.manifest("team/app", "v1")
    assert sent < 16 * 2**20
