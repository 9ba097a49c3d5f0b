"""The runtime double with a registry behind it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tidegate.cri import Containerd, CriImages
from tidegate.testing.registry import RegistryDouble
from tidegate.testing.runtime import RuntimeDouble

pytest.register_assert_rewrite(
    "tidegate.testing.runtime_conformance", "tidegate.testing.runtime_conformance_containerd"
)

HOST = "registry.test"


@dataclass
class DoubleNode:
    images: CriImages
    containerd: Containerd
    replica: RegistryDouble
    runtime: RuntimeDouble
    host: str = HOST


@pytest.fixture
async def node() -> AsyncIterator[DoubleNode]:
    async with (
        RegistryDouble() as replica,
        RuntimeDouble(registries={HOST: replica.url}) as runtime,
        CriImages(runtime.socket) as images,
        Containerd(runtime.socket) as containerd,
    ):
        yield DoubleNode(images, containerd, replica, runtime)
