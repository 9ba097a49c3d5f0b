"""A review's verdict is its worst image's, in whatever order its images come."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.findings import FINDINGS_WORST_FIRST, VERDICTS_WORST_FIRST, Finding, ImageFinding, Verdict
from tidegate.policy import DEFAULT_VERDICTS, Holding, Settings, Subject, decide

SETTINGS = Settings()
FINDINGS = st.builds(
    ImageFinding,
    image=st.sampled_from(["r.example/a", "r.example/b", "r.example/c"]),
    finding=st.sampled_from(Finding),
    known_before=st.booleans(),
)


def finding(kind: Finding, image: str = "r.example/a") -> ImageFinding:
    return ImageFinding(image, kind)


def test_a_review_without_images_is_allowed_as_exempt() -> None:
    decision = decide((), settings=SETTINGS, subject=Subject())
    assert (decision.verdict, decision.worst.finding, decision.judged) == (Verdict.ALLOW, Finding.EXEMPT, ())


def test_the_orders_are_those_of_the_contract() -> None:
    assert VERDICTS_WORST_FIRST == (Verdict.DENY, Verdict.HOLD, Verdict.WARN, Verdict.ALLOW)
    assert [one.value for one in FINDINGS_WORST_FIRST[:11]] == [
        "mismatch", "malformed", "unsupported", "not-pinned", "unlisted", "incomplete", "absent", "unauthorized",
        "throttled", "unreachable", "deadline",
    ]  # fmt: skip
    assert set(FINDINGS_WORST_FIRST) == set(Finding)


@pytest.mark.parametrize(
    "kinds, verdict, worst",
    [
        pytest.param(["ok", "incomplete"], "hold", "incomplete", id="one bad image among good ones"),
        pytest.param(["absent", "incomplete"], "hold", "incomplete", id="incomplete before absent"),
        pytest.param(["absent", "not-pinned"], "deny", "not-pinned", id="deny before hold"),
        pytest.param(["mismatch", "malformed"], "deny", "mismatch", id="mismatch before malformed"),
        pytest.param(["deadline", "unreachable", "throttled", "unauthorized"], "hold", "unauthorized", id="failures"),
        pytest.param(["exempt", "unchanged", "ok"], "allow", "ok", id="all good: ok speaks"),
    ],
)
def test_the_worst_image_speaks(kinds: list[str], verdict: str, worst: str) -> None:
    for order in itertools.permutations(kinds):
        decision = decide([finding(Finding(kind)) for kind in order], settings=SETTINGS, subject=Subject())
        assert (decision.verdict.value, decision.worst.finding.value) == (verdict, worst)


def test_the_verdict_counts_before_the_finding() -> None:
    settings = Settings(verdicts={Finding.MISMATCH: Verdict.WARN, Finding.DEADLINE: Verdict.DENY})
    decision = decide([finding(Finding.MISMATCH), finding(Finding.DEADLINE)], settings=settings, subject=Subject())
    assert (decision.verdict, decision.worst.finding) == (Verdict.DENY, Finding.DEADLINE)


@given(findings=st.lists(FINDINGS, min_size=1, max_size=6), order=st.randoms(use_true_random=False))
def test_any_order_gives_the_same_decision(findings: list[ImageFinding], order: object) -> None:
    shuffled = list(findings)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one = decide(findings, settings=SETTINGS, subject=Subject())
    other = decide(shuffled, settings=SETTINGS, subject=Subject())
    assert (one.verdict, one.worst.finding) == (other.verdict, other.worst.finding)
    assert sorted(map(repr, one.judged)) == sorted(map(repr, other.judged))


@given(findings=st.lists(FINDINGS, min_size=1, max_size=6), more=FINDINGS, holding=st.sampled_from(Holding))
def test_another_image_never_makes_it_milder(
    findings: list[ImageFinding], more: ImageFinding, holding: Holding
) -> None:
    subject = Subject(holding=holding)
    rank = VERDICTS_WORST_FIRST.index
    before = decide(findings, settings=SETTINGS, subject=subject).verdict
    assert rank(decide([*findings, more], settings=SETTINGS, subject=subject).verdict) <= rank(before)


RAN = frozenset({"r.example/a"})


@pytest.mark.parametrize("kind", sorted(set(DEFAULT_VERDICTS) - {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}))
@pytest.mark.parametrize(
    "subject, grandfather, is_let_through",
    [
        pytest.param(Subject(owned_pod=True, runs_already=RAN), True, True, id="an owned Pod whose image ran here"),
        pytest.param(Subject(owned_pod=True, runs_already=RAN), False, False, id="turned off"),
        pytest.param(Subject(owned_pod=False, runs_already=RAN), True, False, id="nobody owns it"),
        pytest.param(Subject(owned_pod=True), True, False, id="never ran here"),
        pytest.param(Subject(owned_pod=True, runs_in_cluster=RAN), True, False, id="ran only in another namespace"),
        pytest.param(
            Subject(owned_pod=True, runs_already=frozenset({"r.example/ab"})), True, False, id="only the exact string"
        ),
    ],
)
def test_what_runs_goes_on_running(kind: Finding, subject: Subject, *, grandfather: bool, is_let_through: bool) -> None:
    decision = decide([finding(kind)], settings=Settings(grandfather=grandfather), subject=subject)
    assert decision.grandfathered == (RAN if is_let_through else frozenset())
    assert decision.verdict is (Verdict.WARN if is_let_through else DEFAULT_VERDICTS[kind])


def test_a_new_image_beside_one_that_ran_is_still_judged() -> None:
    findings = [finding(Finding.ABSENT), finding(Finding.ABSENT, "r.example/new")]
    decision = decide(findings, settings=SETTINGS, subject=Subject(owned_pod=True, runs_already=RAN))
    assert (decision.verdict, decision.worst.image) == (Verdict.HOLD, "r.example/new")
