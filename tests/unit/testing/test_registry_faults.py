"""Each fault, seen from outside: what is told to the double is what a client meets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tidegate.testing.images import OCI_MANIFEST, build_image
from tidegate.testing.layers import digest_of
from tidegate.testing.registry import (
    NO_FAULTS,
    Answer,
    Cut,
    Faults,
    Kind,
    Lag,
    Redirect,
    RegistryDouble,
    Stall,
    Throttle,
)

IMAGE = build_image(layers=2, layer_bytes=200_000)
LAYER = IMAGE.layers[0]
CONTENT = IMAGE.blobs[LAYER]
MANIFEST_PATH = f"/v2/app/manifests/{IMAGE.digest}"
BLOB_PATH = f"/v2/app/blobs/{LAYER}"

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def filled(double: RegistryDouble) -> None:
    double.put("app", IMAGE, tag="1")


class TestPresence:
    async def test_what_is_lost_is_absent_and_what_is_received_is_back(self, double: RegistryDouble, ask: Ask) -> None:
        double.lose("app", LAYER, IMAGE.digest)
        assert (await ask("HEAD", double.url + BLOB_PATH)).status == 404
        assert (await ask("GET", f"{double.url}/v2/app/manifests/1", Accept=OCI_MANIFEST)).status == 404

        double.receive("app", LAYER, IMAGE.digest)
        assert (await ask("HEAD", double.url + BLOB_PATH)).status == 200
        assert (await ask("GET", f"{double.url}/v2/app/manifests/1", Accept=OCI_MANIFEST)).status == 200

    async def test_a_part_of_an_image(self, double: RegistryDouble, ask: Ask) -> None:
        double.put("some", IMAGE, only=[IMAGE.digest, IMAGE.config])
        double.put("most", IMAGE, without=[LAYER])

        for repository in ("some", "most"):
            assert (await ask("HEAD", f"{double.url}/v2/{repository}/blobs/{IMAGE.config}")).status == 200
            assert (await ask("HEAD", f"{double.url}/v2/{repository}/blobs/{LAYER}")).status == 404
            double.receive(repository, LAYER)
            assert (await ask("HEAD", f"{double.url}/v2/{repository}/blobs/{LAYER}")).status == 200

    async def test_a_replica_follows_what_is_pushed_to_home(self, double: RegistryDouble, ask: Ask) -> None:
        async with RegistryDouble() as replica:
            replication = replica.replicate_from(double, lag=Lag(blobs_s=None))
            assert (await ask("HEAD", replica.url + MANIFEST_PATH, Accept=OCI_MANIFEST)).status == 200
            assert (await ask("HEAD", replica.url + BLOB_PATH)).status == 404

            replication.catch_up()
            assert (await ask("HEAD", replica.url + BLOB_PATH)).status == 200

    async def test_a_lagging_replica_takes_a_manifest_without_its_blobs(self, double: RegistryDouble, ask: Ask) -> None:
        url = f"{double.url}/v2/new/manifests/1"
        assert (await ask("PUT", url, data=IMAGE.manifest, Content_Type=OCI_MANIFEST)).status == 400

        double.fault(checks_references=False)

        assert (await ask("PUT", url, data=IMAGE.manifest, Content_Type=OCI_MANIFEST)).status == 201


class TestThrottle:
    async def test_burst_and_one_pass_and_the_others_are_refused_as_nginx_does(
        self, double: RegistryDouble, ask: Ask
    ) -> None:
        double.fault(throttle=Throttle(rate=0.001, burst=4))

        answers = await asyncio.gather(*[ask("GET", f"{double.url}/v2/") for _ in range(12)])

        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) == double.throttled == double.count(status=429) == 7
        assert refused[0].headers["Content-Type"] == "text/html"
        assert b"429 Too Many Requests" in refused[0].body
        assert "Retry-After" not in refused[0].headers

    async def test_as_a_registry_does(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(throttle=Throttle(rate=0.001, burst=0, retry_after="17", html=False))

        _, refused = [await ask("GET", f"{double.url}/v2/") for _ in range(2)]

        assert (refused.status, refused.headers["Retry-After"]) == (429, "17")
        assert json.loads(refused.body)["errors"][0]["code"] == "TOOMANYREQUESTS"

    async def test_it_may_look_at_some_requests_only(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(throttle=Throttle(rate=0.001, burst=0, path="/manifests/", methods=("GET",), status=503))

        manifests = [(await ask("GET", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)).status for _ in range(2)]
        heads = [(await ask("HEAD", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)).status for _ in range(2)]
        blobs = [(await ask("GET", double.url + BLOB_PATH)).status for _ in range(2)]

        assert (manifests, heads, blobs) == ([200, 503], [200, 200], [200, 200])

    async def test_other_faults_may_change_without_filling_the_bucket(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(throttle=Throttle(rate=0.001, burst=0))
        await ask("GET", f"{double.url}/v2/")

        double.fault(latency_s=0.001)
        assert (await ask("GET", f"{double.url}/v2/")).status == 429

        double.fault(throttle=Throttle(rate=0.001, burst=1))
        assert (await ask("GET", f"{double.url}/v2/")).status == 200


class TestSpeed:
    async def test_latency(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(latency_s=0.03)
        clock = asyncio.get_running_loop().time

        begin = clock()
        await ask("GET", f"{double.url}/v2/")

        assert 0.03 <= clock() - begin < 1

    async def test_bandwidth_is_shared_by_all_blobs(self, double: RegistryDouble, ask: Ask) -> None:
        """Four of 200 kB at 20 MB/s are 40 ms, together or alone; manifests cost nothing."""
        double.fault(bandwidth=20e6)
        clock = asyncio.get_running_loop().time

        begin = clock()
        bodies = await asyncio.gather(*[ask("GET", double.url + BLOB_PATH) for _ in range(4)])

        assert 4 * len(CONTENT) / 20e6 - 0.002 <= clock() - begin < 1
        assert [body.body for body in bodies] == [CONTENT] * 4

    async def test_a_range_is_paced_too(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(bandwidth=20e6)

        answer = await ask("GET", double.url + BLOB_PATH, Range="bytes=5-70004")

        assert (answer.status, answer.body) == (206, CONTENT[5:70005])


class TestLies:
    @pytest.mark.parametrize("path, digest", [(MANIFEST_PATH, IMAGE.digest), (BLOB_PATH, LAYER)])
    async def test_other_bytes_under_the_same_digest(
        self, double: RegistryDouble, ask: Ask, path: str, digest: Any
    ) -> None:
        double.fault(lies={digest: b"something else"})

        answer = await ask("GET", double.url + path, Accept=OCI_MANIFEST)

        assert answer.body == b"something else"
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == "14"

    @pytest.mark.parametrize(
        "told, said",
        [(None, None), ("sha256:" + "0" * 64, "sha256:" + "0" * 64), ("{digest}", IMAGE.digest)],
    )
    async def test_the_digest_header(
        self, double: RegistryDouble, ask: Ask, told: str | None, said: str | None
    ) -> None:
        double.fault(digest_header=told)

        answer = await ask("HEAD", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)

        assert answer.headers.get("Docker-Content-Digest") == said

    async def test_the_content_type(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(content_type="{type}; charset=utf-8")

        answer = await ask("GET", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)

        assert answer.headers["Content-Type"] == f"{OCI_MANIFEST}; charset=utf-8"

    async def test_no_content_length(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(chunked_manifests=True)

        answer = await ask("GET", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)

        assert (answer.body, "Content-Length" in answer.headers) == (IMAGE.manifest, False)

    async def test_ranges_may_be_ignored(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(ranges=False)

        answer = await ask("GET", double.url + BLOB_PATH, Range="bytes=0-0")

        assert (answer.status, len(answer.body)) == (200, len(CONTENT))

    async def test_accept_may_be_ignored(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(accept=False)

        assert (await ask("GET", double.url + MANIFEST_PATH, Accept="text/html")).status == 200


class TestAnswers:
    async def test_in_place_of_the_registrys_own(self, double: RegistryDouble, ask: Ask) -> None:
        broken = Answer(status=502, body=b"<h1>Bad Gateway</h1>", path=r"/blobs/", headers=(("Retry-After", "3"),))
        double.fault(answers=(broken,))

        answer = await ask("GET", double.url + BLOB_PATH)

        assert (answer.status, answer.body) == (502, b"<h1>Bad Gateway</h1>")
        assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == ("text/html", "3")
        assert (await ask("GET", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)).status == 200

    async def test_so_many_times(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(answers=(Answer(status=503, times=2),))
        assert [(await ask("GET", f"{double.url}/v2/")).status for _ in range(3)] == [503, 503, 200]

        double.fault(answers=())
        double.fault(answers=(Answer(status=503, times=2),))
        assert (await ask("GET", f"{double.url}/v2/")).status == 503

    async def test_no_head(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(answers=(Answer(status=405, methods=("HEAD",)),))

        assert (await ask("HEAD", double.url + BLOB_PATH)).status == 405
        assert (await ask("GET", double.url + BLOB_PATH)).status == 200

    @pytest.mark.parametrize("chunked", [True, False])
    async def test_an_oversize_one(self, double: RegistryDouble, ask: Ask, *, chunked: bool) -> None:
        double.fault(answers=(Answer(status=200, body=b"{}", padding=5 << 20, chunked=chunked),))

        answer = await ask("GET", double.url + MANIFEST_PATH)

        assert (len(answer.body), answer.body[:4]) == ((5 << 20) + 2, b"{}  ")
        assert ("Content-Length" in answer.headers) is not chunked


class TestSilence:
    async def test_no_answer_at_all(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(stalls=(Stall(path="/manifests/"),))

        asking = asyncio.create_task(ask("GET", double.url + MANIFEST_PATH))
        await double.record.until(lambda record: record.in_flight == 1)
        assert (await ask("GET", double.url + BLOB_PATH)).status == 200
        assert not asking.done()

        asking.cancel()
        await double.record.until(lambda record: record.in_flight == 0)
        assert double.requests[0].status is None

    async def test_in_the_middle_of_a_body(self, double: RegistryDouble) -> None:
        double.fault(stalls=(Stall(after=100_000),))

        async with aiohttp.ClientSession() as session, session.get(double.url + BLOB_PATH) as response:
            assert await response.content.readexactly(100_000) == CONTENT[:100_000]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await response.content.readexactly(1)

    async def test_a_double_ends_although_somebody_waits(self, ask: Ask) -> None:
        async with RegistryDouble(faults=Faults(stalls=(Stall(),))) as double:
            asking = asyncio.create_task(ask("GET", f"{double.url}/v2/"))
            await double.record.until(lambda record: record.in_flight == 1)

        with pytest.raises(aiohttp.ClientConnectionError):
            await asking

    async def test_a_reset_before_the_answer(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(cuts=(Cut(),))

        with pytest.raises(aiohttp.ClientConnectionError):
            await ask("GET", double.url + MANIFEST_PATH)

    @pytest.mark.parametrize("after", [0, 100_000])
    async def test_a_reset_in_the_middle(self, double: RegistryDouble, ask: Ask, after: int) -> None:
        double.fault(cuts=(Cut(after=after),))

        with pytest.raises(aiohttp.ClientError):
            await ask("GET", double.url + BLOB_PATH)

        assert double.requests[-1].sent == after


class TestRedirects:
    async def test_blobs_are_elsewhere(self, double: RegistryDouble, ask: Ask) -> None:
        double.fault(redirects=(Redirect(to="http://storage.test:9"),))

        answer = await ask("GET", f"{double.url}{BLOB_PATH}?signed=yes")

        assert (answer.status, answer.headers["Location"]) == (307, f"http://storage.test:9{BLOB_PATH}?signed=yes")
        assert (await ask("GET", double.url + MANIFEST_PATH, Accept=OCI_MANIFEST)).status == 200

    async def test_another_double_has_them(self, double: RegistryDouble) -> None:
        async with RegistryDouble() as storage, aiohttp.ClientSession() as session:
            storage.put("app", IMAGE)
            double.fault(redirects=(Redirect(to=storage.url, status=302),))

            async with session.get(double.url + BLOB_PATH) as response:
                assert await response.read() == CONTENT

            assert storage.count(kind=Kind.BLOB, status=200) == 1

    async def test_round_and_round(self, double: RegistryDouble) -> None:
        double.fault(redirects=(Redirect(to=double.url),))

        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.TooManyRedirects):
                await session.get(double.url + BLOB_PATH)


async def test_all_faults_end_at_once(double: RegistryDouble, ask: Ask) -> None:
    double.fault(answers=(Answer(status=500),), throttle=Throttle(rate=0.001, burst=0), lies={LAYER: b""})
    await ask("GET", f"{double.url}/v2/")

    double.faults = NO_FAULTS

    assert digest_of((await ask("GET", double.url + BLOB_PATH)).body) == LAYER
