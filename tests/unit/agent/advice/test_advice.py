"""What a node's own configuration means for pre-pulled images: read from files, advised from a table."""

from pathlib import Path
from typing import Any

import pytest

from agent.advice import Files, NodeFacts, advice_on, read
from agent.advice.facts import of_containerd, of_kubelet, seconds
from agent.advice.table import TABLE
from agent.room import LOW_PERCENT

GOOD = NodeFacts(
    kubelet_read=True, serialize_image_pulls=False, max_parallel_image_pulls=4, image_maximum_gc_age_s=0.0,
    image_gc_high_percent=85, image_gc_low_percent=80, credentials_verification="Unheard",
    containerd_read=True, max_concurrent_downloads=6,
)  # fmt: skip


def settings(**changes: Any) -> list[str]:
    fields = {name: getattr(GOOD, name) for name in NodeFacts.__slots__}
    return [line.partition(":")[0] for line in advice_on(NodeFacts(**{**fields, **changes}))]


@pytest.mark.parametrize(
    "changes, advised",
    [
        pytest.param({}, [], id="nothing to say"),
        pytest.param({"image_maximum_gc_age_s": 86400.0}, ["imageMaximumGCAge"], id="collected by age"),
        pytest.param({"serialize_image_pulls": True}, ["serializeImagePulls"], id="one at a time"),
        pytest.param({"serialize_image_pulls": None}, ["serializeImagePulls"], id="one at a time by default"),
        pytest.param({"max_parallel_image_pulls": None}, ["maxParallelImagePulls"], id="no bound"),
        pytest.param({"image_gc_high_percent": 100}, ["imageGCHighThresholdPercent"], id="no collection"),
        pytest.param({"image_gc_low_percent": 84}, ["imageGCLowThresholdPercent"], id="narrow"),
        *[
            pytest.param(
                {"credentials_verification": policy}, ["imagePullCredentialsVerificationPolicy"], id=str(policy)
            )
            for policy in (
                None, "NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify",
            )
        ],
        pytest.param({"max_concurrent_downloads": 3}, ["max_concurrent_downloads"], id="three slots"),
        pytest.param({"max_concurrent_downloads": None}, ["max_concurrent_downloads"], id="three slots by default"),
        pytest.param({"max_concurrent_downloads": 20}, ["max_concurrent_downloads"], id="many slots"),
        pytest.param({"discard_unpacked_layers": True}, ["discard_unpacked_layers"], id="layers dropped"),
    ],
)  # fmt: skip
def test_what_is_advised(changes: dict[str, Any], advised: list[str]) -> None:
    assert settings(**changes) == advised


def test_of_a_node_that_tells_nothing_nothing_is_said() -> None:
    assert advice_on(NodeFacts()) == ()


def test_advice_fits_into_a_status() -> None:
    for facts in (GOOD, NodeFacts(kubelet_read=True, containerd_read=True, image_maximum_gc_age_s=1e9)):
        for row in TABLE:
            assert len(f"{row.setting}: {row.says(facts)}") <= 512
    assert len(TABLE) <= 16


@pytest.mark.parametrize(
    "text, value",
    [
        pytest.param("0s", 0.0, id="off"),
        pytest.param("0", 0.0, id="bare zero"),
        pytest.param("168h", 604800.0, id="hours"),
        pytest.param("1h30m0.5s", 5400.5, id="mixed"),
        pytest.param("2 hours", None, id="words"),
        pytest.param("", None, id="empty"),
        pytest.param(5, None, id="a number"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_durations_are_gos(text: object, value: float | None) -> None:
    assert seconds(text) == value


CRI_V3 = "io.containerd.cri.v1.images"
TRANSFER = "io.containerd.transfer.v1.local"


@pytest.mark.parametrize(
    "plugins, downloads",
    [
        pytest.param({}, None, id="defaults"),
        pytest.param({"io.containerd.grpc.v1.cri": {"max_concurrent_downloads": 7}}, 7, id="version 2"),
        pytest.param({CRI_V3: {"max_concurrent_downloads": 7}}, 7, id="version 3"),
        pytest.param(
            {CRI_V3: {"max_concurrent_downloads": 7}, TRANSFER: {"max_concurrent_downloads": 9}}, 9, id="transfer"
        ),
        pytest.param(
            {
                CRI_V3: {"max_concurrent_downloads": 7, "use_local_image_pull": True},
                TRANSFER: {"max_concurrent_downloads": 9},
            },
            7, id="local pulls",
        ),
        pytest.param({CRI_V3: "text"}, None, id="nonsense"),
        pytest.param("text", None, id="more nonsense"),
    ],
)  # fmt: skip
def test_every_layout_of_containerds_file(plugins: object, downloads: int | None) -> None:
    assert of_containerd({"version": 4, "plugins": plugins})["max_concurrent_downloads"] == downloads


@pytest.mark.parametrize("value", [True, "yes", 3.5, None, [], -1, 101])
def test_a_value_of_another_kind_is_no_value(value: object) -> None:
    found = of_kubelet({"imageGCLowThresholdPercent": value, "maxParallelImagePulls": [value]})
    assert (found["image_gc_low_percent"], found["max_parallel_image_pulls"]) == (None, None)


def test_files_are_read_as_kubelet_does_later_ones_win(tmp_path: Path) -> None:
    main, folder = tmp_path / "config.yaml", tmp_path / "conf.d"
    folder.mkdir()
    main.write_text("kind: KubeletConfiguration\nserializeImagePulls: false\nimageGCLowThresholdPercent: 70\n")
    (folder / "10-a.conf").write_text("imageGCLowThresholdPercent: 60\n")
    (folder / "20-b.conf").write_text("imageMaximumGCAge: 24h\n")
    (folder / "README").write_text("imageGCLowThresholdPercent: 1\n")
    (tmp_path / "config.toml").write_text(f'version = 3\n[plugins."{CRI_V3}"]\nmax_concurrent_downloads = 5\n')
    facts = read(Files((main, folder), tmp_path / "config.toml"))
    assert facts == NodeFacts(
        kubelet_read=True, serialize_image_pulls=False, image_gc_low_percent=60, image_maximum_gc_age_s=86400.0,
        containerd_read=True, max_concurrent_downloads=5,
    )  # fmt: skip
    assert facts.low_percent == 60


@pytest.mark.parametrize("text", ["{", "- a\n- b\n", "a: [", "\x00", "x" * (2 << 20)])
def test_a_file_that_is_none_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    facts = read(Files((path, tmp_path / "absent"), path))
    assert facts == NodeFacts()
    assert facts.low_percent == LOW_PERCENT
