"""A real containerd under the suite that the runtime double is held to."""

import pytest

from tidegate.testing.runtime_conformance import RuntimeConformance
from tidegate.testing.runtime_conformance_containerd import ContainerdConformance


@pytest.mark.real
class TestContainerd(RuntimeConformance, ContainerdConformance):
    pass
