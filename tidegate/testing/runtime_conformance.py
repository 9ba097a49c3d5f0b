"""What the agent, and a registry under its budget, rely on in a runtime: one suite for the double and for containerd.

A test module makes it its own, with a `node` fixture; it needs pytest and pytest-asyncio, and nothing but tests may
import it:

    class TestDouble(RuntimeConformance): ...
"""
# ruff: noqa: S101, PLR2004  these are tests; a number in an assertion is the specification

import asyncio
import uuid
from pathlib import Path
from typing import Protocol

import pytest

from tidegate.cri import Credential, CriImages, PullError
from tidegate.kube.own import Reason
from tidegate.reference import Digest
from tidegate.testing.images import Image, build_image, build_index, build_schema1
from tidegate.testing.registry import Answer, BasicGuard, Kind, RegistryDouble, Stall

PULL_S = 20.0


class Node(Protocol):
    """A runtime under test, empty, and the registry that its references lead to."""

    images: CriImages
    replica: RegistryDouble
    host: str
    """The replica's name in references."""


class Pushed:
    """An image that no other test has, in the repository `app` as tag `1`."""

    def __init__(self, node: Node, image: Image, *, without: tuple[Digest, ...] = ()) -> None:
        self.image = image
        self.name = f"{node.host}/app"
        self.by_tag = f"{self.name}:1"
        self.by_digest = f"{self.name}@{image.digest}"
        node.replica.put("app", image, tag="1", without=without)


def fresh(*, layers: int = 3, platform: str = "linux/amd64", layer_bytes: int = 4096) -> Image:
    return build_image(layers=layers, layer_bytes=layer_bytes, platform=platform, seed=uuid.uuid4().hex)


async def refusal(node: Node, image: str, credential: Credential | None = None) -> PullError:
    with pytest.raises(PullError) as caught:
        await node.images.pull(image, credential, timeout=PULL_S)
    return caught.value


def asked(node: Node, path: str = "") -> list[tuple[str, Kind]]:
    """What the registry was asked for since it was last cleared, in order."""
    return [(request.method, request.kind) for request in node.replica.record.matching(path)]


class WhoAnswers:
    async def test_it_speaks_cri_v1_and_is_ready(self, node: Node) -> None:
        version = await node.images.version()
        assert version.api_version == "v1"
        assert version.name
        assert await node.images.ready()

    async def test_its_image_file_system_is_a_folder_of_this_machine(self, node: Node) -> None:
        (fs,) = await node.images.image_fs()
        assert await asyncio.to_thread(Path(fs.mountpoint).is_dir)
        assert fs.used_bytes >= 0


