"""The smallest file that is one, and ways to change it."""

from collections.abc import Callable

import pytest

BASE = """\
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: r.example
    replicas:
      a: {endpoint: "https://a.example"}
      b: {endpoint: "https://b.example"}
"""


@pytest.fixture
def base() -> str:
    return BASE


@pytest.fixture
def of_registry() -> Callable[[str], str]:
    """The smallest file with more lines under its registry."""
    return lambda more: BASE + "".join(f"    {line}\n" for line in more.splitlines())
