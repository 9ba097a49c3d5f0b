"""References answer as distribution/reference v0.6.0 does: corpus.json holds what that library itself answered."""

import json
import os
import pickle
import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.reference import PATH_LIMIT, TEXT_LIMIT, Digest, ImageReference, InvalidReference, parse_digest

CORPUS = Path(os.environ.get("TIDEGATE_REFERENCE_CORPUS", Path(__file__).with_name("corpus.json")))
HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


class Answer(NamedTuple):
    domain: str
    path: str
    tag: str
    digest: str
    text: str
    familiar: str


def answer(text: str) -> Answer | None:
    try:
        found = ImageReference.parse(text)
    except InvalidReference:
        return None
    return Answer(found.domain, found.path, found.tag or "", found.digest or "", str(found), found.familiar)


def corpus() -> Iterator[tuple[str, Answer | None]]:
    """Every text of the corpus with Go's answer; None where it refused."""
    stored = json.loads(CORPUS.read_text())
    words = stored["words"]
    shorthand = re.compile("{(" + "|".join(words) + ")}")
    for row in stored["rows"]:
        refused = isinstance(row[-1], int)  # then it is the library's message, as an index into errors
        text, *parts = (shorthand.sub(lambda word: words[word[1]], part) for part in row[: 1 if refused else None])
        yield text, None if refused else Answer(*parts)


def test_go_answered_the_same() -> None:
    rows = list(corpus())
    different = [(text, ours, go) for text, go in rows if (ours := answer(text)) != go and (go is None or go.domain)]
    assert different == []
    assert len(rows) >= 3000
    assert sum(go is not None for _, go in rows) >= 1000


def test_the_one_difference_is_a_host_with_an_underscore() -> None:
    hostless = [text for text, go in corpus() if go is not None and not go.domain]
    assert len(hostless) >= 30
    for text in hostless:
        assert "_" in text.partition("/")[0]
        with pytest.raises(InvalidReference, match="the host has an underscore"):
            ImageReference.parse(text)


ACCEPTED = [
    pytest.param("nginx", "docker.io", "library/nginx", None, None, id="a word is an official image, without a tag"),
    pytest.param("nginx:1.27", "docker.io", "library/nginx", "1.27", None, id="tag"),
    pytest.param(f"nginx@{DIGEST}", "docker.io", "library/nginx", None, DIGEST, id="digest"),
    pytest.param(f"nginx:1.27@{DIGEST}", "docker.io", "library/nginx", "1.27", DIGEST, id="both are kept"),
    pytest.param("team/app", "docker.io", "team/app", None, None, id="two words are Docker Hub's"),
    pytest.param("docker.io/nginx", "docker.io", "library/nginx", None, None, id="library is added to docker.io"),
    pytest.param("index.docker.io/nginx", "docker.io", "library/nginx", None, None, id="the index is docker.io"),
    pytest.param("registry-1.docker.io/nginx", "registry-1.docker.io", "nginx", None, None, id="another host"),
    pytest.param("docker.io:443/nginx", "docker.io:443", "nginx", None, None, id="a port makes another host"),
    pytest.param("localhost:5000", "docker.io", "library/localhost", "5000", None, id="no slash, no host"),
    pytest.param("localhost:5000/app", "localhost:5000", "app", None, None, id="with a path it is a host"),
    pytest.param("localhost/app", "localhost", "app", None, None, id="localhost is a host"),
    pytest.param("example.com", "docker.io", "library/example.com", None, None, id="a bare host is a name"),
    pytest.param("host/app", "docker.io", "host/app", None, None, id="a plain word is no host"),
    pytest.param("Host/app", "Host", "app", None, None, id="an upper-case letter makes it one"),
    pytest.param("EXAMPLE.com/app", "EXAMPLE.com", "app", None, None, id="a host keeps its case"),
    pytest.param("10.0.0.1:5000/app", "10.0.0.1:5000", "app", None, None, id="IPv4"),
    pytest.param("[2001:db8::1]:5000/app", "[2001:db8::1]:5000", "app", None, None, id="IPv6"),
    pytest.param("a.b:99999999/app", "a.b:99999999", "app", None, None, id="ports have no range"),
    pytest.param("my_host/app", "docker.io", "my_host/app", None, None, id="an underscore in a path"),
    pytest.param("a.b/x__y.z--w", "a.b", "x__y.z--w", None, None, id="separators"),
    pytest.param("sha256:" + HEX, "docker.io", "library/sha256", HEX, None, id="a bare digest is a name and a tag"),
    pytest.param(f"a.b/{HEX}", "a.b", HEX, None, None, id="64 hexadecimals after a host"),
    pytest.param(f"x:{'T' * 128}", "docker.io", "library/x", "T" * 128, None, id="128 in the tag"),
    pytest.param(f"a.b/{'a' * 255}", "a.b", "a" * 255, None, None, id="255 in the path"),
    pytest.param(f"{'h' * 300}.b/{'a' * 255}", "h" * 300 + ".b", "a" * 255, None, None, id="the host does not count"),
    pytest.param("a" * 247, "docker.io", "library/" + "a" * 247, None, None, id="library counts"),
    pytest.param(f"x@sha384:{'f' * 96}", "docker.io", "library/x", None, f"sha384:{'f' * 96}", id="sha384"),
    pytest.param(f"x@sha512:{'f' * 128}", "docker.io", "library/x", None, f"sha512:{'f' * 128}", id="sha512"),
]