class Presence:
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param("{host}/app:1", id="tag"),
            pytest.param("{host}/app", id="bare"),
            pytest.param("{host}/app@sha256:" + "0" * 64, id="digest"),
            pytest.param("sha256:" + "0" * 64, id="id"),
            pytest.param("not A reference", id="no-reference"),
        ],
    )
    async def test_an_absent_image_is_an_answer_not_an_error(self, node: Node, image: str) -> None:
        assert not await node.images.present(image.format(host=node.host))

    @pytest.mark.parametrize(
        "pulled, tag_is_known",
        [
            pytest.param("{name}:1", True, id="tag"),
            pytest.param("{name}@{digest}", False, id="digest"),
            pytest.param("{name}:1@{digest}", False, id="tag-and-digest"),
        ],
    )
    async def test_which_strings_find_what_was_pulled(self, node: Node, pulled: str, *, tag_is_known: bool) -> None:
        pushed = Pushed(node, fresh())
        names = {"name": pushed.name, "digest": pushed.image.digest}
        await node.images.pull(pulled.format(**names), timeout=PULL_S)

        config = pushed.image.config
        found = (pushed.by_digest, f"{pushed.name}:1@{pushed.image.digest}", f"{pushed.name}:2@{pushed.image.digest}")
        for image in (*found, config, config.removeprefix("sha256:"), config.removeprefix("sha256:")[:12]):
            assert await node.images.present(image), image
        assert await node.images.present(pushed.by_tag) is tag_is_known
        for image in (pushed.name, f"{pushed.name}:2", f"{node.host}/other@{pushed.image.digest}", pushed.image.digest):
            assert not await node.images.present(image), image

    async def test_a_bare_name_is_its_latest(self, node: Node) -> None:
        pushed = Pushed(node, fresh())
        node.replica.put("app", pushed.image, tag="latest")
        await node.images.pull(pushed.name, timeout=PULL_S)
        assert await node.images.present(pushed.name)
        assert await node.images.present(f"{pushed.name}:latest")

    async def test_an_index_is_known_by_its_own_digest_not_by_its_childs(self, node: Node) -> None:
        child = fresh()
        pushed = Pushed(node, build_index([fresh(platform="linux/s390x"), child]))
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        assert await node.images.present(pushed.by_digest)
        assert await node.images.present(child.config)
        assert not await node.images.present(f"{pushed.name}@{child.digest}")

    async def test_the_list_has_all_names_of_an_image(self, node: Node) -> None:
        pushed = Pushed(node, fresh())
        ref = await node.images.pull(pushed.by_tag, timeout=PULL_S)
        (image,) = await node.images.images()
        assert (ref, image.id) == (pushed.image.config, pushed.image.config)
        assert image.tags == (pushed.by_tag,)
        assert image.digests == (pushed.by_digest,)
        assert image.bytes > 3 * 4096

    async def test_removing_takes_all_names_and_is_idempotent(self, node: Node) -> None:
        pushed = Pushed(node, fresh())
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        await node.images.remove(pushed.by_digest)
        for image in (pushed.by_tag, pushed.by_digest, pushed.image.config):
            assert not await node.images.present(image), image
        await node.images.remove(pushed.by_digest)
        await node.images.remove(f"{node.host}/never-there:1")

    async def test_a_moved_tag_finds_the_new_image_and_the_old_one_stays(self, node: Node) -> None:
        first = Pushed(node, fresh())
        await node.images.pull(first.by_tag, timeout=PULL_S)
        second = Pushed(node, fresh())
        assert await node.images.pull(second.by_tag, timeout=PULL_S) == second.image.config
        assert await node.images.present(first.by_digest)
        assert {image.id: image.tags for image in await node.images.images()} == {
            first.image.config: (),
            second.image.config: (second.by_tag,),
        }


class Cost:
    async def test_a_pull_is_one_head_and_a_get_for_everything(self, node: Node) -> None:
        pushed = Pushed(node, fresh(layers=5))
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        assert asked(node) == [("HEAD", Kind.MANIFEST), ("GET", Kind.MANIFEST), *[("GET", Kind.BLOB)] * 6]

    async def test_an_index_costs_one_request_more(self, node: Node) -> None:
        pushed = Pushed(node, build_index([fresh(layers=2)]))
        await node.images.pull(pushed.by_digest, timeout=PULL_S)
        assert asked(node) == [("HEAD", Kind.MANIFEST), *[("GET", Kind.MANIFEST)] * 2, *[("GET", Kind.BLOB)] * 3]

    async def test_what_is_there_costs_one_head(self, node: Node) -> None:
        pushed = Pushed(node, fresh())
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        node.replica.record.clear()
        await node.images.pull(pushed.by_digest, timeout=PULL_S)
        assert asked(node) == [("HEAD", Kind.MANIFEST)]

    async def test_at_most_three_downloads_are_open_on_a_node(self, node: Node) -> None:
        images = [fresh(layers=5) for _ in range(2)]
        for number, image in enumerate(images):
            node.replica.put("app", image, tag=f"{number}")
        node.replica.fault(latency_s=0.05)
        pulls = (node.images.pull(f"{node.host}/app:{number}", timeout=PULL_S) for number in range(2))
        await asyncio.gather(*pulls)
        assert node.replica.record.peak_in_flight == 3

    async def test_two_pulls_of_one_image_download_it_once(self, node: Node) -> None:
        pushed = Pushed(node, fresh())
        node.replica.fault(latency_s=0.02)
        await asyncio.gather(*(node.images.pull(pushed.by_tag, timeout=PULL_S) for _ in range(2)))
        assert node.replica.count(method="GET", kind=Kind.BLOB) == 4

    async def test_a_registry_that_tells_no_digest_is_pulled_from_too(self, node: Node) -> None:
        node.replica.fault(digest_header=None)
        pushed = Pushed(node, fresh())
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        assert await node.images.present(pushed.by_digest)


