"""Which verdict a finding gets: the defaults, what was chosen instead, and what becomes of `hold` where none can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.findings import FAILURES, Finding, ImageFinding, Verdict
from tidegate.policy import DEFAULT_VERDICTS, CannotHold, Holding, Settings, Subject, verdict_of

A, W, H, D = Verdict.ALLOW, Verdict.WARN, Verdict.HOLD, Verdict.DENY
POSSIBLE, NEVER, ALWAYS = Holding.POSSIBLE, Holding.NEVER, Holding.ALWAYS_ADMIT

# finding, where it can be held; then for each of cannotHold default, warn, deny: where it never can; then the same
# for a DaemonSet's Pods and ephemeral containers.
TABLE = [
    (Finding.MALFORMED, D, (D, D, D), (D, D, D)),
    (Finding.NOT_PINNED, D, (D, D, D), (D, D, D)),
    (Finding.UNLISTED, D, (D, D, D), (D, D, D)),
    (Finding.MISMATCH, D, (D, D, D), (W, D, D)),
    (Finding.UNSUPPORTED, D, (D, D, D), (W, D, D)),
    (Finding.ABSENT, H, (D, W, D), (W, W, D)),
    (Finding.INCOMPLETE, H, (D, W, D), (W, W, D)),
    (Finding.UNAUTHORIZED, H, (W, W, D), (W, W, D)),
    (Finding.THROTTLED, H, (W, W, D), (W, W, D)),
    (Finding.UNREACHABLE, H, (W, W, D), (W, W, D)),
    (Finding.DEADLINE, H, (W, W, D), (W, W, D)),
    (Finding.OK, A, (A, A, A), (A, A, A)),
    (Finding.EXEMPT, A, (A, A, A), (A, A, A)),
    (Finding.UNCHANGED, A, (A, A, A), (A, A, A)),
]
ROWS = [
    pytest.param(finding, holding, cannot_hold, verdict, id=f"{finding}-{holding}-{cannot_hold}")
    for finding, held, never, always in TABLE
    for holding, verdicts in ((POSSIBLE, (held,) * 3), (NEVER, never), (ALWAYS, always))
    for cannot_hold, verdict in zip(CannotHold, verdicts, strict=True)
]


def verdict(
    finding: Finding,
    *,
    holding: Holding = POSSIBLE,
    cannot_hold: CannotHold = CannotHold.DEFAULT,
    chosen: dict[Finding, Verdict] | None = None,
    known_before: bool = False,
    runs_already: frozenset[str] = frozenset(),
    runs_in_cluster: frozenset[str] = frozenset(),
) -> Verdict:
    settings = Settings(cannot_hold=cannot_hold, verdicts=chosen or {})
    subject = Subject(holding=holding, runs_already=runs_already, runs_in_cluster=runs_in_cluster)
    return verdict_of(
        ImageFinding("r.example/a", finding, known_before=known_before), settings=settings, subject=subject
    )


def test_the_table_has_every_finding() -> None:
    assert [row[0] for row in TABLE] == sorted({row[0] for row in TABLE}, key=[row[0] for row in TABLE].index)
    assert {row[0] for row in TABLE} == set(Finding)


@pytest.mark.parametrize("finding, holding, cannot_hold, expected", ROWS)
def test_a_finding_has_its_default(
    finding: Finding, holding: Holding, cannot_hold: CannotHold, expected: Verdict
) -> None:
    assert verdict(finding, holding=holding, cannot_hold=cannot_hold) is expected


APP = frozenset({"r.example/a"})


@pytest.mark.parametrize("finding", sorted(FAILURES))
@pytest.mark.parametrize(
    "known, excuses_a_refusal",
    [
        pytest.param({"known_before": True}, False, id="was complete before"),
        pytest.param({"runs_in_cluster": APP}, False, id="runs in another namespace"),
        pytest.param({"runs_already": APP}, True, id="runs in this namespace"),
    ],
)
def test_a_failure_warns_about_an_image_that_is_known(
    finding: Finding, known: dict[str, object], *, excuses_a_refusal: bool
) -> None:
    """That somebody else may read it says nothing about a credential that was refused."""
    excused = excuses_a_refusal or finding is not Finding.UNAUTHORIZED
    assert verdict(finding, **known) is (W if excused else H)  # type: ignore[arg-type]
    for cannot_hold in (CannotHold.DEFAULT, CannotHold.WARN):
        assert verdict(finding, holding=NEVER, cannot_hold=cannot_hold, **known) is W  # type: ignore[arg-type]


def test_another_image_that_runs_excuses_nothing() -> None:
    assert verdict(Finding.UNREACHABLE, runs_already=frozenset({"r.example/b"})) is H


@pytest.mark.parametrize("finding", [Finding.ABSENT, Finding.INCOMPLETE, Finding.MISMATCH, Finding.NOT_PINNED])
def test_proof_is_not_softened_by_what_was_known(finding: Finding) -> None:
    known = verdict(finding, known_before=True, runs_already=frozenset({"r.example/a"}))
    assert known is DEFAULT_VERDICTS[finding]


@pytest.mark.parametrize("finding", sorted(set(Finding) - {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}))
@pytest.mark.parametrize("chosen", list(Verdict))
def test_what_was_chosen_counts_before_any_default(finding: Finding, chosen: Verdict) -> None:
    assert verdict(finding, chosen={finding: chosen}, known_before=True) is chosen


@pytest.mark.parametrize("finding", sorted(set(Finding) - {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}))
@pytest.mark.parametrize("holding", [NEVER, ALWAYS])
@pytest.mark.parametrize("cannot_hold", list(CannotHold))
def test_nothing_is_held_that_cannot_be(finding: Finding, holding: Holding, cannot_hold: CannotHold) -> None:
    assert verdict(finding, holding=holding, cannot_hold=cannot_hold, chosen={finding: H}) is not H


@given(
    finding=st.sampled_from(Finding),
    holding=st.sampled_from(Holding),
    cannot_hold=st.sampled_from(CannotHold),
    chosen=st.dictionaries(st.sampled_from(Finding), st.sampled_from(Verdict)),
)
def test_a_verdict_is_never_harsher_where_more_is_known(
    finding: Finding, holding: Holding, cannot_hold: CannotHold, chosen: dict[Finding, Verdict]
) -> None:
    order = [A, W, H, D]
    more = verdict(finding, holding=holding, cannot_hold=cannot_hold, chosen=chosen, known_before=True)
    less = verdict(finding, holding=holding, cannot_hold=cannot_hold, chosen=chosen)
    assert order.index(more) <= order.index(less)
