"""What a walk asks for, which child of an index it takes, what cannot run, and what a pull costs."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tidegate.completeness import NO_COST, PullCost, measure, walk
from tidegate.completeness.tree import DEPTH_LIMIT, MANIFESTS_LIMIT
from tidegate.completeness.walk import BLOBS_LIMIT
from tidegate.findings import Finding, Missing
from tidegate.registry.errors import NotFound, Unsupported
from tidegate.testing.images import (
    OCI_MANIFEST,
    Family,
    Image,
    build_attestation,
    build_image,
    build_index,
    build_schema1,
    descriptor,
)
from tidegate.testing.layers import Packing, build_layer

PATH = "team/app"
AMD64 = build_image(layers=3, platform="linux/amd64", seed="amd64")
ARM64 = build_image(layers=4, platform="linux/arm64", seed="arm64")
BOTH = build_index([AMD64, ARM64], attestations=True)


def needed_of_both(*images: Image) -> set[str]:
    return {BOTH.digest, *(image.digest for image in images), *(d for image in images for d in image.blobs)}


# What is needed, and how often it is asked for.


@pytest.mark.parametrize(
    "image, platforms, needed",
    [
        pytest.param(AMD64, ["linux/amd64"], {AMD64.digest, *AMD64.blobs}, id="one-manifest"),
        pytest.param(AMD64, ["linux/s390x"], {AMD64.digest, *AMD64.blobs}, id="one-manifest-runs-anywhere"),
        pytest.param(BOTH, ["linux/amd64"], needed_of_both(AMD64), id="only-our-platform"),
        pytest.param(BOTH, ["linux/arm64"], needed_of_both(ARM64), id="only-the-other"),
        pytest.param(BOTH, ["linux/amd64", "linux/arm64"], needed_of_both(AMD64, ARM64), id="a-mixed-cluster"),
        pytest.param(BOTH, ["linux/amd64", "linux/s390x"], needed_of_both(AMD64), id="as-far-as-it-is-built"),
        pytest.param(BOTH, ["linux/amd64", "linux/amd64/v1"], needed_of_both(AMD64), id="one-platform-named-twice"),
        pytest.param(
            build_image(family=Family.DOCKER), ["linux/amd64"],
            {build_image(family=Family.DOCKER).digest, *build_image(family=Family.DOCKER).blobs}, id="docker-types",
        ),
        pytest.param(
            build_image(packing=Packing.ZSTD), ["linux/amd64"],
            {build_image(packing=Packing.ZSTD).digest, *build_image(packing=Packing.ZSTD).blobs}, id="zstd",
        ),
        pytest.param(
            build_image(config_type="application/x-odd"), ["linux/amd64"],
            {build_image(config_type="application/x-odd").digest, *build_image(config_type="application/x-odd").blobs},
            id="an-artifact-is-walked-too",
        ),
    ],
)  # fmt: skip
async def test_each_needed_thing_is_asked_for_once_and_nothing_else(
    look: Any, shelf: Any, image: Image, platforms: list[str], needed: set[str]
) -> None:
    source = shelf(image)
    presence = await look(source, image, *platforms)
    assert presence.finding is Finding.OK
    assert source.asked() == dict.fromkeys(needed, 1)
    assert presence.requests == len(needed)
    assert presence.digest == image.digest


async def test_what_neither_we_nor_nodes_fetch_may_be_missing(look: Any, shelf: Any) -> None:
    for image in (build_image(layers=3, foreign=2), build_image(inline_config=True)):
        source = shelf(image)
        assert (await look(source, image)).finding is Finding.OK
        assert set(source.calls) == {image.digest, *image.blobs}


async def test_attestations_and_other_platforms_may_be_missing(look: Any, shelf: Any) -> None:
    others = {child.digest for child in BOTH.children} - {AMD64.digest}
    source = shelf(BOTH, lost=others | set(ARM64.blobs))
    assert (await look(source, BOTH)).finding is Finding.OK


async def test_a_layer_used_twice_counts_once(look: Any, shelf: Any) -> None:
    layer = build_layer(size=100)
    image = build_image(layers=[layer, layer, layer])
    source = shelf(image, lost=[layer.digest])
    presence = await look(source, image)
    assert presence.missing == Missing(blobs=1, bytes=len(layer.content), of_blobs=2)


async def test_a_tag_is_walked_by_what_it_stands_for(shelf: Any) -> None:
    presence = await walk(shelf(AMD64, tags={"v1": AMD64.digest}), PATH, "v1", platforms=["linux/amd64"], count=True)
    assert (presence.finding, presence.digest) == (Finding.OK, AMD64.digest)


# Which child of an index.


def nested(image: Image, depth: int) -> Image:
    for _ in range(depth):
        image = build_index([image])
    return image


@pytest.mark.parametrize(
    "index, platform, chosen",
    [
        pytest.param(build_index([ARM64, AMD64]), "linux/amd64", AMD64, id="not-the-first"),
        pytest.param(build_index([AMD64, build_image(seed="twin")]), "linux/amd64", AMD64, id="of-two-the-first"),
        pytest.param(
            build_index([build_image(seed="older", platform="linux/386"), AMD64]), "linux/amd64", AMD64, id="its-own"
        ),
        pytest.param(build_index([AMD64, ARM64], platforms=False), "linux/arm64", ARM64, id="by-its-config"),
        pytest.param(
            build_index([build_image(seed="x", config_platform=False), AMD64]), "linux/amd64",
            build_image(seed="x", config_platform=False), id="the-entry-says-it-not-the-config",
        ),
        pytest.param(build_index([ARM64, nested(AMD64, 1)]), "linux/amd64", AMD64, id="in-a-nested-index"),
        pytest.param(nested(BOTH, DEPTH_LIMIT - 1), "linux/arm64", ARM64, id="as-deep-as-may-be"),
        pytest.param(
            build_index([nested(build_image(seed="n"), 1), AMD64]), "linux/amd64", AMD64, id="the-declared-first"
        ),
        pytest.param(
            build_index([build_image(platform="linux/arm/v6", seed=6), build_image(platform="linux/arm/v7", seed=7)]),
            "linux/arm64", build_image(platform="linux/arm/v7", seed=7), id="the-best-of-what-runs",
        ),
        pytest.param(
            build_index([AMD64], extra=[{"mediaType": "application/x-new", "digest": "blake3:1", "size": 1}]),
            "linux/amd64", AMD64, id="beside-something-new",
        ),
    ],
)  # fmt: skip
async def test_the_child_that_a_node_would_take(
    look: Any, shelf: Any, index: Image, platform: str, chosen: Image
) -> None:
    source = shelf(index)
    presence = await look(source, index, platform)
    assert presence.finding is Finding.OK
    assert presence.missing.of_blobs == len(chosen.blobs)
    assert set(chosen.blobs) <= set(source.calls)
    assert max(source.asked().values()) == 1


async def test_two_undeclared_children_with_one_config_are_told_apart_by_it(look: Any, shelf: Any) -> None:
    """Both are amd64, so neither is what an arm64 node takes."""
    config_of = build_image(layers=1, seed="same")
    twin = Image(
        manifest=config_of.manifest + b" ", media_type=OCI_MANIFEST, blobs=config_of.blobs, platform="linux/amd64"
    )
    index = build_index([config_of, twin], platforms=False)
    presence = await look(shelf(index), index, "linux/arm64")
    assert presence.finding is Finding.UNSUPPORTED


async def test_nested_indexes_that_share_children_cost_what_they_are_not_what_they_say(look: Any, shelf: Any) -> None:
    """Fifteen children, each of which has the same fifteen, and so on: 60 manifests, 50,000 ways."""
    level = [build_image(layers=1, seed=number, platform="linux/s390x") for number in range(15)]
    for _ in range(DEPTH_LIMIT - 1):
        level = [build_index(level, platforms=False, annotations={"n": str(number)}) for number in range(15)]
    index = build_index(level, platforms=False)
    source = shelf(index)
    with counted_calls() as steps:
        assert (await look(source, index)).finding is Finding.UNSUPPORTED
    assert len(source.calls) <= 2 * MANIFESTS_LIMIT
    assert max(source.asked().values()) == 1
    assert steps["call"] < 100_000


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Python functions called meanwhile: what a walk costs this process, whatever the machine."""
    steps: Counter[str] = Counter()
    before = sys.getprofile()
    sys.setprofile(lambda _frame, event, _arg: steps.update([event]))
    try:
        yield steps
    finally:
        sys.setprofile(before)