class Failures:
    @pytest.mark.parametrize(
        "image",
        [
            pytest.param("{host}/app:nope", id="tag"),
            pytest.param("{host}/app@sha256:" + "0" * 64, id="digest"),
            pytest.param("{host}/nobody:1", id="repository"),
        ],
    )
    async def test_what_the_registry_does_not_have_is_not_found(self, node: Node, image: str) -> None:
        Pushed(node, fresh())
        assert (await refusal(node, image.format(host=node.host))).reason is Reason.NOT_FOUND

    async def test_a_missing_layer_is_not_found(self, node: Node) -> None:
        image = fresh()
        pushed = Pushed(node, image, without=(image.layers[1],))
        error = await refusal(node, pushed.by_tag)
        assert error.reason is Reason.NOT_FOUND
        assert not await node.images.present(pushed.by_tag)

    async def test_an_index_without_our_platform_is_not_found(self, node: Node) -> None:
        pushed = Pushed(node, build_index([fresh(platform="linux/s390x")]))
        assert (await refusal(node, pushed.by_tag)).reason is Reason.NOT_FOUND

    async def test_schema_1_is_refused(self, node: Node) -> None:
        pushed = Pushed(node, build_schema1(seed=uuid.uuid4().hex))
        error = await refusal(node, pushed.by_tag)
        assert error.reason is Reason.OTHER
        assert "schema 1" in error.message

    async def test_a_malformed_reference_is_refused_before_anyone_is_asked(self, node: Node) -> None:
        error = await refusal(node, f"{node.host}/app one:1")
        assert error.reason is Reason.OTHER
        assert "invalid reference format" in error.message
        assert asked(node) == []

    @pytest.mark.parametrize("what", ["manifest", "layer"])
    async def test_other_bytes_than_the_digest_says_are_refused(self, node: Node, what: str) -> None:
        image = fresh()
        digest = image.digest if what == "manifest" else image.layers[0]
        content = image.manifest if what == "manifest" else image.blobs[digest]
        pushed = Pushed(node, image)
        node.replica.fault(lies={digest: content[:-1] + bytes([content[-1] ^ 1])})
        error = await refusal(node, pushed.by_digest)
        assert error.reason is Reason.OTHER
        assert not await node.images.present(pushed.by_digest)

    @pytest.mark.parametrize(
        "status, tries, reason",
        [
            pytest.param(429, 5, Reason.THROTTLED, id="429"),
            pytest.param(408, 5, Reason.OTHER, id="408"),
            pytest.param(500, 2, Reason.OTHER, id="500"),
            pytest.param(503, 2, Reason.OTHER, id="503"),
            pytest.param(502, 1, Reason.OTHER, id="502"),
            pytest.param(401, 1, Reason.UNAUTHORIZED, id="401"),
            pytest.param(403, 1, Reason.UNAUTHORIZED, id="403"),
        ],
    )
    @pytest.mark.parametrize("at", ["HEAD", "GET"])
    async def test_how_often_a_refused_request_is_tried(
        self, node: Node, at: str, status: int, tries: int, reason: Reason
    ) -> None:
        image = fresh(layers=1)
        path = "/manifests/1$" if at == "HEAD" else f"/blobs/{image.layers[0]}"
        node.replica.fault(answers=(Answer(status=status, path=path, methods=(at,)),))
        pushed = Pushed(node, image)
        error = await refusal(node, pushed.by_tag)
        assert error.reason is reason
        assert f"{status} " in error.message
        assert [method for method, _ in asked(node, path)].count(at) == tries

    async def test_what_a_failed_pull_had_got_is_gone_for_the_next_one(self, node: Node) -> None:
        """A real runtime's collector has no event to wait for, and takes its time when it has just run."""
        fetched = []
        for patience in (0.1, 1.0, 5.0):
            image = fresh(layers=6)
            node.replica.fault(answers=(Answer(status=429, path=f"/blobs/{image.layers[5]}"),))
            pushed = Pushed(node, image)
            assert (await refusal(node, pushed.by_tag)).reason is Reason.THROTTLED
            await asyncio.sleep(patience)
            node.replica.fault(answers=())
            node.replica.record.clear()
            await node.images.pull(pushed.by_tag, timeout=PULL_S)
            fetched.append(node.replica.count(method="GET", kind=Kind.BLOB))
            if fetched[-1] == 7:
                return
        pytest.fail(f"of 7 blobs the next pull fetched {fetched}")


