"""Which key is for which image: kubelet's rules, one row each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.registry.auth.matching import Keyring, matches, normal_key

LABEL = st.text(alphabet="ab-1", min_size=1, max_size=6)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PATH = st.lists(LABEL, min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    "pattern, image, expected",
    [
        pytest.param("r.example", "r.example/app", True, id="the-host"),
        pytest.param("r.example", "s.example/app", False, id="another-host"),
        pytest.param("R.example", "r.example/app", False, id="letters-as-written"),
        pytest.param("*.example", "r.example/app", True, id="star-is-a-label"),
        pytest.param("*.example", "a.r.example/app", False, id="star-is-one-label"),
        pytest.param("*.*.example", "a.r.example/app", True, id="two-stars"),
        pytest.param("*", "r.example/app", False, id="star-is-not-everything"),
        pytest.param("*", "localhost/app", True, id="star-is-a-single-label"),
        pytest.param("pre*.example", "prefix.example/app", True, id="star-after-text"),
        pytest.param("pre*.example", "pr.example/app", False, id="star-after-other-text"),
        pytest.param("*fix.example", "prefix.example/app", True, id="star-before-text"),
        pytest.param("p*f*x.example", "prefix.example/app", True, id="stars-between"),
        pytest.param("ab*ba.example", "aba.example/app", False, id="ends-do-not-overlap"),
        pytest.param("r.example*", "r.example/app", True, id="star-of-nothing"),
        pytest.param("r.example:5000", "r.example:5000/app", True, id="same-port"),
        pytest.param("r.example", "r.example:5000/app", False, id="absent-is-no-port"),
        pytest.param("r.example:5000", "r.example/app", False, id="port-is-not-absent"),
        pytest.param("r.example:*", "r.example:5000/app", False, id="no-star-in-a-port"),
        pytest.param("*.example:5000", "r.example:5000/app", True, id="star-and-port"),
        pytest.param("[::1]:5000", "[::1]:5000/app", True, id="ipv6-with-port"),
        pytest.param("[::1]", "[::1]/app", True, id="ipv6"),
        pytest.param("r.example/team", "r.example/team/app", True, id="path"),
        pytest.param("r.example/team", "r.example/team-b/app", True, id="path-is-a-plain-prefix"),
        pytest.param("r.example/team/", "r.example/team-b/app", False, id="slash-ends-the-component"),
        pytest.param("r.example/team", "r.example/other/team", False, id="path-begins-at-the-host"),
        pytest.param("r.example/*", "r.example/team", False, id="no-star-in-a-path"),
        pytest.param("r.example/team/app", "r.example/team", False, id="longer-path"),
    ],
)
def test_matches(pattern: str, image: str, *, expected: bool) -> None:
    assert matches(pattern, image) is expected


@pytest.mark.parametrize(
    "text, key",
    [
        pytest.param("r.example", "r.example", id="bare"),
        pytest.param("https://r.example", "r.example", id="https"),
        pytest.param("http://r.example:5000", "r.example:5000", id="http"),
        pytest.param("https://r.example/", "r.example", id="slash"),
        pytest.param("https://r.example/v1/", "r.example", id="v1"),
        pytest.param("r.example/v2/", "r.example", id="v2"),
        pytest.param("r.example/v2/team", "r.example/team", id="v2-and-a-path"),
        pytest.param("r.example/v2", "r.example/v2", id="v2-that-ends-there-is-a-path"),
        pytest.param("r.example/v3/team", "r.example/v3/team", id="v3-is-a-path"),
        pytest.param("r.example/team/", "r.example/team/", id="path-as-written"),
        pytest.param("https://user@r.example/team", "r.example/team", id="user"),
        pytest.param("r.example/team?x=y#z", "r.example/team", id="query"),
        pytest.param("", "", id="empty"),
        pytest.param("https:///team", "", id="no-host"),
    ],
)
def test_normal_key(text: str, key: str) -> None:
    assert normal_key(text) == key


@pytest.mark.parametrize(
    "keys, image, found",
    [
        pytest.param(["r.example"], "s.example/app", [], id="nothing"),
        pytest.param(
            ["r.example", "r.example/team/app", "r.example/team", "r.example/other"],
            "r.example/team/app",
            ["r.example/team/app", "r.example/team", "r.example"],
            id="all-that-match-longest-first",
        ),
        pytest.param(["*.example", "r.example"], "r.example/app", ["r.example", "*.example"], id="stars-last"),
        pytest.param(
            ["https://index.docker.io/v1/"], "docker.io/library/redis", ["https://index.docker.io/v1/"], id="hub"
        ),
        pytest.param(["https://index.docker.io/v1/", "docker.io"], "docker.io/a/b", ["docker.io"], id="hub-last"),
        pytest.param(["https://index.docker.io/v1/"], "r.example/app", [], id="hub-is-for-the-hub"),
        pytest.param(["index.docker.io/team"], "docker.io/team/app", [], id="hub-key-has-no-path"),
        pytest.param(
            ["https://r.example", "r.example/v1/"], "r.example/app", ["https://r.example", "r.example/v1/"],
            id="equal-keys-in-their-order",
        ),
    ],
)  # fmt: skip
def test_lookup(keys: list[str], image: str, found: list[str]) -> None:
    assert [value for _, value in Keyring((key, key) for key in keys).lookup(image)] == found


@given(HOST, PATH)
def test_a_name_is_a_key_for_itself(host: str, path: str) -> None:
    image = f"{host}/{path}"
    assert matches(host, image)
    assert matches(image, image)
    assert matches(".".join("*" for _ in host.split(".")), image)


@given(HOST, HOST, PATH)
def test_a_key_is_for_one_host_only(one: str, other: str, path: str) -> None:
    assert matches(one, f"{other}/{path}") is (one == other)


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_is_too_odd_to_compare(pattern: str, image: str) -> None:
    assert matches(pattern, image) in {True, False}
    assert normal_key(normal_key(pattern)) is not None
    Keyring([(pattern, 1)]).lookup(image)


@given(st.lists(st.tuples(HOST, st.sampled_from(["", "/a", "/b", "/ab"])).map("".join), max_size=8), HOST, PATH)
def test_what_is_found_is_what_matches_in_descending_order(keys: list[str], host: str, path: str) -> None:
    image = f"{host}/{path}"
    found = [key for key, _ in Keyring((key, None) for key in keys).lookup(image)]
    assert found == sorted((key for key in keys if matches(key, image)), reverse=True)


def test_many_stars_cost_little() -> None:
    assert not matches("a*" * 5000 + "b.example", "a" * 5000 + ".example/app")
