"""`tidegate.dev/exempt`: an author's own exemption, where policy lets authors have one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.findings import Finding
from tidegate.policy import EXEMPT_ANNOTATION, Exemption, Policy, Settings, Subject, exempt_reason, static_finding
from tidegate.policy.exemptions import REASON_LIMIT
from tidegate.reference import ImageReference, InvalidReference

LETS = Settings(exempt_annotation=True)


@pytest.mark.parametrize(
    "value, reason",
    [
        pytest.param("debugging INC-1", "debugging INC-1", id="a-reason"),
        pytest.param("", "", id="empty"),
        pytest.param("  \n\t ", "", id="blank"),
        pytest.param("\x00\x1b\u202e", "", id="control-characters-only"),
        pytest.param("a\nb\x1b[31mc\u202ed", "a b [31mc d", id="control-characters-within"),
        pytest.param("x" * 10_000, "x" * REASON_LIMIT, id="long"),
        pytest.param("\ud800x", "x", id="a-lone-surrogate"),
    ],
)
def test_what_counts_as_a_reason(value: str, reason: str) -> None:
    assert exempt_reason({EXEMPT_ANNOTATION: value, "other": "x"}) == reason


def test_without_the_annotation_there_is_none() -> None:
    assert exempt_reason({"tidegate.dev/Exempt": "x", "exempt": "x"}) == ""


@given(st.text(max_size=400))
def test_a_reason_is_bounded_and_printable(value: str) -> None:
    reason = exempt_reason({EXEMPT_ANNOTATION: value})
    assert len(reason) <= REASON_LIMIT
    assert reason.isprintable()


@pytest.mark.parametrize(
    "settings, reason, expected",
    [
        pytest.param(LETS, "because", (Finding.EXEMPT, "because"), id="allowed"),
        pytest.param(Settings(), "because", (Finding.NOT_PINNED, ""), id="not-allowed"),
        pytest.param(LETS, "", (Finding.NOT_PINNED, ""), id="no-reason"),
    ],
)
def test_where_policy_allows_it(settings: Settings, reason: str, expected: tuple[Finding, str]) -> None:
    image = "r.example/a:1"
    found = static_finding(
        image, ImageReference.parse(image), policy=Policy(), settings=settings,
        subject=Subject(exempt_reason=reason), listed={"r.example"},
    )  # fmt: skip
    assert found is not None
    assert (found.finding, found.detail) == expected


def test_it_covers_what_is_malformed_and_the_configurations_reason_comes_first() -> None:
    both = Policy(exemptions=(Exemption(namespaces=frozenset({"n"}), reason="platform"),))
    for namespace, reason in (("n", "platform"), ("m", "mine")):
        found = static_finding(
            "UPPER", InvalidReference("UPPER", "upper case"), policy=both, settings=LETS,
            subject=Subject(namespace=namespace, exempt_reason="mine"), listed=(),
        )  # fmt: skip
        assert found is not None
        assert (found.finding, found.detail) == (Finding.EXEMPT, reason)
