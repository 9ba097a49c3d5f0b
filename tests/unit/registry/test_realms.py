"""Which token realms are asked, and which are shown a credential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tidegate.registry.auth.realms import parse_realm, refusal

ENDPOINT = URL("https://registry.example.com:5000")


@pytest.mark.parametrize(
    "realm,with_secret,without",
    [
        pytest.param("https://registry.example.com/token", True, True, id="own-host"),
        pytest.param("https://registry.example.com:8443/token", True, True, id="own-host-other-port"),
        pytest.param("https://REGISTRY.example.com./token", True, True, id="own-host-other-spelling"),
        pytest.param("https://auth.example.com/token", True, True, id="token-host"),
        pytest.param("https://other.example.net/token", False, True, id="foreign"),
        pytest.param("https://registry.example.com.evil.net/token", False, True, id="own-host-as-prefix"),
        pytest.param("https://evil-registry.example.com/token", False, True, id="own-host-as-suffix"),
        pytest.param("https://sub.auth.example.com/token", False, True, id="below-a-token-host"),
        pytest.param("http://registry.example.com/token", False, False, id="own-host-plain"),
        pytest.param("http://auth.example.com/token", False, False, id="token-host-plain"),
        pytest.param("http://other.example.net/token", False, False, id="foreign-plain"),
        pytest.param("http://localhost:9/token", False, False, id="this-machine-by-name"),
        pytest.param("https://127.0.0.1/token", False, False, id="this-machine"),
        pytest.param("https://[::1]/token", False, False, id="this-machine-v6"),
        pytest.param("https://0.0.0.0/token", False, False, id="any-address"),
        pytest.param("https://169.254.169.254/latest", False, False, id="instance-metadata"),
        pytest.param("https://[::ffff:169.254.169.254]/latest", False, False, id="instance-metadata-mapped"),
        pytest.param("https://[2002:a9fe:a9fe::]/latest", False, False, id="instance-metadata-6to4"),
        pytest.param("https://2852039166/latest", False, False, id="instance-metadata-as-one-number"),
        pytest.param("https://0xa9fea9fe/latest", False, False, id="instance-metadata-in-hex"),
        pytest.param("https://169.254.43518/latest", False, False, id="instance-metadata-short"),
        pytest.param("https://10.1.2.3/token", False, False, id="private"),
        pytest.param("https://[fd00::1]/token", False, False, id="private-v6"),
        pytest.param("https://[fe80::1]/token", False, False, id="link-local-v6"),
        pytest.param("https://100.64.0.1/token", False, False, id="carrier-nat"),
        pytest.param("https://8.8.8.8/token", False, True, id="public-address"),
    ],
)
def test_who_is_asked(realm: str, *, with_secret: bool, without: bool) -> None:
    url = parse_realm(realm)
    assert url is not None
    hosts = frozenset({"auth.example.com"})
    assert (refusal(url, endpoint=ENDPOINT, token_hosts=hosts, secret=True) == "") is with_secret
    assert (refusal(url, endpoint=ENDPOINT, token_hosts=hosts, secret=False) == "") is without


def test_an_endpoint_in_a_private_network_is_its_own_realm() -> None:
    endpoint = URL("https://10.1.2.3:5000")
    assert refusal(URL("https://10.1.2.3/token"), endpoint=endpoint, token_hosts=frozenset(), secret=True) == ""
    assert refusal(URL("https://10.1.2.4/token"), endpoint=endpoint, token_hosts=frozenset(), secret=False) != ""


def test_an_inner_address_is_asked_when_it_is_listed() -> None:
    listed = frozenset({"10.1.2.4"})
    assert refusal(URL("https://10.1.2.4/token"), endpoint=ENDPOINT, token_hosts=listed, secret=True) == ""


def test_a_loopback_endpoint_may_have_a_plain_loopback_realm() -> None:
    endpoint = URL("http://127.0.0.1:5000")
    assert refusal(URL("http://127.0.0.1:1/t"), endpoint=endpoint, token_hosts=frozenset(), secret=True) == ""
    assert refusal(URL("http://localhost:1/t"), endpoint=endpoint, token_hosts=frozenset(), secret=True) != ""
    assert refusal(URL("http://localhost:1/t"), endpoint=endpoint, token_hosts=frozenset(), secret=False) == ""


def test_the_refusal_names_the_host_and_what_to_do() -> None:
    reason = refusal(URL("https://other.example.net/t"), endpoint=ENDPOINT, token_hosts=frozenset(), secret=True)
    assert "other.example.net" in reason
    assert "tokenHosts" in reason


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("/token", id="relative"),
        pytest.param("//registry.example.com/token", id="no-scheme"),
        pytest.param("ftp://registry.example.com/token", id="ftp"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("gopher://registry.example.com/", id="gopher"),
        pytest.param("https://user@registry.example.com/token", id="user"),
        pytest.param("https://user:pw@registry.example.com/token", id="user-and-password"),
        pytest.param("https://registry.example.com:99999/token", id="port-too-high"),
        pytest.param("https://registry.example.com:x/token", id="port-no-number"),
        pytest.param("https://", id="no-host"),
        pytest.param("https://exa mple.com/", id="space-in-host"),
        pytest.param("https://registry.example.com\\@evil.net/", id="backslash"),
        pytest.param("https://registry.example.com%2f.evil.net/", id="percent-in-host"),
        pytest.param("https://[::1", id="open-bracket"),
        pytest.param("https://r.example/" + "a" * 4096, id="long"),
    ],
)
def test_what_is_no_realm(text: str) -> None:
    assert parse_realm(text) is None


@given(st.text(max_size=100) | st.from_regex(r"https?://[^/]{0,40}/?", fullmatch=True))
def test_any_text_is_a_judged_realm_or_none(text: str) -> None:
    realm = parse_realm(text)
    if realm is not None:
        refusal(realm, endpoint=ENDPOINT, token_hosts=frozenset(), secret=True)
        assert realm.raw_user is None
