"""Random images with random losses, against a model that reads the documents in the simplest way there is."""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.completeness import walk
from tidegate.findings import Finding, Missing
from tidegate.testing.images import Image, build_image, build_index
from tidegate.testing.layers import build_layer

LAYERS = [build_layer(size=600 + number, seed=number) for number in range(5)]
TAKES = {
    "linux/amd64": ["linux/amd64", "linux/386"],
    "linux/arm64": ["linux/arm64", "linux/arm/v7", "linux/arm/v6"],
}

PLATFORMS = ["linux/amd64", "linux/arm64", "linux/386", "linux/arm/v7", "linux/arm/v6", "linux/s390x"]


def layered(numbers: list[int], seed: int, platform: str, *, config_platform: bool, inline_config: bool) -> Image:
    return build_image(
        layers=[LAYERS[number] for number in numbers],
        seed=seed,
        platform=platform,
        config_platform=config_platform,
        inline_config=inline_config,
    )


images = st.builds(
    layered,
    st.lists(st.integers(0, len(LAYERS) - 1), max_size=4),
    st.integers(0, 2),
    st.sampled_from(PLATFORMS),
    config_platform=st.sampled_from([True, True, False]),
    inline_config=st.booleans(),
)
graphs = st.recursive(
    images,
    lambda inner: st.builds(
        build_index, st.lists(inner, min_size=1, max_size=4), platforms=st.booleans(), attestations=st.booleans()
    ),
    max_leaves=8,
)


@dataclass
class Model:
    """What is true of an image where some digests are lost."""

    image: Image
    lost: set[str]
    missing_manifests: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.documents = {part.digest: json.loads(part.manifest) for part in self.image.walk()}
        self.contents = self.image.all_blobs()

    def outcome(self, platforms: list[str]) -> tuple[Finding, Missing]:
        if self.image.digest in self.lost:
            return Finding.ABSENT, Missing(manifests=1)
        leaves = {leaf for platform in platforms if (leaf := self.leaf(self.image.digest, platform)) is not None}
        if not leaves and not self.missing_manifests:
            return Finding.UNSUPPORTED, Missing()
        blobs: dict[str, int] = {}
        for leaf in leaves:
            document = self.documents[leaf]
            for entry in (document["config"], *document["layers"]):
                if "data" not in entry:
                    blobs[entry["digest"]] = entry["size"]
        gone = {digest: size for digest, size in blobs.items() if digest in self.lost}
        missing = Missing(
            manifests=len(self.missing_manifests),
            blobs=len(gone),
            bytes=sum(self.missing_manifests.values()) + sum(gone.values()),
            of_blobs=len(blobs),
        )
        return Finding.INCOMPLETE if gone or self.missing_manifests else Finding.OK, missing

    def leaf(self, digest: str, platform: str) -> str | None:
        document = self.documents[digest]
        if "manifests" not in document:
            return digest
        entries = [entry for entry in document["manifests"] if "annotations" not in entry]
        for taken in TAKES[platform]:
            for entry in entries:
                if "platform" in entry and "/".join(entry["platform"].values()) in self.spellings(taken):
                    return self.below(entry, platform)
        for entry in entries:
            if "platform" not in entry and (leaf := self.below(entry, platform, undeclared=True)) is not None:
                return leaf
        return None

    def below(self, entry: dict[str, Any], platform: str, *, undeclared: bool = False) -> str | None:
        digest = entry["digest"]
        if digest in self.lost:
            self.missing_manifests[digest] = entry["size"]
            return None
        document = self.documents[digest]
        if undeclared and "config" in document and not self.config_fits(document["config"], platform):
            return None
        return self.leaf(digest, platform)

    def config_fits(self, entry: dict[str, Any], platform: str) -> bool:
        if "data" in entry:
            config = self.inline[entry["digest"]]
        elif entry["digest"] in self.lost:
            return True
        else:
            config = json.loads(self.contents[entry["digest"]])
        own = "/".join(config[part] for part in ("os", "architecture", "variant") if part in config)
        return any(own in self.spellings(taken) for taken in TAKES[platform])

    @property
    def inline(self) -> dict[str, Any]:
        return {
            document["config"]["digest"]: json.loads(base64.b64decode(document["config"]["data"]))
            for document in self.documents.values()
            if "data" in document.get("config", {})
        }

    @staticmethod
    def spellings(platform: str) -> set[str]:
        return {platform, f"{platform}/v8"} if platform == "linux/arm64" else {platform}


@settings(max_examples=300)
@given(data=st.data(), image=graphs, platforms=st.sampled_from([["linux/amd64"], ["linux/arm64"], list(TAKES)]))
def test_a_walk_finds_what_is_true_and_asks_for_nothing_twice(
    shelf: Any, data: st.DataObject, image: Image, platforms: list[str]
) -> None:
    everything = sorted({part.digest for part in image.walk()} | set(image.all_blobs()))
    lost = data.draw(st.sets(st.sampled_from(everything), max_size=3))
    finding, missing = Model(image, lost).outcome(platforms)

    source = shelf(image, lost=lost)
    presence = asyncio.run(walk(source, "team/app", image.digest, platforms=platforms, count=True))
    assert (presence.finding, presence.missing) == (finding, missing)
    assert max(source.asked().values()) == 1

    source = shelf(image, lost=lost)
    presence = asyncio.run(walk(source, "team/app", image.digest, platforms=platforms, count=False))
    assert presence.finding is finding
    assert max(source.asked().values()) == 1