class Credentials:
    async def test_without_one_a_challenge_ends_the_pull(self, node: Node) -> None:
        node.replica.guard = BasicGuard({"reader": "made-up"})
        error = await refusal(node, Pushed(node, fresh()).by_tag)
        assert error.reason is Reason.UNAUTHORIZED
        assert "no basic auth credentials" in error.message

    async def test_a_wrong_one_ends_it_after_five_tries(self, node: Node) -> None:
        node.replica.guard = BasicGuard({"reader": "made-up"})
        error = await refusal(node, Pushed(node, fresh()).by_tag, Credential("reader", "wrong"))
        assert error.reason is Reason.UNAUTHORIZED
        assert node.replica.count(status=401) == 5

    async def test_the_right_one_pulls(self, node: Node) -> None:
        node.replica.guard = BasicGuard({"reader": "made-up"})
        pushed = Pushed(node, fresh())
        await node.images.pull(pushed.by_tag, Credential("reader", "made-up"), timeout=PULL_S)
        assert await node.images.present(pushed.by_tag)


class Cancelling:
    async def stalled(self, node: Node) -> Pushed:
        image = fresh()
        pushed = Pushed(node, image)
        node.replica.fault(stalls=(Stall(path=f"/blobs/{image.layers[0]}"),))
        return pushed

    async def test_a_deadline_stops_the_downloads(self, node: Node) -> None:
        pushed = await self.stalled(node)
        with pytest.raises(PullError) as caught:
            await node.images.pull(pushed.by_tag, timeout=0.5)
        assert caught.value.reason is Reason.CANCELED
        await self.nothing_goes_on(node, pushed)

    async def test_cancelling_the_caller_stops_the_downloads(self, node: Node) -> None:
        pushed = await self.stalled(node)
        pull = asyncio.create_task(node.images.pull(pushed.by_tag, timeout=PULL_S))
        await node.replica.record.until(lambda record: len(record.matching(pushed.image.layers[0])) > 0)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        await self.nothing_goes_on(node, pushed)

    async def nothing_goes_on(self, node: Node, pushed: Pushed) -> None:
        await node.replica.record.until(lambda record: record.in_flight == 0)
        assert not await node.images.present(pushed.by_tag)
        node.replica.fault(stalls=())
        await node.images.pull(pushed.by_tag, timeout=PULL_S)
        assert await node.images.present(pushed.by_tag)


class RuntimeConformance(WhoAnswers, Presence, Cost, Failures, Credentials, Cancelling):
    """See the module."""
