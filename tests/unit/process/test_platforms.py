"""The platforms of the nodes stand for those that the configuration does not name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tidegate.config import Config
from tidegate.kube.shapes import Metadata, MetadataOnly
from tidegate.process.platforms import MOST, ClusterPlatforms


@dataclass
class Nodes:
    objects: dict[str, MetadataOnly] = field(default_factory=dict)
    told: list[Callable[..., None]] = field(default_factory=list)

    def subscribe(self, on_change: Callable[..., None]) -> Callable[[], None]:
        self.told.append(on_change)
        return lambda: None

    def add(self, name: str, platform: str) -> None:
        os, _, architecture = platform.partition("/")
        labels = {"kubernetes.io/os": os, "kubernetes.io/arch": architecture}
        self.objects[name] = MetadataOnly(metadata=Metadata(name=name, labels=labels))
        for tell in self.told:
            tell(name, None, self.objects[name])

    def remove(self, name: str) -> None:
        old = self.objects.pop(name)
        for tell in self.told:
            tell(name, old, None)


def config(**cluster: Any) -> Config:
    return Config.model_validate(
        {"apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": [], "cluster": cluster}
    )


def test_those_of_the_nodes_count_as_they_come_and_stay() -> None:
    nodes, platforms = Nodes(), ClusterPlatforms()
    nodes.add("a", "linux/arm64")
    assert platforms(config()) == config(), "nobody was looked at yet"
    platforms.follow(nodes)
    assert platforms(config(name="west")).cluster.platforms == ["linux/arm64"]
    nodes.add("b", "linux/amd64")
    nodes.remove("a")
    assert platforms(config(name="west")).cluster.platforms == ["linux/amd64", "linux/arm64"]
    assert platforms(config(name="west")).cluster.name == "west"


def test_what_the_configuration_names_counts() -> None:
    nodes, platforms = Nodes(), ClusterPlatforms()
    platforms.follow(nodes)
    nodes.add("a", "linux/arm64")
    assert platforms(config(platforms=["linux/amd64"])).cluster.platforms == ["linux/amd64"]


def test_a_meaning_is_found_once() -> None:
    nodes, platforms = Nodes(), ClusterPlatforms()
    platforms.follow(nodes)
    nodes.add("a", "linux/arm64")
    once = platforms(config())
    assert platforms(once) == once


@pytest.mark.parametrize("platform", ["", "linux", "linux/", "/amd64", "li nux/amd64", "linux/a/b"])
def test_labels_that_say_no_platform_are_passed_over(platform: str) -> None:
    nodes, platforms = Nodes(), ClusterPlatforms()
    platforms.follow(nodes)
    nodes.add("a", platform)
    assert platforms(config()) == config()


def test_there_are_not_many() -> None:
    nodes, platforms = Nodes(), ClusterPlatforms()
    platforms.follow(nodes)
    for number in range(100):
        nodes.add(f"n{number}", f"linux/a{number}")
    assert len(platforms(config()).cluster.platforms) == MOST
