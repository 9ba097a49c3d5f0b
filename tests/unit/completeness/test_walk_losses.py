"""A walk of what is not all there, or of what cannot be asked: losses counted, failures told."""

import asyncio
from typing import Any

import pytest

from tidegate.findings import Finding, Missing
from tidegate.registry.errors import Throttled, Unauthorized, Unreachable, Unsupported
from tidegate.testing.images import (
    Image,
    build_image,
    build_index,
)

AMD64 = build_image(layers=3, platform="linux/amd64", seed="amd64")
ARM64 = build_image(layers=4, platform="linux/arm64", seed="arm64")
BOTH = build_index([AMD64, ARM64], attestations=True)
THROTTLED = Throttled("slow down", replica="west", retry_after_s=7.0)
UNREACHABLE = Unreachable("no route", replica="west", step="connect")


def size(image: Image, *digests: str) -> int:
    return sum(len(image.blobs[digest]) for digest in digests)


# What is missing.


async def test_nothing_there(look: Any, shelf: Any) -> None:
    presence = await look(shelf(), AMD64)
    assert presence.finding is Finding.ABSENT
    assert presence.missing == Missing(manifests=1)
    assert presence.digest is None


@pytest.mark.parametrize("lost", [1, 2, 4], ids=["one", "two", "all"])
async def test_missing_blobs_are_counted_with_their_bytes(look: Any, shelf: Any, lost: int) -> None:
    gone = list(AMD64.blobs)[-lost:]
    presence = await look(shelf(AMD64, lost=gone), AMD64)
    assert presence.finding is Finding.INCOMPLETE
    assert presence.missing == Missing(blobs=lost, bytes=size(AMD64, *gone), of_blobs=4)
    assert presence.requests == 5


async def test_a_missing_blob_is_named(look: Any, shelf: Any) -> None:
    config, first, *_ = AMD64.blobs
    presence = await look(shelf(AMD64, lost=[config, first]), AMD64)
    assert presence.detail in {f"lacks {config} and 1 more", f"lacks {first} and 1 more"}


async def test_a_missing_child_is_a_missing_manifest_and_the_rest_is_counted(look: Any, shelf: Any) -> None:
    layer = ARM64.layers[0]
    source = shelf(BOTH, lost=[AMD64.digest, layer])
    presence = await look(source, BOTH, "linux/amd64", "linux/arm64")
    assert presence.finding is Finding.INCOMPLETE
    bytes_missing = len(AMD64.manifest) + size(ARM64, layer)
    assert presence.missing == Missing(manifests=1, blobs=1, bytes=bytes_missing, of_blobs=len(ARM64.blobs))


async def test_an_undeclared_child_that_is_missing_might_be_ours(look: Any, shelf: Any) -> None:
    index = build_index([ARM64], platforms=False)
    presence = await look(shelf(index, lost=[ARM64.digest]), index)
    assert (presence.finding, presence.missing.manifests) == (Finding.INCOMPLETE, 1)


async def test_an_undeclared_childs_missing_config_is_a_missing_blob_asked_for_once(look: Any, shelf: Any) -> None:
    index = build_index([AMD64], platforms=False)
    source = shelf(index, lost=[AMD64.config])
    presence = await look(source, index)
    assert presence.missing == Missing(blobs=1, bytes=size(AMD64, AMD64.config), of_blobs=4)
    assert source.asked()[AMD64.config] == 1


async def test_without_a_count_the_first_proof_ends_the_walk(look: Any, shelf: Any) -> None:
    image = build_image(layers=200, layer_bytes=600)
    source = shelf(image, lost=image.blobs)
    presence = await look(source, image, count=False)
    assert presence.finding is Finding.INCOMPLETE
    assert len(source.calls) < 40


async def test_without_a_count_a_missing_child_is_proof_enough(look: Any, shelf: Any) -> None:
    source = shelf(BOTH, lost=[AMD64.digest])
    presence = await look(source, BOTH, "linux/amd64", "linux/arm64", count=False)
    assert presence.finding is Finding.INCOMPLETE
    assert set(source.calls) == {BOTH.digest, AMD64.digest, ARM64.digest}


# Failures.


@pytest.mark.parametrize(
    "failure, finding",
    [
        (THROTTLED, Finding.THROTTLED),
        (UNREACHABLE, Finding.UNREACHABLE),
        (Unauthorized("no", replica="west"), Finding.UNAUTHORIZED),
        (Unsupported("too long", replica="west"), Finding.UNSUPPORTED),
    ],
)
@pytest.mark.parametrize("at", [BOTH.digest, AMD64.digest, AMD64.config], ids=["root", "child", "blob"])
async def test_a_failure_is_the_finding(look: Any, shelf: Any, failure: Exception, finding: Finding, at: str) -> None:
    source = shelf(BOTH)
    source.failures[at] = failure
    presence = await look(source, BOTH)
    assert presence.finding is finding
    assert presence.detail == str(failure)
    assert presence.missing == Missing()
    assert presence.retry_after_s == (7.0 if finding is Finding.THROTTLED else None)


async def test_a_failure_ends_the_walk(look: Any, shelf: Any) -> None:
    image = build_image(layers=200, layer_bytes=600)
    source = shelf(image)
    source.failures = dict.fromkeys(image.blobs, THROTTLED)
    assert (await look(source, image)).finding is Finding.THROTTLED
    assert len(source.calls) < 40


async def test_proof_found_before_a_failure_stands(look: Any, shelf: Any) -> None:
    image = build_image(layers=60, layer_bytes=600)
    first, *_, last = image.blobs
    source = shelf(image, lost=[first])
    source.failures[last] = UNREACHABLE
    presence = await look(source, image)
    assert (presence.finding, presence.missing.blobs) == (Finding.INCOMPLETE, 1)


class Liar:
    """Says that it serves another digest than it was asked for, whichever that is."""

    def __init__(self, honest: Any, about: str) -> None:
        self.name = "west"
        self._honest = honest
        self._about = about

    async def manifest(self, repository: str, reference: str, *, on_request: Any = None) -> Any:
        wanted = ARM64.digest if reference == self._about else reference
        return await self._honest.manifest(repository, wanted, on_request=on_request)

    async def has_blob(self, repository: str, digest: Any, *, on_request: Any = None) -> bool:
        return await self._honest.has_blob(repository, digest, on_request=on_request)

    async def blob(self, repository: str, digest: Any, *, most: int, on_request: Any = None) -> bytes:
        return await self._honest.blob(repository, digest, most=most, on_request=on_request)


@pytest.mark.parametrize("about", [BOTH.digest, AMD64.digest], ids=["root", "child"])
async def test_other_bytes_under_a_digest_are_a_mismatch(look: Any, shelf: Any, about: str) -> None:
    presence = await look(Liar(shelf(BOTH), about), BOTH)
    assert presence.finding is Finding.MISMATCH
    assert ARM64.digest in presence.detail


@pytest.mark.looptime
async def test_a_walk_that_is_cut_off_leaves_nothing_behind(look: Any, shelf: Any) -> None:
    source = shelf(BOTH)
    source.delay_s = 10.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(15):
            await look(source, BOTH)


@pytest.mark.looptime
async def test_blobs_are_asked_for_in_parallel_and_boundedly(look: Any, shelf: Any) -> None:
    image = build_image(layers=31, layer_bytes=600)
    source = shelf(image)
    source.delay_s = 1.0
    began = asyncio.get_running_loop().time()
    assert (await look(source, image)).finding is Finding.OK
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)  # the manifest, and twice sixteen blobs
