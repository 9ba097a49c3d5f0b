"""The runtime double: what it has in common with containerd, and what only a double does."""

from tidegate.testing.runtime_conformance import RuntimeConformance


class TestDouble(RuntimeConformance):
    pass
