"""What a registry does: one suite for the double and for distribution, so that the double may stand in for it."""

from typing import Any

import pytest

from tidegate.testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Family,
    build_image,
    build_index,
)
from tidegate.testing.layers import digest_of

Registry = Any
"""A repository of the registry under test; see conftest."""
NOWHERE = digest_of(b"no registry has this")


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
)
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
