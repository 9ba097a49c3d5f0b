"""What a registry does: one suite for the double and for distribution, so that the double may stand in for it."""

import io
import json
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from tidegate.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Family,
    Image,
    build_image,
    build_index,
    build_schema1,
)  # fmt: skip
from tidegate.testing.layers import digest_of
from tidegate.testing.push import PushRefused, push_blob, push_image

EVERYTHING = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
NOWHERE = digest_of(b"no registry has this")


class Answer:
    """What came back, for assertions."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in json.loads(self.body)["errors"]]


class Registry:
    """The few requests that the suite makes, in one repository."""

    def __init__(self, http: aiohttp.ClientSession, url: str, repository: str) -> None:
        self.http, self.url, self.repository = http, url, repository

    async def ask(self, method: str, path: str, *, accept: str = EVERYTHING, **options: Any) -> Answer:
        headers = {"Accept": accept} if accept else {}
        headers |= options.pop("headers", {})
        target = path if path.startswith("http") else f"{self.url}/v2/{self.repository}/{path}"
        async with self.http.request(method, target, headers=headers, allow_redirects=False, **options) as response:
            return Answer(response, await response.read())

    async def push(self, image: Image, **options: Any) -> None:
        await push_image(self.http, self.url, self.repository, image, **options)

    async def manifest(self, reference: str, method: str = "GET", **options: Any) -> Answer:
        return await self.ask(method, f"manifests/{reference}", **options)

    async def blob(self, digest: str, method: str = "GET", **headers: str) -> Answer:
        return await self.ask(method, f"blobs/{digest}", headers=headers)


@pytest.fixture
def there(http: aiohttp.ClientSession, registry: Any, repository: str) -> Registry:
    return Registry(http, registry.url, repository)


@pytest.fixture
def elsewhere(http: aiohttp.ClientSession, registry: Any, repository: str) -> Registry:
    """Another repository of the same registry."""
    return Registry(http, registry.url, f"{repository}/other")


async def test_the_base_says_that_this_is_a_registry(there: Registry) -> None:
    answer = await there.ask("GET", f"{there.url}/v2/")

    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name.lower())
async def test_a_manifest_is_found_by_tag_and_digest(there: Registry, family: Family, by: str, method: str) -> None:
    image = build_image(family=family)
    await there.push(image, tag="1.0")

    answer = await there.manifest("1.0" if by == "tag" else image.digest, method)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == image.media_type
    assert answer.headers["Docker-Content-Digest"] == image.digest
    assert answer.headers["Content-Length"] == str(len(image.manifest))
    assert answer.headers["Etag"] == f'"{image.digest}"'
    assert answer.body == (image.manifest if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_is_found(there: Registry, method: str) -> None:
    image = build_image()
    await there.push(image, tag="1")
    content = image.blobs[image.layers[0]]

    answer = await there.blob(image.layers[0], method)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Docker-Content-Digest"] == image.layers[0]
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Etag"] == f'"{image.layers[0]}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "max-age=31536000"
    assert answer.body == (content if method == "GET" else b"")


@pytest.mark.parametrize(
    "header, status, part",
    [
        pytest.param("bytes=0-0", 206, slice(0, 1), id="the-first-byte"),
        pytest.param("bytes=5-9", 206, slice(5, 10), id="in-the-middle"),
        pytest.param("bytes=8000-", 206, slice(8000, None), id="to-the-end"),
        pytest.param("bytes=-7", 206, slice(-7, None), id="the-last-bytes"),
        pytest.param("bytes=8000-99999999", 206, slice(8000, None), id="over-the-end"),
        pytest.param("", 200, slice(None), id="none"),
    ],
)  # fmt: skip
async def test_a_range_of_a_blob(there: Registry, header: str, status: int, part: slice) -> None:
    image = build_image(layers=1, layer_bytes=9000)
    await there.push(image, tag="1")
    content = image.blobs[image.layers[0]]

    answer = await there.blob(image.layers[0], **({"Range": header} if header else {}))

    assert (answer.status, answer.body) == (status, content[part])
    if status == 206:
        first = range(len(content))[part][0]
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(content)}"


@pytest.mark.since_distribution_3
async def test_a_range_behind_the_end(there: Registry) -> None:
    image = build_image()
    await there.push(image, tag="1")

    answer = await there.blob(image.layers[0], Range="bytes=99999999-")

    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(image.blobs[image.layers[0]])}"


@pytest.mark.parametrize("repository_there", [True, False], ids=["known-repository", "unknown-repository"])
@pytest.mark.parametrize(
    "path, code",
    [
        pytest.param("manifests/9.9", "MANIFEST_UNKNOWN", id="tag"),
        pytest.param(f"manifests/{NOWHERE}", "MANIFEST_UNKNOWN", id="manifest"),
        pytest.param(f"blobs/{NOWHERE}", "BLOB_UNKNOWN", id="blob"),
    ],
)
async def test_what_is_not_there(there: Registry, path: str, code: str, *, repository_there: bool) -> None:
    if repository_there:
        await there.push(build_image(), tag="1")

    got, headed = await there.ask("GET", path), await there.ask("HEAD", path)

    assert (got.status, got.codes) == (404, [code])
    assert got.headers["Content-Type"].startswith("application/json")
    assert (headed.status, headed.body) == (404, b"")


@pytest.mark.parametrize(
    "path, status, code",
    [
        pytest.param("blobs/sha256:abc", 400, "DIGEST_INVALID", id="far-too-short"),
        pytest.param(f"blobs/sha256:{'a' * 63}", 400, "DIGEST_INVALID", id="too-short"),
        pytest.param(f"blobs/sha256:{'A' * 64}", 400, "DIGEST_INVALID", id="upper-case"),
        pytest.param(f"blobs/md5:{'a' * 32}", 400, "DIGEST_INVALID", id="unknown-algorithm"),
        pytest.param("manifests/-1", 404, None, id="no-tag"),
        pytest.param(f"manifests/{'a' * 129}", 404, None, id="long-tag"),
        pytest.param("nothing/here", 404, None, id="no-route"),
    ],
)
async def test_a_path_that_is_none(there: Registry, path: str, status: int, code: str | None) -> None:
    await there.push(build_image(), tag="1")

    answer = await there.ask("GET", path)

    assert answer.status == status
    if code is not None:
        assert answer.codes == [code]
    else:
        assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.since_distribution_3
async def test_a_repository_name_may_have_255_characters(there: Registry) -> None:
    longest = await there.ask("GET", f"{there.url}/v2/{'a' * 255}/manifests/1")
    too_long = await there.ask("GET", f"{there.url}/v2/{'a' * 256}/manifests/1")

    assert (longest.status, longest.codes) == (404, ["MANIFEST_UNKNOWN"])
    assert too_long.status == 500
    assert "not be more than 255 characters" in too_long.body.decode()


class TestPresenceIsPerRepository:
    async def test_a_blob_of_another_repository_is_absent(self, there: Registry, elsewhere: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await elsewhere.blob(image.layers[0], "HEAD")).status == 404

    async def test_a_manifest_of_another_repository_is_absent(self, there: Registry, elsewhere: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await elsewhere.manifest(image.digest, "HEAD")).status == 404

    async def test_a_mount_brings_it(self, there: Registry, elsewhere: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        query = {"mount": image.layers[0], "from": there.repository}
        mounted = await elsewhere.ask("POST", "blobs/uploads/", params=query)

        assert mounted.status == 201
        assert mounted.headers["Docker-Content-Digest"] == image.layers[0]
        assert (await elsewhere.blob(image.layers[0], "HEAD")).status == 200

    async def test_a_mount_of_nothing_begins_an_upload(self, there: Registry, elsewhere: Registry) -> None:
        query = {"mount": NOWHERE, "from": there.repository}

        assert (await elsewhere.ask("POST", "blobs/uploads/", params=query)).status == 202

    async def test_a_manifest_is_no_blob(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await there.blob(image.digest, "HEAD")).status == 404

    @pytest.mark.since_distribution_3
    async def test_a_blob_is_no_manifest(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await there.manifest(image.config)).status == 404


class TestAccept:
    """Who does not accept an OCI type does not find it; who does not accept a Docker list gets a child of it."""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("accept", [DOCKER_MANIFEST, "*/*", f"{OCI_INDEX}, {DOCKER_LIST}"])
    async def test_an_oci_manifest_needs_its_type(self, there: Registry, accept: str, method: str) -> None:
        image = build_image()
        await there.push(image, tag="1")

        by_tag = await there.manifest("1", method, accept=accept)
        by_digest = await there.manifest(image.digest, method, accept=accept)

        assert (by_tag.status, by_digest.status) == (404, 404)
        if method == "GET":
            assert by_tag.codes == ["MANIFEST_UNKNOWN"]
            assert "accept header" in by_tag.body.decode()

    @pytest.mark.parametrize("accept", [f"{OCI_MANIFEST};q=0.5", f"text/html,{OCI_MANIFEST}", OCI_MANIFEST])
    async def test_parameters_and_neighbours_do_not_matter(self, there: Registry, accept: str) -> None:
        await there.push(build_image(), tag="1")

        assert (await there.manifest("1", accept=accept)).status == 200

    @pytest.mark.parametrize("accept", [OCI_MANIFEST, "*/*", ""])
    @pytest.mark.since_distribution_3
    async def test_an_oci_index_goes_to_everybody(self, there: Registry, accept: str) -> None:
        """Unlike an OCI manifest: version 3 looks for the index among the Docker lists, where it is not."""
        index = build_index([build_image()])
        await there.push(index, tag="1")

        answer = await there.manifest("1", accept=accept)

        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)

    @pytest.mark.parametrize("accept", [OCI_MANIFEST, "*/*", ""])
    @pytest.mark.since_distribution_3
    async def test_a_docker_manifest_goes_to_everybody(self, there: Registry, accept: str) -> None:
        image = build_image(family=Family.DOCKER)
        await there.push(image, tag="1")

        answer = await there.manifest("1", accept=accept)

        assert (answer.status, answer.headers["Content-Type"]) == (200, DOCKER_MANIFEST)

    async def test_a_docker_list_is_replaced_by_its_amd64_child(self, there: Registry) -> None:
        arm = build_image(family=Family.DOCKER, platform="linux/arm64", seed="arm")
        amd = build_image(family=Family.DOCKER, seed="amd")
        both = build_index([arm, amd], family=Family.DOCKER)
        await there.push(both, tag="1")

        by_tag = await there.manifest("1", accept=DOCKER_MANIFEST)
        by_digest = await there.manifest(both.digest, accept=DOCKER_MANIFEST)
        accepted = await there.manifest("1", accept=f"{DOCKER_MANIFEST}, {DOCKER_LIST}")

        assert (by_tag.headers["Docker-Content-Digest"], by_tag.body) == (amd.digest, amd.manifest)
        assert (by_digest.headers["Docker-Content-Digest"], by_digest.body) == (both.digest, both.manifest)
        assert accepted.headers["Docker-Content-Digest"] == both.digest

    async def test_a_docker_list_without_an_amd64_child_is_not_found(self, there: Registry) -> None:
        arm = build_image(family=Family.DOCKER, platform="linux/arm64")
        await there.push(build_index([arm], family=Family.DOCKER), tag="1")

        answer = await there.manifest("1", accept=DOCKER_MANIFEST)

        assert (answer.status, answer.codes) == (404, ["MANIFEST_UNKNOWN"])


class TestConditionalRequests:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_the_same_digest_is_not_modified(self, there: Registry, method: str) -> None:
        image = build_image()
        await there.push(image, tag="1")

        answer = await there.manifest("1", method, headers={"If-None-Match": f'"{image.digest}"'})

        assert (answer.status, answer.body) == (304, b"")

    async def test_another_digest_is_the_manifest(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        answer = await there.manifest("1", headers={"If-None-Match": f'"{NOWHERE}"'})

        assert (answer.status, answer.body) == (200, image.manifest)

    async def test_a_digest_is_compared_before_it_is_looked_up(self, there: Registry) -> None:
        """So a 304 to a question by digest proves nothing."""
        answer = await there.manifest(NOWHERE, headers={"If-None-Match": f'"{NOWHERE}"'})

        assert answer.status == 304

    async def test_blobs_too(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        answer = await there.blob(image.config, **{"If-None-Match": f'"{image.config}"'})

        assert (answer.status, answer.body) == (304, b"")


class TestPushingManifests:
    @pytest.mark.parametrize("family", list(Family), ids=lambda family: family.name.lower())
    @pytest.mark.parametrize("what", ["config", "layer"])
    async def test_a_missing_blob_is_refused(self, there: Registry, family: Family, what: str) -> None:
        image = build_image(family=family)
        missing = image.config if what == "config" else image.layers[1]

        with pytest.raises(PushRefused) as refused:
            await there.push(image, tag="1", without=[missing])

        assert refused.value.status == 400
        assert "MANIFEST_BLOB_UNKNOWN" in str(refused.value)
        assert missing in str(refused.value)
        assert (await there.manifest("1")).status == 404

    async def test_a_missing_child_is_refused(self, there: Registry) -> None:
        child = build_image()

        with pytest.raises(PushRefused) as refused:
            await there.push(build_index([child]), tag="1", without=[child.digest])

        assert refused.value.status == 400
        assert "MANIFEST_BLOB_UNKNOWN" in str(refused.value)

    async def test_an_index_with_attestations_and_an_index_inside(self, there: Registry) -> None:
        inner = build_index([build_image(seed="inner"), build_image(platform="linux/arm64", seed="arm")])
        index = build_index([build_image(seed="outer"), inner], attestations=True)
        await there.push(index, tag="1")

        assert (await there.manifest("1")).body == index.manifest
        for part in index.walk():
            assert (await there.manifest(part.digest, "HEAD")).status == 200

    async def test_foreign_layers_may_be_missing(self, there: Registry) -> None:
        image = build_image(foreign=1)
        await there.push(image, tag="1")

        assert (await there.manifest("1")).status == 200
        assert (await there.blob(image.layers[-1], "HEAD")).status == 404

    async def test_inline_data_does_not_spare_the_blob(self, there: Registry) -> None:
        with pytest.raises(PushRefused, match="MANIFEST_BLOB_UNKNOWN"):
            await there.push(build_image(inline_config=True), tag="1")

    async def test_a_manifest_without_media_type_is_an_oci_one(self, there: Registry) -> None:
        image = build_image(media_type_field=False)
        await there.push(image, tag="1")

        answer = await there.manifest("1")

        assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_MANIFEST)

    @pytest.mark.parametrize(
        "body, content_type",
        [
            pytest.param(b"not json", OCI_MANIFEST, id="no-json"),
            pytest.param(build_image().manifest, DOCKER_MANIFEST, id="another-type-inside"),
            pytest.param(build_image().manifest, "application/json", id="unknown-type"),
            pytest.param(build_schema1().manifest, build_schema1().media_type, id="schema-1"),
        ],
    )
    async def test_what_is_no_manifest(self, there: Registry, body: bytes, content_type: str) -> None:
        answer = await there.manifest("1", "PUT", data=body, headers={"Content-Type": content_type})

        assert (answer.status, answer.codes) == (400, ["MANIFEST_INVALID"])

    async def test_a_manifest_over_4_mib(self, there: Registry) -> None:
        image = build_image(annotations={"padding": "x" * (4 << 20)})

        with pytest.raises(PushRefused, match="MANIFEST_INVALID"):
            await there.push(image, tag="1")

    async def test_the_wrong_digest(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        answer = await there.manifest(NOWHERE, "PUT", data=image.manifest, headers={"Content-Type": image.media_type})

        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])

    async def test_a_tag_moves(self, there: Registry) -> None:
        old, new = build_image(seed="old"), build_image(seed="new")
        await there.push(old, tag="1")
        await there.push(new, tag="1")

        assert (await there.manifest("1")).body == new.manifest
        assert (await there.manifest(old.digest)).body == old.manifest

    async def test_the_answer_names_the_manifest(self, there: Registry) -> None:
        image = build_image()
        await there.push(image)

        answer = await there.manifest("1", "PUT", data=image.manifest, headers={"Content-Type": image.media_type})

        assert answer.status == 201
        assert answer.headers["Docker-Content-Digest"] == image.digest
        assert answer.headers["Location"].endswith(f"/v2/{there.repository}/manifests/{image.digest}")


class TestPushingBlobs:
    CONTENT = b"0123456789"

    async def begin(self, there: Registry) -> Answer:
        begun = await there.ask("POST", "blobs/uploads/")
        assert begun.status == 202
        assert begun.headers["Docker-Upload-UUID"] in begun.headers["Location"]
        return begun

    def next_of(self, there: Registry, answer: Answer) -> str:
        return urljoin(there.url, answer.headers["Location"])

    async def test_in_pieces(self, there: Registry) -> None:
        begun = await self.begin(there)
        octets = {"Content-Type": "application/octet-stream"}
        first = await there.ask("PATCH", self.next_of(there, begun), data=self.CONTENT[:4], headers=octets)
        status = await there.ask("GET", self.next_of(there, first))
        second = await there.ask(
            "PATCH", self.next_of(there, first), data=self.CONTENT[4:8],
            headers=octets | {"Content-Range": "4-7"},
        )  # fmt: skip
        last = await there.ask(
            "PUT", f"{self.next_of(there, second)}&digest={digest_of(self.CONTENT)}", data=self.CONTENT[8:],
            headers=octets,
        )  # fmt: skip

        assert (first.status, first.headers["Range"]) == (202, "0-3")
        assert (status.status, status.headers["Range"]) == (204, "0-3")
        assert (second.status, second.headers["Range"]) == (202, "0-7")
        assert (last.status, last.headers["Docker-Content-Digest"]) == (201, digest_of(self.CONTENT))
        assert (await there.blob(digest_of(self.CONTENT))).body == self.CONTENT

    @pytest.mark.since_distribution_3
    async def test_a_piece_in_the_wrong_place(self, there: Registry) -> None:
        begun = await self.begin(there)

        answer = await there.ask(
            "PATCH", self.next_of(there, begun), data=self.CONTENT,
            headers={"Content-Type": "application/octet-stream", "Content-Range": "4-13"},
        )  # fmt: skip

        assert (answer.status, answer.codes) == (416, ["RANGE_INVALID"])

    @pytest.mark.parametrize("digest", [NOWHERE, "sha256:abc", ""], ids=["another", "no-digest", "none"])
    async def test_the_wrong_digest(self, there: Registry, digest: str) -> None:
        begun = await self.begin(there)

        answer = await there.ask("PUT", f"{self.next_of(there, begun)}&digest={digest}", data=self.CONTENT)

        assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
        assert (await there.blob(digest_of(self.CONTENT), "HEAD")).status == 404

    async def test_given_up(self, there: Registry) -> None:
        begun = await self.begin(there)

        given_up = await there.ask("DELETE", self.next_of(there, begun))
        gone = await there.ask("GET", self.next_of(there, begun))

        assert given_up.status == 204
        assert (gone.status, gone.codes) == (404, ["BLOB_UPLOAD_UNKNOWN"])

    async def test_a_large_one_that_waits_for_the_word_to_go_on(self, there: Registry) -> None:
        content = bytes(3 << 20)
        begun = await self.begin(there)

        answer = await there.ask(
            "PUT", f"{self.next_of(there, begun)}&digest={digest_of(content)}", data=io.BytesIO(content), expect100=True
        )

        assert answer.status == 201


class TestDeleting:
    async def test_a_manifest(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await there.manifest(image.digest, "DELETE")).status == 202
        assert (await there.manifest(image.digest)).status == 404
        assert (await there.manifest("1")).status == 404
        assert (await there.blob(image.layers[0])).status == 200

    @pytest.mark.since_distribution_3
    async def test_a_tag(self, there: Registry) -> None:
        image = build_image()
        await there.push(image, tag="1")

        assert (await there.manifest("1", "DELETE")).status == 202
        assert (await there.manifest("1")).status == 404
        assert (await there.manifest(image.digest)).status == 200

    async def test_a_blob(self, there: Registry) -> None:
        """Which leaves a manifest whose image is incomplete: the way to make one on a real registry."""
        image = build_image()
        await there.push(image, tag="1")

        assert (await there.blob(image.layers[0], "DELETE")).status == 202
        assert (await there.blob(image.layers[0], "HEAD")).status == 404
        assert (await there.manifest("1")).status == 200

        await push_blob(there.http, there.url, there.repository, image.layers[0], image.blobs[image.layers[0]])
        assert (await there.blob(image.layers[0], "HEAD")).status == 200

    @pytest.mark.parametrize(
        "path, code",
        [
            pytest.param("manifests/9.9", "MANIFEST_UNKNOWN", id="tag", marks=pytest.mark.since_distribution_3),
            pytest.param(f"manifests/{NOWHERE}", "MANIFEST_UNKNOWN", id="manifest"),
            pytest.param(f"blobs/{NOWHERE}", "BLOB_UNKNOWN", id="blob"),
        ],
    )
    async def test_what_is_not_there(self, there: Registry, path: str, code: str) -> None:
        await there.push(build_image(), tag="1")

        answer = await there.ask("DELETE", path)

        assert (answer.status, answer.codes) == (404, [code])


class TestTags:
    @pytest.mark.since_distribution_3
    async def test_all_and_by_the_page(self, there: Registry) -> None:
        for tag in ("b", "a", "c"):
            await there.push(build_image(), tag=tag)

        everything = await there.ask("GET", "tags/list")
        page = await there.ask("GET", "tags/list?n=2")
        rest = await there.ask("GET", "tags/list?n=2&last=b")

        assert json.loads(everything.body) == {"name": there.repository, "tags": ["a", "b", "c"]}
        assert json.loads(page.body)["tags"] == ["a", "b"]
        assert "last=b" in page.headers["Link"]
        assert json.loads(rest.body)["tags"] == ["c"]
        assert "Link" not in rest.headers

    async def test_of_an_unknown_repository(self, there: Registry) -> None:
        answer = await there.ask("GET", "tags/list")

        assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_method_that_is_none(there: Registry, method: str) -> None:
    await there.push(build_image(), tag="1")

    assert (await there.manifest("1", method)).status == 405
