"""WWW-Authenticate as registries, proxies and attackers write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.registry.auth.challenge import Challenge, parse_challenges

BEARER = Challenge("bearer", {"realm": "https://a.example/token", "service": "a.example"})


@pytest.mark.parametrize(
    "headers,expected",
    [
        pytest.param(['Bearer realm="https://a.example/token",service="a.example"'], [BEARER], id="distribution"),
        pytest.param(['bEaReR Realm="https://a.example/token",SERVICE="a.example"'], [BEARER], id="any-case"),
        pytest.param(
            ['Bearer   realm = "https://a.example/token" ,  service\t=\t"a.example"  '], [BEARER], id="whitespace"
        ),
        pytest.param(["Bearer realm=https://a.example/token,service=a.example"], [BEARER], id="unquoted"),
        pytest.param(['Bearer realm="https://a.example/token" service="a.example"'], [BEARER], id="no-comma"),
        pytest.param(['Bearer realm="https://a.example/token", service="a.example'], [BEARER], id="unterminated"),
        pytest.param([',, Bearer realm="https://a.example/token",,service="a.example",'], [BEARER], id="empty-parts"),
        pytest.param(
            ['Bearer realm="r",scope="repository:a/b:pull,push repository:c:pull"'],
            [Challenge("bearer", {"realm": "r", "scope": "repository:a/b:pull,push repository:c:pull"})],
            id="commas-and-spaces-in-quotes",
        ),
        pytest.param(
            [r'Bearer realm="a\"b\\c, Basic realm=\"x\""'],
            [Challenge("bearer", {"realm": 'a"b\\c, Basic realm="x"'})],
            id="escapes-hide-no-challenge",
        ),
        pytest.param(
            ['Basic realm="x", Bearer realm="y"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
            id="two-in-one-header",
        ),
        pytest.param(
            ['Basic realm="x"', 'Bearer realm="y"'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
            id="two-headers",
        ),
        pytest.param(
            ["Negotiate, Basic realm=x"], [Challenge("negotiate"), Challenge("basic", {"realm": "x"})], id="bare-scheme"
        ),
        pytest.param(
            ["Negotiate YIIabc+/==, Basic realm=x"],
            [Challenge("negotiate"), Challenge("basic", {"realm": "x"})],
            id="token68",
        ),
        pytest.param(["NTLM TlRM"], [Challenge("ntlm")], id="token68-at-the-end"),
        pytest.param(["Basic"], [Challenge("basic")], id="no-parameters"),
        pytest.param(
            ['Bearer realm="first",realm="second"'], [Challenge("bearer", {"realm": "first"})], id="first-one-counts"
        ),
        pytest.param(['Bearer realm=""'], [Challenge("bearer", {"realm": ""})], id="empty-value"),
        pytest.param(["Bearer realm="], [Challenge("bearer")], id="no-value-reads-as-token68"),
        pytest.param(['realm="x"'], [], id="parameter-without-scheme"),
        pytest.param([""], [], id="empty"),
        pytest.param([" , ,\t,"], [], id="commas-only"),
        pytest.param([], [], id="none"),
        pytest.param(['"Bearer" realm="x"'], [], id="quoted-scheme"),
        pytest.param(['<html>, Bearer realm="x"'], [Challenge("bearer", {"realm": "x"})], id="garbage-up-to-the-comma"),
        pytest.param(["\u00e9\u0131 realm=x, Basic"], [Challenge("basic")], id="not-ascii"),
    ],
)
def test_what_a_header_says(headers: list[str], expected: list[Challenge]) -> None:
    assert list(parse_challenges(headers)) == expected


@given(st.lists(st.text(max_size=200), max_size=12))
def test_any_text_gives_challenges(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()
        assert all(name == name.lower() for name in challenge.parameters)


@given(st.text(alphabet=' \t,="\\aB:/', max_size=60))
def test_the_characters_that_matter_in_any_order(text: str) -> None:
    parse_challenges([text])


VALUE = st.text(alphabet=st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)


@given(st.dictionaries(st.sampled_from(["realm", "service", "scope", "error"]), VALUE, max_size=4))
def test_what_is_quoted_comes_back(parameters: dict[str, str]) -> None:
    quoted = ",".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in parameters.items()
    )
    assert parse_challenges([f"Bearer {quoted}"]) == (Challenge("bearer", parameters),)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param('Bearer realm="' + "a" * 10**6, id="endless-quote"),
        pytest.param("Basic, " * 200_000, id="endless-schemes"),
        pytest.param("Bearer " + ",".join(f"p{n}=v" for n in range(200_000)), id="endless-parameters"),
        pytest.param("\\" * 10**6, id="backslashes"),
        pytest.param('Bearer realm="' + '\\"' * 10**6, id="endless-escapes"),
        pytest.param("=" * 10**6, id="equals"),
        pytest.param("a" * 10**6, id="endless-token"),
        pytest.param("Bearer " + "=" * 4000 + " " * 4000, id="padding"),
    ],
)
def test_a_megabyte_is_cut(header: str) -> None:
    challenges = parse_challenges([header] * 100)
    assert len(challenges) <= 16
    assert sum(len(n) + len(v) for c in challenges for n, v in c.parameters.items()) <= 8 * 8 * 2**10
    assert all(len(challenge.parameters) <= 32 for challenge in challenges)