# What cannot run.


def many_children(number: int, **how: Any) -> Image:
    return build_index([build_image(layers=1, seed=n) for n in range(number)], **how)


@pytest.mark.parametrize(
    "image, platform, reason",
    [
        pytest.param(BOTH, "linux/s390x", "no manifest for linux/s390x", id="not-built-for-us"),
        pytest.param(build_index([]), "linux/amd64", "no manifest for", id="an-empty-index"),
        pytest.param(build_index([ARM64], platforms=False), "linux/amd64", "no manifest for", id="configs-say-no"),
        pytest.param(
            build_index([build_image(config_platform=False)], platforms=False), "linux/amd64", "no manifest", id="mute"
        ),
        pytest.param(build_index([build_attestation(AMD64)]), "linux/amd64", "no manifest", id="not-an-image-at-all"),
        pytest.param(build_schema1(), "linux/amd64", "schema 1", id="schema-1"),
        pytest.param(nested(BOTH, DEPTH_LIMIT), "linux/amd64", "nested more than 4", id="too-deep"),
        pytest.param(many_children(MANIFESTS_LIMIT + 1), "linux/amd64", "more than 64", id="65-of-our-platform"),
        pytest.param(
            many_children(MANIFESTS_LIMIT, platforms=False), "linux/arm64", "more than 64 manifests", id="65-manifests"
        ),
        pytest.param(
            build_image(layers=BLOBS_LIMIT, layer_bytes=600), "linux/amd64", "more than 256 blobs", id="257-blobs"
        ),
        pytest.param(
            build_index([], extra=[descriptor(b"x", OCI_MANIFEST) | {"digest": "blake3:1"}]),
            "linux/amd64", "digest that no runtime takes", id="a-child-with-an-unknown-digest",
        ),
        pytest.param(Image(manifest=b"<html>", media_type="text/html"), "linux/amd64", "not a manifest", id="html"),
    ],
)  # fmt: skip
async def test_unsupported(look: Any, shelf: Any, image: Image, platform: str, reason: str) -> None:
    source = shelf(image)
    presence = await look(source, image, platform)
    assert presence.finding is Finding.UNSUPPORTED
    assert reason in presence.detail
    assert len(source.calls) <= 2 * MANIFESTS_LIMIT


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(build_image(layers=BLOBS_LIMIT - 1, layer_bytes=600), id="256-blobs"),
        pytest.param(many_children(MANIFESTS_LIMIT), id="64-children-of-our-platform"),
        pytest.param(
            build_index([build_image(layers=1, seed=n, platform="linux/s390x") for n in range(99)] + [AMD64]),
            id="any-number-of-others",
        ),
    ],
)
async def test_just_within_the_caps(look: Any, shelf: Any, image: Image) -> None:
    assert (await look(shelf(image), image)).finding is Finding.OK


