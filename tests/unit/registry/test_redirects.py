"""Where a redirect may lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tidegate.registry.errors import RegistryError, Unreachable, Unsupported
from tidegate.registry.redirects import next_hop

ENDPOINT = URL("https://registry.example.com")
BLOB = URL("https://registry.example.com/v2/a/blobs/sha256:0", encoded=True)
LOCAL = URL("http://127.0.0.1:5000")


@pytest.mark.parametrize(
    "location,target",
    [
        pytest.param("https://store.example.net/x", "https://store.example.net/x", id="another-host"),
        pytest.param("/elsewhere", "https://registry.example.com/elsewhere", id="absolute-path"),
        pytest.param("//store.example.net/x", "https://store.example.net/x", id="same-scheme"),
        pytest.param(
            "https://s.example.net/x?sig=a%2Fb%2B%3d+c&se=2026-11-24T08%3A00Z",
            "https://s.example.net/x?sig=a%2Fb%2B%3d+c&se=2026-11-24T08%3A00Z",
            id="signature-stays-byte-for-byte",
        ),
        pytest.param("https://10.0.0.5:9000/x", "https://10.0.0.5:9000/x", id="storage-in-a-private-network"),
    ],
)
def test_followed(location: str, target: str) -> None:
    assert str(next_hop(BLOB, location, endpoint=ENDPOINT, replica="west")) == target


@pytest.mark.parametrize(
    "location,error",
    [
        pytest.param(None, Unreachable, id="missing"),
        pytest.param("", Unreachable, id="empty"),
        pytest.param("https://store.example.net:99999/", Unreachable, id="no-port"),
        pytest.param("https://[::1", Unreachable, id="no-url"),
        pytest.param("http://store.example.net/x", Unsupported, id="tls-to-plain"),
        pytest.param("http://registry.example.com/x", Unsupported, id="tls-to-plain-own-host"),
        pytest.param("ftp://store.example.net/x", Unsupported, id="ftp"),
        pytest.param("file:///etc/passwd", Unsupported, id="file"),
        pytest.param("javascript:alert(1)", Unsupported, id="javascript"),
        pytest.param("https://user:pw@store.example.net/", Unsupported, id="credential-in-the-url"),
        pytest.param("https://user@registry.example.com/", Unsupported, id="user-in-the-url"),
        pytest.param("https://localhost/x", Unsupported, id="this-machine"),
        pytest.param("https://127.1/x", Unsupported, id="this-machine-short"),
        pytest.param("https://169.254.169.254/latest", Unsupported, id="instance-metadata"),
        pytest.param("https://[::ffff:169.254.169.254]/", Unsupported, id="instance-metadata-mapped"),
        pytest.param("https://2852039166/", Unsupported, id="instance-metadata-as-one-number"),
        pytest.param("https://224.0.0.1/", Unsupported, id="multicast"),
        pytest.param("https://exa mple/", Unsupported, id="space-in-host"),
        pytest.param("https://store.example.net/" + "a" * 9000, Unsupported, id="long"),
    ],
)
def test_refused(location: str | None, error: type[RegistryError]) -> None:
    with pytest.raises(error):
        next_hop(BLOB, location, endpoint=ENDPOINT, replica="west")


def test_a_loopback_endpoint_may_lead_to_loopback() -> None:
    assert next_hop(LOCAL, "http://localhost:9/x", endpoint=LOCAL, replica="west") == URL("http://localhost:9/x")


@given(st.text(max_size=60) | st.from_regex(r"(https?:)?//[^/]{0,30}/[^ ]{0,20}", fullmatch=True))
def test_any_location_is_a_safe_url_or_an_error(location: str) -> None:
    try:
        target = next_hop(BLOB, location, endpoint=ENDPOINT, replica="west")
    except RegistryError:
        return
    assert target.scheme == "https"
    assert target.raw_user is None
    assert not set(str(target)) & set("\r\n ")
