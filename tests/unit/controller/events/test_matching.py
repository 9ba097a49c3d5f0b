"""Which images an arrival is about."""

import pytest

from controller.events.arrivals import Arrival
from controller.events.matching import Names
from tidegate.config import parse

NAMES = Names(
    parse(
        """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: myreg.azurecr.io
    replicas:
      eastus: {endpoint: "https://myreg.eastus.geo.azurecr.io"}
      harbor: {endpoint: "https://Harbor.example.com", repository: "mirror/{path}"}
      odd: {endpoint: "https://odd.example.com:8443", repository: "a/{path}/b"}
  - host: other.example.com
    replicas:
      here: {endpoint: "https://other.example.com"}
      harbor: {endpoint: "https://harbor.example.com:443", repository: "other/{path}"}
  - host: localhost:5000
    replicas: {a: {endpoint: "http://127.0.0.1:5000"}, b: {endpoint: "http://127.0.0.1:5001"}}
"""
    ).registries
)


@pytest.mark.parametrize(
    "host, repository, names",
    [
        pytest.param("myreg.azurecr.io", "team/app", ["myreg.azurecr.io/team/app"], id="the-registry-itself"),
        pytest.param("myreg.azurecr.io:443", "app", ["myreg.azurecr.io/app"], id="with-its-port"),
        pytest.param("myreg.eastus.geo.azurecr.io", "app", ["myreg.azurecr.io/app"], id="a-replica"),
        pytest.param("harbor.example.com", "mirror/app", ["myreg.azurecr.io/app"], id="renamed"),
        pytest.param("harbor.example.com", "other/a/b", ["other.example.com/a/b"], id="one-harbor-two-registries"),
        pytest.param("harbor.example.com", "third/app", [], id="nobody's"),
        pytest.param("harbor.example.com", "mirror/", [], id="nothing-left"),
        pytest.param("odd.example.com:8443", "a/x/b", ["myreg.azurecr.io/x"], id="both-ends"),
        pytest.param("odd.example.com:8443", "a/b", [], id="both-ends-at-once"),
        pytest.param("odd.example.com", "a/x/b", [], id="another-port"),
        pytest.param("127.0.0.1:5001", "app", ["localhost:5000/app"], id="by-port"),
        pytest.param("127.0.0.1:5002", "app", [], id="by-no-port"),
        pytest.param("evil.example.com", "app", [], id="a-stranger"),
    ],
)
def test_names(host: str, repository: str, names: list[str]) -> None:
    assert NAMES.of(Arrival((host,), repository)) == names


def test_what_has_two_names_is_found_once() -> None:
    arrival = Arrival(("myreg.azurecr.io", "myreg.eastus.geo.azurecr.io", "unknown"), "app")
    assert NAMES.of(arrival) == ["myreg.azurecr.io/app"]
