"""Patterns match whole normalised names, never raw text; everything that an exemption gives must match."""

import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tidegate.policy import Exemption, ImagePattern, Selector
from tidegate.reference import ImageReference, InvalidReference

DIGEST = "@sha256:" + "a" * 64


def matches(pattern: str, image: str) -> bool:
    return ImagePattern.parse(pattern).matches(ImageReference.parse(image))


@pytest.mark.parametrize(
    "pattern, image",
    [
        ("mcr.microsoft.com/*", "mcr.microsoft.com/oss/kubernetes/pause:3.9"),
        ("mcr.microsoft.com/*", "mcr.microsoft.com/a" + DIGEST),
        ("docker.io/library/nginx", "nginx"),
        ("docker.io/library/nginx", "docker.io/nginx:1"),
        ("docker.io/library/nginx", "index.docker.io/library/nginx" + DIGEST),
        ("docker.io/library/*", "redis"),
        ("*.azurecr.io/*", "team.azurecr.io/a"),
        ("team*.azurecr.io/app-*", "team7.azurecr.io/app-web"),
        ("r.example:5000/*", "r.example:5000/a/b/c"),
        ("*:5000/a", "localhost:5000/a"),
        ("r.example/*/web", "r.example/a/b/web"),
        ("r.example/a**b", "r.example/a/x/b"),
        ("[::1]:5000/*", "[::1]:5000/a"),
    ],
)
def test_a_pattern_matches(pattern: str, image: str) -> None:
    assert matches(pattern, image)