@pytest.mark.parametrize("text, domain, path, tag, digest", ACCEPTED)
def test_accepted(text: str, domain: str, path: str, tag: str | None, digest: Digest | None) -> None:
    assert ImageReference.parse(text) == ImageReference(domain, path, tag, digest)


REFUSED = [
    pytest.param("", "it is empty", id="empty"),
    pytest.param(HEX, "64 hexadecimals are an image ID", id="bare 64 hexadecimals"),
    pytest.param("/app", "empty component", id="nothing before the slash"),
    pytest.param("a.b/", "no repository follows the host", id="nothing after the host"),
    pytest.param("a.b//app", "empty component", id="empty component"),
    pytest.param("team/App", "upper-case letters", id="upper case in the path"),
    pytest.param("App", "upper-case letters", id="upper case in a word"),
    pytest.param("a___b", "not made of", id="three underscores"),
    pytest.param("nginx\n", "not made of", id="trailing newline"),
    pytest.param("nginx:1\n", "the tag is not", id="trailing newline in the tag"),
    pytest.param(f"nginx@{DIGEST}\n", "the digest has 65 characters", id="trailing newline in the digest"),
    pytest.param(" nginx", "not made of", id="leading space"),
    pytest.param("nginx:\N{ARABIC-INDIC DIGIT THREE}", "the tag is not", id="Unicode digit"),
    pytest.param("a.b:\N{ARABIC-INDIC DIGIT THREE}/x", "the host is no", id="Unicode digit in the port"),
    pytest.param("\N{FULLWIDTH LATIN SMALL LETTER A}pp", "not made of", id="full-width letter"),
    pytest.param("nginx:", "the tag is not", id="empty tag"),
    pytest.param("nginx:.a", "the tag is not", id="a tag begins with no dot"),
    pytest.param(f"nginx:{'T' * 129}", "the tag is not", id="129 in the tag"),
    pytest.param("nginx@", "the digest is not sha256", id="empty digest"),
    pytest.param(f"nginx@{HEX}", "the digest is not sha256", id="digest without algorithm"),
    pytest.param(f"nginx@blake3:{HEX}", "the digest is not sha256", id="another algorithm"),
    pytest.param(f"nginx@SHA256:{HEX}", "the digest is not sha256", id="upper-case algorithm"),
    pytest.param(f"nginx@sha256:{HEX[:-1]}", "the digest has 63 characters", id="63 hexadecimals"),
    pytest.param(f"nginx@sha256:{HEX[:-1]}F", "not in lower-case hexadecimals", id="upper-case digest"),
    pytest.param(f"nginx@{DIGEST}:1", "the digest has 66 characters", id="a tag after the digest"),
    pytest.param(f"a.b/{'a' * 256}", "the path has 256 characters", id="256 in the path"),
    pytest.param("a" * 248, "the path has 256 characters", id="256 with library"),
    pytest.param("my_host.com/app", "the host has an underscore", id="underscore in a host"),
    pytest.param("my_host:5000/app", "the host has an underscore", id="underscore in a host with a port"),
    pytest.param("a.b:/app", "the host is no", id="empty port"),
    pytest.param("a..b/app", "the host is no", id="empty label"),
    pytest.param("-a.b/app", "the host is no", id="a label begins with no dash"),
    pytest.param("[fe80::1%eth0]/app", "the host is no", id="IPv6 zone"),
    pytest.param("[::ffff:10.0.0.1]/app", "the host is no", id="IPv4 in IPv6"),
    pytest.param("https://a.b/app", "the host is no", id="a URL"),
    pytest.param("\ud800/app", "not made of", id="a lone surrogate"),
]


@pytest.mark.parametrize("text, reason", REFUSED)
def test_refused_with_the_part_that_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        ImageReference.parse(text)
    assert reason in caught.value.reason
    assert caught.value.text == text[:TEXT_LIMIT] + ("..." if len(text) > TEXT_LIMIT else "")


