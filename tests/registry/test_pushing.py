"""How a registry is filled and emptied, and what it refuses: one suite for the double and for distribution."""

import io
import json
from typing import Any
from urllib.parse import urljoin

import pytest

from tidegate.testing.images import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Family,
    build_image,
    build_index,
    build_schema1,
)
from tidegate.testing.layers import digest_of
from tidegate.testing.push import PushRefused, push_blob

NOWHERE = digest_of(b"no registry has this")
Registry = Any
"""A repository of the registry under test, and its answers; see conftest."""
Answer = Any


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