@pytest.mark.parametrize(
    "pattern, image",
    [
        pytest.param("*.azurecr.io/*", "a.b.azurecr.io/x", id="a star of the domain stays within one label"),
        pytest.param("*.azurecr.io/*", "azurecr.io/x", id="and does not swallow the dot"),
        pytest.param("*.azurecr.io/*", "evil.example/team.azurecr.io/x", id="the path is no domain"),
        pytest.param("*.azurecr.io/*", "team.azurecr.io.evil.example/x", id="the end is anchored"),
        pytest.param("team.*/*", "team.evil.example/x", id="at the end too"),
        pytest.param("*.azurecr.io/*", "team.azurecr.io:443/x", id="a star never reaches the port"),
        pytest.param("localhost*/*", "localhost:5000/x", id="nor a port alone"),
        pytest.param("*/x", "docker.io/library/x", id="a lone star is one label"),
        pytest.param("mcr.microsoft.com/*", "mcr-microsoft.com/x", id="a dot is a dot"),
        pytest.param("mcr.microsoft.com/*", "docker.io/mcr.microsoft.com/x", id="not elsewhere in the name"),
        pytest.param("docker.io/library/nginx", "docker.io/library/nginx-evil", id="the whole path"),
        pytest.param("docker.io/library/nginx", "evil/nginx", id="library is not a wildcard"),
        pytest.param("docker.io/library/nginx", "r.example/library/nginx", id="nor is the domain"),
        pytest.param("r.example/a", "r.example/a/b", id="no prefix"),
        pytest.param("[::1]:5000/*", "[::2]:5000/a", id="brackets are themselves"),
        pytest.param("r.example/*", "R.example/a", id="references keep the case of a host"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, image: str) -> None:
    assert not matches(pattern, image)


@pytest.mark.parametrize(
    "text, words",
    [
        ("nginx", "DOMAIN/PATH"),
        ("*", "DOMAIN/PATH"),
        ("", "DOMAIN/PATH"),
        ("/a", "DOMAIN/PATH"),
        ("r.example/", "DOMAIN/PATH"),
        ("r.example/a:1", "DOMAIN/PATH"),
        ("r.example/a@sha256:1", "DOMAIN/PATH"),
        ("r.example/A*", "DOMAIN/PATH"),
        ("r.example/a b*", "DOMAIN/PATH"),
        ("r.example/\u0101*", "DOMAIN/PATH"),
        ("r.example/a\n*", "DOMAIN/PATH"),
        ("r.example/*?", "DOMAIN/PATH"),
        ("r.example/(a|b)*", "DOMAIN/PATH"),
        ("r.example/" + "a" * 600 + "*", "DOMAIN/PATH"),
        ("r.example/*a*b*c*d*", "more than 4"),
        ("*.*.*.*.*/x", "more than 4"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("library/nginx", "docker.io/library/nginx"),
        ("r.example/a//b", "r.example/a//b"),
    ],
)
def test_what_is_no_pattern_is_refused_with_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ImagePattern.parse(text)


LABEL = st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3})?", fullmatch=True)
DOMAIN = st.builds("{}.{}".format, st.lists(LABEL, min_size=1, max_size=3).map(".".join), st.just("example"))
PATH = st.lists(LABEL, min_size=1, max_size=4).map("/".join)


@given(domain=DOMAIN, path=PATH, tag=LABEL)
def test_tags_and_digests_never_decide(domain: str, path: str, tag: str) -> None:
    pattern = ImagePattern.parse(f"{domain}/{path}")
    for suffix in ("", f":{tag}", DIGEST, f":{tag}{DIGEST}"):
        assert pattern.matches(ImageReference.parse(f"{domain}/{path}{suffix}"))


@given(text=st.text(alphabet="ab./:@*-_ \nA[]", max_size=24), pattern=st.sampled_from(["r.example/*", "*.r.example/*"]))
def test_no_raw_text_passes_that_is_not_of_that_host(text: str, pattern: str) -> None:
    for image in (text, f"r.example{text}", f"{text}r.example/a", f"r.example/{text}", f"a.r.example{text}"):
        try:
            reference = ImageReference.parse(image)
        except InvalidReference:
            continue
        if ImagePattern.parse(pattern).matches(reference):
            host, _, _ = image.partition("/")
            assert reference.domain == host
            assert host == "r.example" if pattern == "r.example/*" else re.fullmatch(r"[^.]*\.r\.example", host)


@given(
    parts=st.lists(st.text(alphabet="ab/", max_size=3), min_size=1, max_size=5),
    path=st.text(alphabet="ab/", max_size=12),
)
def test_stars_find_every_match_there_is(parts: list[str], path: str) -> None:
    text = "*".join(parts)
    assume(text and "*" in text)
    reference = ImageReference("r.example", path, None, None)
    anywhere = re.fullmatch(".*".join(re.escape(part) for part in parts), path) is not None
    assert ImagePattern.parse(f"r.example/{text}").matches(reference) is anywhere


@given(
    parts=st.lists(st.text(alphabet="a.", max_size=3), min_size=1, max_size=4),
    domain=st.text(alphabet="a.:", max_size=10),
)
def test_so_do_those_of_the_domain_within_their_labels(parts: list[str], domain: str) -> None:
    text = "*".join(parts)
    assume("*" in text)
    reference = ImageReference(domain, "a", None, None)
    within = re.fullmatch("[^.:]*".join(re.escape(part) for part in parts), domain) is not None
    assert ImagePattern.parse(f"{text}/*").matches(reference) is within


@pytest.mark.parametrize(
    "pattern, image",
    [
        ("r.example/*a*a*a*b", "r.example/" + "a" * 254 + "c"),
        ("*a*a*a*b.example/*", "a" * 280 + ".example/x"),
        ("r.example/*/a/*/a/*/b", "r.example/" + "a/" * 120 + "c"),
    ],
)
def test_no_name_makes_matching_slow(pattern: str, image: str) -> None:
    compiled, reference = ImagePattern.parse(pattern), ImageReference.parse(image)
    began = time.perf_counter()
    for _ in range(100):
        assert not compiled.matches(reference)
    assert time.perf_counter() - began < 0.5


ALL = Exemption(
    images=(ImagePattern.parse("r.example/*"),),
    namespaces=frozenset({"n"}),
    users=frozenset({"u"}),
    labels=Selector(labels={"l": "1"}),
    reason="all of it",
)


@pytest.mark.parametrize(
    "changed, covered",
    [
        pytest.param({}, True, id="everything matches"),
        pytest.param({"reference": ImageReference.parse("other.example/a")}, False, id="another image"),
        pytest.param({"reference": None}, False, id="no image at all"),
        pytest.param({"namespace": "m"}, False, id="another namespace"),
        pytest.param({"user": "v"}, False, id="another user"),
        pytest.param({"labels": {"l": "2"}}, False, id="another label"),
        pytest.param({"labels": {}}, False, id="no label"),
    ],
)
def test_everything_that_is_given_must_match(changed: dict[str, object], *, covered: bool) -> None:
    subject = {"reference": ImageReference.parse("r.example/a"), "namespace": "n", "user": "u", "labels": {"l": "1"}}
    subject |= changed
    reference = subject.pop("reference")
    assert ALL.covers(reference, **subject) is covered  # type: ignore[arg-type]
