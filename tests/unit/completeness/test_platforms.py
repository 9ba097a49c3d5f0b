import pytest

from tidegate.completeness.platforms import acceptable, best, normalised, parse_platform


@pytest.mark.parametrize(
    "written, meant",
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("Linux/AMD64", "linux/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("plan9/mips", "plan9/mips"),
    ],
)
def test_a_platform_has_one_spelling(written: str, meant: str) -> None:
    assert str(parse_platform(written)) == meant


@pytest.mark.parametrize(
    "node, takes",
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v6", ["linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        (
            "linux/arm64/v9",
            [
                "linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64/v8.4", "linux/arm64/v8.3", "linux/arm64/v8.2",
                "linux/arm64/v8.1", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5",
            ],
        ),
        ("linux/s390x", ["linux/s390x"]),
        ("windows/amd64", ["windows/amd64", "windows/386"]),
    ],
)  # fmt: skip
def test_what_a_node_takes_best_first(node: str, takes: list[str]) -> None:
    assert list(map(str, acceptable(parse_platform(node)))) == takes


@pytest.mark.parametrize(
    "node, entries, position",
    [
        pytest.param("linux/amd64", ["linux/arm64", "linux/amd64"], 1, id="the-one-that-fits"),
        pytest.param("linux/amd64", ["linux/amd64", "linux/amd64"], 0, id="of-equals-the-first"),
        pytest.param("linux/amd64", ["linux/386", "linux/amd64"], 1, id="its-own-before-an-older-one"),
        pytest.param("linux/amd64", ["linux/386"], 0, id="an-older-one-before-none"),
        pytest.param("linux/amd64", ["linux/amd64/v2"], None, id="not-one-for-a-newer-processor"),
        pytest.param("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1, id="arm64-with-variant-v8"),
        pytest.param("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1, id="the-newest-arm"),
        pytest.param("linux/arm/v6", ["linux/arm/v7"], None, id="no-newer-arm"),
        pytest.param("linux/amd64", ["windows/amd64"], None, id="another-system"),
        pytest.param("linux/amd64", [None], None, id="undeclared-is-no-match"),
        pytest.param("linux/amd64", [], None, id="empty"),
    ],
)
def test_which_entry_a_node_takes(node: str, entries: list[str | None], position: int | None) -> None:
    candidates = [None if entry is None else parse_platform(entry) for entry in entries]
    assert best(candidates, parse_platform(node)) == position


@pytest.mark.parametrize("variant", ["٣", "v٣", "vv", "v-1", "v10" * 1000, ""])
def test_odd_variants_are_only_odd(variant: str) -> None:
    for architecture in ("amd64", "arm", "arm64"):
        assert acceptable(normalised("linux", architecture, variant))