def test_an_error_is_short_and_printable_whatever_the_text() -> None:
    with pytest.raises(InvalidReference) as caught:
        ImageReference.parse("ngi\r\nnx\x00" + "x" * 10_000)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 2 * TEXT_LIMIT
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - its own bytes


@pytest.mark.parametrize(
    "text, familiar",
    [
        ("docker.io/library/nginx:1", "nginx:1"),
        (f"docker.io/library/nginx@{DIGEST}", f"nginx@{DIGEST}"),
        ("docker.io/team/app", "team/app"),
        ("docker.io/library/team/app", "library/team/app"),
        ("a.b/library/app", "a.b/library/app"),
    ],
)
def test_the_familiar_form(text: str, familiar: str) -> None:
    assert ImageReference.parse(text).familiar == familiar


MEGABYTE = 1_000_000
HUGE = [
    pytest.param("a" * MEGABYTE, id="path"),
    pytest.param("a/" * (MEGABYTE // 2), id="components"),
    pytest.param("a-" * (MEGABYTE // 2), id="dashes"),
    pytest.param("_" * MEGABYTE, id="underscores"),
    pytest.param("x:" + "T" * MEGABYTE, id="tag"),
    pytest.param("x@sha256:" + "f" * MEGABYTE, id="digest"),
    pytest.param("x@" + "sha256+" * (MEGABYTE // 7), id="algorithm"),
    pytest.param("a." * (MEGABYTE // 2) + "a/x", id="labels, accepted"),
    pytest.param("a." * (MEGABYTE // 2) + "_/x", id="labels"),
    pytest.param("a-" * (MEGABYTE // 2) + "./x", id="dashes in a host"),
    pytest.param("a.b:" + "1" * MEGABYTE + "/x", id="port, accepted"),
    pytest.param("[" + ":" * MEGABYTE + "/x", id="open bracket"),
    pytest.param("\ud800" * MEGABYTE, id="surrogates"),
    pytest.param("/" * MEGABYTE, id="slashes"),
]


@pytest.mark.parametrize("text", HUGE)
def test_a_megabyte_is_answered_at_once_and_in_little_memory(text: str) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        answer(text)
        taken, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 0.5
    assert peak < 16 * MEGABYTE


PIECES = [
    "a",
    "z9",
    "A",
    "0",
    ".",
    "_",
    "__",
    "-",
    "/",
    ":",
    "@",
    "[",
    "]",
    "localhost",
    "docker.io",
    "library",
    "\n",
    "é",
    DIGEST,
]
PIECES += ["a" * 120, "sha256:"]
texts = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@given(texts)
@example("localhost/library/x")
def test_what_was_printed_parses_back(text: str) -> None:
    """And nothing but InvalidReference is ever raised."""
    try:
        found = ImageReference.parse(text)
    except InvalidReference:
        return
    assert ImageReference.parse(str(found)) == found
    assert len(found.path) <= PATH_LIMIT


words = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
hosts = st.sampled_from(["docker.io", "localhost", "a.b", "Host", "10.0.0.1", "[::1]"])
ports = st.sampled_from(["", ":5000"])
references = st.builds(
    ImageReference,
    st.builds(str.__add__, hosts, ports),
    st.lists(words, min_size=2, max_size=4).map("/".join),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.from_regex(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", fullmatch=True).map(Digest),
)


@given(references)
def test_what_the_grammar_makes_is_accepted_part_by_part(reference: ImageReference) -> None:
    assert ImageReference.parse(str(reference)) == reference


def looks_like_a_host(path: str) -> bool:
    first, slash, _ = path.removeprefix("library/").partition("/")
    return bool(slash) and ("." in first or first == "localhost")


@given(references)
def test_the_familiar_form_parses_back_unless_its_path_begins_like_a_host(reference: ImageReference) -> None:
    if reference.domain != "docker.io" or not looks_like_a_host(reference.path):
        assert ImageReference.parse(reference.familiar) == reference


@pytest.mark.parametrize("text", [DIGEST, f"sha384:{'0' * 96}", f"sha512:{'0' * 128}"])
def test_digests(text: str) -> None:
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"{DIGEST}\n",
        f"sha256:{HEX[:-1]}F",
        f"sha1:{'0' * 40}",
        f"blake3:{HEX}",
        pytest.param("sha256:" + "0" * MEGABYTE, id="a megabyte"),
    ],
)
def test_no_digests(text: str) -> None:
    with pytest.raises(InvalidReference, match="the digest "):
        parse_digest(text)
