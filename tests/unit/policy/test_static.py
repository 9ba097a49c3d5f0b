"""What the text and the policy alone show, before anybody is asked."""

import pytest

from tidegate.findings import DETAIL_LIMIT, Finding
from tidegate.policy import (
    Exemption,
    ImagePattern,
    Policy,
    Selector,
    Settings,
    Subject,
    Tags,
    Unlisted,
    static_finding,
)
from tidegate.reference import ImageReference, InvalidReference

DIGEST = "sha256:" + "a" * 64
LISTED = {"r.example"}


def found(image: str, *, settings: Settings | None = None, policy: Policy | None = None, **subject: object) -> str:
    try:
        reference: ImageReference | InvalidReference = ImageReference.parse(image)
    except InvalidReference as exc:
        reference = exc
    finding = static_finding(
        image,
        reference,
        policy=policy or Policy(),
        settings=settings or Settings(),
        subject=Subject(**subject),  # type: ignore[arg-type]
        listed=LISTED,
    )
    return "ask" if finding is None else finding.finding.value


def exempting(*patterns: str, **others: object) -> Policy:
    images = tuple(ImagePattern.parse(text) for text in patterns)
    return Policy(exemptions=(Exemption(images=images, reason="because", **others),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tags, image, expected",
    [
        ("require-digest", f"r.example/a@{DIGEST}", "ask"),
        ("require-digest", f"r.example/a:1@{DIGEST}", "ask"),
        ("require-digest", "r.example/a:1", "not-pinned"),
        ("require-digest", "r.example/a", "not-pinned"),
        ("pin", f"r.example/a@{DIGEST}", "ask"),
        ("pin", "r.example/a:1", "not-pinned"),
        ("allow", "r.example/a:1", "ask"),
        ("allow", "r.example/a", "ask"),
        ("allow", f"r.example/a@{DIGEST}", "ask"),
    ],
)
def test_tags(tags: str, image: str, expected: str) -> None:
    assert found(image, settings=Settings(tags=Tags(tags))) == expected


@pytest.mark.parametrize(
    "unlisted, image, expected",
    [
        ("require-digest", f"other.example/a@{DIGEST}", "ok"),
        ("require-digest", "other.example/a:1", "not-pinned"),
        ("allow", "other.example/a:1", "ok"),
        ("allow", f"other.example/a@{DIGEST}", "ok"),
        ("deny", "other.example/a:1", "unlisted"),
        ("deny", f"other.example/a@{DIGEST}", "unlisted"),
        pytest.param("deny", f"r.example:443/a@{DIGEST}", "unlisted", id="a port makes another host"),
        pytest.param("deny", f"r.example.evil.example/a@{DIGEST}", "unlisted", id="a prefix is no host"),
        pytest.param("deny", f"evil.example/r.example/a@{DIGEST}", "unlisted", id="a host in the path"),
        pytest.param("deny", "nginx", "unlisted", id="docker.io is a registry like any other"),
    ],
)
@pytest.mark.parametrize("tags", list(Tags))
def test_unlisted_registries_are_never_asked(unlisted: str, image: str, expected: str, tags: Tags) -> None:
    assert found(image, settings=Settings(tags=tags, unlisted=Unlisted(unlisted))) == expected


@pytest.mark.parametrize(
    "image",
    [
        "", " ", "UPPER", "r.example/A", "r.example/a:", "r.example/a@sha256:abc", "r.example/a\n", "r.example//a",
        "a" * 64, "r.example/a@md5:" + "a" * 32, "r.example/a:" + "t" * 129, "r.example/a b", "r.example/\u0661", "http://r.example/a",
    ],
)  # fmt: skip
def test_malformed_text_is_malformed_whatever_tags_say(image: str) -> None:
    assert found(image) == found(image, settings=Settings(tags=Tags.ALLOW, unlisted=Unlisted.ALLOW)) == "malformed"


@pytest.mark.parametrize(
    "policy, subject, expected",
    [
        pytest.param(exempting(namespaces=frozenset({"odd"})), {"namespace": "odd"}, "exempt", id="by namespace"),
        pytest.param(exempting(namespaces=frozenset({"odd"})), {"namespace": "other"}, "malformed", id="another one"),
        pytest.param(exempting(users=frozenset({"u"})), {"user": "u"}, "exempt", id="by user"),
        pytest.param(
            exempting(labels=Selector(labels={"x": "y"})), {"labels": {"x": "y"}}, "exempt", id="by the object's labels"
        ),
        pytest.param(exempting("*/*", "*.*/*"), {}, "malformed", id="a pattern never matches what is no reference"),
    ],
)
def test_exemptions_come_before_malformed(policy: Policy, subject: dict[str, object], expected: str) -> None:
    assert found("NOT an image", policy=policy, **subject) == expected


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(tags=Tags.REQUIRE_DIGEST), id="before not-pinned"),
        pytest.param(Settings(unlisted=Unlisted.DENY), id="before unlisted"),
    ],
)
def test_exemptions_come_before_everything(settings: Settings) -> None:
    assert found("mcr.example/a", settings=settings, policy=exempting("mcr.example/*")) == "exempt"


def test_evidence_is_bounded() -> None:
    long = Policy(exemptions=(Exemption(users=frozenset({"u"}), reason="r" * 10_000),))
    exempt = static_finding(
        "x", InvalidReference("x", "why" * 1000), policy=long, settings=Settings(), subject=Subject(user="u"), listed=()
    )
    malformed = static_finding(
        "x", InvalidReference("x", "why" * 1000), policy=Policy(), settings=Settings(), subject=Subject(), listed=()
    )
    assert exempt is not None
    assert malformed is not None
    assert (exempt.finding, len(exempt.detail)) == (Finding.EXEMPT, DETAIL_LIMIT)
    assert (malformed.finding, len(malformed.detail)) == (Finding.MALFORMED, DETAIL_LIMIT)