# What a pull costs.


@pytest.mark.parametrize(
    "image, platforms, requests, of",
    [
        pytest.param(AMD64, ["linux/amd64"], 1 + 1 + 4, AMD64, id="head-manifest-config-layers"),
        pytest.param(BOTH, ["linux/amd64"], 1 + 2 + 4, AMD64, id="an-index-more"),
        pytest.param(nested(BOTH, 2), ["linux/amd64"], 1 + 4 + 4, AMD64, id="two-more"),
        pytest.param(BOTH, ["linux/amd64", "linux/arm64"], 1 + 2 + 5, ARM64, id="the-dearest-platform"),
        pytest.param(build_index([AMD64], platforms=False), ["linux/amd64"], 1 + 2 + 4, AMD64, id="by-config"),
        pytest.param(
            build_image(layers=3, foreign=1), ["linux/amd64"], 1 + 1 + 3, build_image(layers=3, foreign=1), id="foreign"
        ),
        pytest.param(
            build_image(inline_config=True), ["linux/amd64"], 1 + 1 + 3, build_image(inline_config=True), id="inline"
        ),
    ],
)
async def test_a_pull_costs_its_requests_and_compressed_bytes(
    look: Any, shelf: Any, *, image: Image, platforms: list[str], requests: int, of: Image
) -> None:
    cost = PullCost(requests, sum(map(len, of.blobs.values())), frozenset(of.blobs))
    assert (await look(shelf(image), image, *platforms)).cost == cost
    source = shelf(image, lost=set(of.layers))
    assert await measure(source, PATH, image.digest, platforms=platforms) == cost
    assert not set(of.layers) & set(source.calls)


async def test_the_cost_is_known_of_an_incomplete_image_too(look: Any, shelf: Any) -> None:
    presence = await look(shelf(AMD64, lost=[AMD64.layers[0]]), AMD64)
    assert presence.cost == PullCost(6, sum(map(len, AMD64.blobs.values())), frozenset(AMD64.blobs))


async def test_what_is_absent_has_no_cost(look: Any, shelf: Any) -> None:
    assert (await look(shelf(), AMD64)).cost is NO_COST
    with pytest.raises(NotFound):
        await measure(shelf(), PATH, AMD64.digest, platforms=["linux/amd64"])
    with pytest.raises(NotFound, match=AMD64.digest):
        await measure(shelf(BOTH, lost=[AMD64.digest]), PATH, BOTH.digest, platforms=["linux/amd64"])
    with pytest.raises(Unsupported):
        await measure(shelf(BOTH), PATH, BOTH.digest, platforms=["linux/s390x"])
