"""The expressions for RE2 say what the parser says; the real API server is asked in tests/real/kube."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.admission import policies
from tidegate.admission.cel import text, texts
from tidegate.admission.grammar import HAS_HOST, SHORT_PATH, WHOLE, of_hosts, of_pattern
from tidegate.policy import Exemption, ImagePattern, Policy, Rule, Selector, Settings
from tidegate.reference import ImageReference, InvalidReference

DIGEST = f"sha256:{'a' * 64}"


def accepted(normalised: str) -> bool:
    """As RE2 has it, where `$` is the very end."""
    whole = WHOLE.removesuffix("$") + r"\Z"
    return re.search(whole, normalised) is not None and re.search(SHORT_PATH, normalised) is not None


@given(
    st.from_regex(rf"\A[a-zA-Z0-9.:\-_\[\]]{{0,12}}/[a-zA-Z0-9._/\-]{{0,12}}(:[a-zA-Z0-9._\-]{{0,4}})?(@{DIGEST})?\Z")
)
@example(f"r.example/{'a' * 255}")
@example(f"r.example/{'a' * 256}")
@example("r.example/app:1\n")
@example("r.example/a..b")
@example("r.example/a__b")
@example("r.example/a___b")
@example("[::1]:5000/app")
@example("my_host.example/app")
@example(f"r.example/app:{'t' * 129}")
def test_with_a_host_in_front_the_same_texts_are_references(image: str) -> None:
    try:
        parsed = ImageReference.parse(image)
    except InvalidReference:
        assert not (re.search(HAS_HOST, image) and accepted(image))
    else:
        assert accepted(str(parsed))


@pytest.mark.parametrize(
    "pattern,image",
    [
        pytest.param("mcr.example/*", "mcr.example/a/b:1", id="a path"),
        pytest.param("mcr.example/*", "MCR.example/a", id="another host, unlisted"),
        pytest.param("*.example/app", "r.example/app", id="one label"),
        pytest.param("*.example/app", "a.r.example/app", id="not two"),
        pytest.param("*.example/app", "R.example:443/app", id="as the configuration spells it"),
        pytest.param("r.example/a*b", f"r.example/a/x/b@{DIGEST}", id="spans"),
        pytest.param("r.example/a*b", "r.example/a:b", id="not into the tag"),
        pytest.param("docker.io/library/nginx", "docker.io/library/nginx:1", id="the hub's"),
        pytest.param("docker.io/library/nginx", "docker.io/library/nginxx", id="the whole name"),
        pytest.param("r.example/**", "r.example/a", id="doubled"),
    ],
)
def test_a_pattern_covers_what_the_exemption_covers(pattern: str, image: str) -> None:
    hosts = ["r.example"]
    compiled = ImagePattern.parse(pattern)
    reference = ImageReference.parse(image)
    listed = re.search(of_hosts(hosts), image) is not None
    known = ImageReference("r.example", reference.path) if listed else reference
    assert (re.search(of_pattern(compiled, hosts), image) is not None) is compiled.matches(known)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_leaves_its_literal(value: str) -> None:
    assert json.loads(text(value)) == value
    assert json.loads(texts([value, "b"])) == sorted([value, "b"])


def test_the_same_configuration_gives_the_same_objects() -> None:
    def made(order: int) -> str:
        names = [f"n{n}" for n in range(50)][::order]
        policy = Policy(
            rules=(Rule(Selector(dict.fromkeys(names, "x")), Settings()),),
            exemptions=(Exemption(namespaces=frozenset(names), users=frozenset(names), reason="x"),),
        )
        return json.dumps(policies(policy, names, own="tidegate"))

    assert made(1) == made(-1)
