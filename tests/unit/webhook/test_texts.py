"""What people read: short, printable, and whole: image, replica, what is missing, what to do."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.findings import Finding, ImageFinding, Missing, Verdict
from tidegate.policy import Decision
from webhook import texts

IMAGE = "r.example/shop/web:1@sha256:" + "a" * 64
HARMLESS = {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED}
SAID = {
    Finding.MALFORMED: ("is no image reference (why)", "correct the image string"),
    Finding.NOT_PINNED: ("is not pinned by digest (why)", "apply again, or write it as NAME:TAG@sha256:"),
    Finding.UNLISTED: ("is from a registry that is not listed", "use a listed registry"),
    Finding.ABSENT: ("is not on westeurope yet", "apply again in a minute"),
    Finding.INCOMPLETE: ("is not whole on westeurope: 3 of 12 blobs, 1.1 GB missing", "apply again in a minute"),
    Finding.MISMATCH: ("is something else on westeurope (why)", "do not run it"),
    Finding.UNSUPPORTED: ("cannot run from westeurope (why)", "this cluster's platforms"),
    Finding.UNAUTHORIZED: ("westeurope refused tidegate (why)", "check `auth`"),
    Finding.THROTTLED: ("westeurope is throttling", "apply again in 30 s"),
    Finding.UNREACHABLE: ("westeurope does not answer (why)", "check the replica"),
    Finding.DEADLINE: ("could not be checked in time on westeurope", "check the replica"),
}


def finding(kind: Finding, image: str = IMAGE, detail: str = "why") -> ImageFinding:
    missing = Missing(blobs=3, of_blobs=12, bytes=1_100_000_000) if kind is Finding.INCOMPLETE else Missing()
    return ImageFinding(image, kind, replica="westeurope", missing=missing, detail=detail, retry_after_s=30.0)


def decision(*findings: ImageFinding) -> Decision:
    return Decision(Verdict.DENY, findings[0], tuple((one, Verdict.DENY) for one in findings))


def test_every_finding_that_refuses_has_words() -> None:
    assert set(SAID) == set(Finding) - HARMLESS


def test_a_denial_says_since_when_where_that_is_known() -> None:
    since = datetime.fromisoformat("2026-11-25T04:50:59+01:00")
    text = texts.denial(decision(finding(Finding.INCOMPLETE)), since=since)
    assert "1.1 GB missing (since 2026-11-25 03:50 UTC); replication is under way" in text
    assert len(text) <= 300


@pytest.mark.parametrize(
    "left_s, words", [(0.2, "in 1 s"), (30.0, "in 30 s"), (30.4, "in 31 s"), (None, "in a minute")]
)
def test_nobody_is_told_to_come_back_too_early(left_s: float | None, words: str) -> None:
    one = replace(finding(Finding.THROTTLED), retry_after_s=left_s)
    assert texts.denial(decision(one)).endswith(f"apply again {words}")


@pytest.mark.parametrize("kind", list(SAID))
def test_a_denial_says_what_where_and_what_to_do(kind: Finding) -> None:
    text = texts.denial(decision(finding(kind)))
    for words in (f"{kind.value}: ", IMAGE, *SAID[kind]):
        assert words in text
    assert len(text) <= 300


@pytest.mark.parametrize(
    "kind, text",
    [
        (Finding.MALFORMED, "malformed: the object cannot be read (why); correct it"),
        (Finding.UNREACHABLE, "unreachable: the object could not be checked (why); apply again"),
    ],
)
def test_where_no_image_could_be_named_it_is_the_object(kind: Finding, text: str) -> None:
    assert texts.denial(decision(finding(kind, image=""))) == text
    assert texts.warning(finding(kind, image="")) == f"tidegate: {text.partition(';')[0]}"


def test_the_others_are_counted() -> None:
    others = [finding(Finding.ABSENT, "r.example/b"), finding(Finding.ABSENT, "r.example/c"), finding(Finding.OK)]
    text = texts.denial(decision(finding(Finding.INCOMPLETE), finding(Finding.NOT_PINNED), *others))
    assert text.endswith(" (and 3 more: 2 absent, 1 not-pinned)")
    assert "more" not in texts.denial(decision(finding(Finding.NOT_PINNED), finding(Finding.OK)))


ANY = st.builds(
    ImageFinding,
    image=st.text(max_size=400) | st.just("r.example/" + "x" * 100_000),
    finding=st.sampled_from(Finding),
    replica=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
    detail=st.text(max_size=256),
    missing=st.builds(
        Missing, blobs=st.integers(0, 256), manifests=st.integers(0, 64), bytes=st.integers(0, 2**50),
        of_blobs=st.integers(0, 256),
    ),
    retry_after_s=st.none() | st.floats(0, 1e6),
)  # fmt: skip


@given(one=ANY, waits=st.booleans())
def test_a_warning_is_short_and_printable(one: ImageFinding, *, waits: bool) -> None:
    text = texts.warning(one, waits=waits)
    assert text.endswith("; Pods wait") or not waits
    assert len(text) <= texts.WARNING_LIMIT
    assert text.isprintable()
    assert text.startswith(f"tidegate: {one.finding.value}: ")
    text.encode()


@pytest.mark.parametrize("length", range(1, 60))
def test_an_annotation_is_full_to_the_brim_at_most(length: int) -> None:
    findings = [finding(Finding.OK, "r" * length)] * 1000
    assert len(texts.images(decision(*findings))) <= texts.IMAGES_LIMIT


@given(findings=st.lists(ANY, min_size=1, max_size=20))
def test_denials_and_annotations_are_bounded_and_printable(findings: list[ImageFinding]) -> None:
    denial, images = texts.denial(decision(*findings)), texts.images(decision(*findings))
    assert len(denial) <= 900
    assert len(images) <= texts.IMAGES_LIMIT
    assert (denial + images).isprintable()
    (denial + images).encode()


def test_a_hundred_images_fit_their_annotation() -> None:
    findings = [finding(Finding.OK, f"r.example/shop/web{number}@sha256:{'a' * 64}") for number in range(100)]
    text = texts.images(decision(*findings))
    assert len(text) <= texts.IMAGES_LIMIT
    shown, _, rest = text.rpartition(",+")
    assert len(shown.split(",")) + int(rest) == 100


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_100_000, "1.1 MB"),
        (1_100_000_000, "1.1 GB"), (123_400_000, "123 MB"), (10**13, "10000 GB"),
    ],
)  # fmt: skip
def test_bytes_for_people(count: int, text: str) -> None:
    assert texts.quantity(count) == text


@pytest.mark.parametrize(
    "missing, text",
    [
        (Missing(blobs=3, of_blobs=12, bytes=1_100_000_000), "3 of 12 blobs, 1.1 GB"),
        (Missing(blobs=1, of_blobs=12), "1 of 12 blobs"),
        (Missing(manifests=1), "1 manifest"),
        (Missing(manifests=2, blobs=1, of_blobs=1, bytes=7), "2 manifests, 1 of 1 blob, 7 B"),
        (Missing(blobs=1), "1 blob"),
        (Missing(), "a part of it"),
    ],
)
def test_what_is_lacking(missing: Missing, text: str) -> None:
    assert texts.lacking(missing) == text
