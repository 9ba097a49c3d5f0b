"""What people read about a held Pod."""

import pytest

from controller.holding import words
from tidegate.findings import DETAIL_LIMIT, Finding, ImageFinding, Missing

IMAGE = "r.example/app:1"


@pytest.mark.parametrize(
    "value,text",
    [(-1, "0s"), (0.4, "0s"), (43.2, "43s"), (59.6, "1m00s"), (125, "2m05s"), (3599, "59m59s"), (3725, "1h02m")],
)
def test_a_duration_is_short(value: float, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    "finding,text",
    [
        pytest.param(
            ImageFinding(IMAGE, Finding.INCOMPLETE, replica="west", missing=Missing(blobs=3, of_blobs=12)),
            "3 of 12 blobs on west", id="blobs",
        ),
        pytest.param(
            ImageFinding(IMAGE, Finding.INCOMPLETE, replica="west", missing=Missing(manifests=1)),
            "1 manifest on west", id="manifest",
        ),
        pytest.param(
            ImageFinding(IMAGE, Finding.ABSENT, replica="west"), "the image on west", id="absent"
        ),
        pytest.param(ImageFinding(IMAGE, Finding.DEADLINE), "an answer (deadline)", id="nobody answered"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(finding: ImageFinding, text: str) -> None:
    assert words.lacking(finding) == text


def test_no_note_is_longer_than_the_api_server_takes() -> None:
    finding = ImageFinding("r.example/" + "é" * 5000, Finding.MISMATCH, replica="w" * 253, detail="ü" * DETAIL_LIMIT)
    notes = [
        words.started(finding), words.denied(finding), words.overdue(1e9, finding), words.let_go(1e9, finding),
        words.released(1e9, finding), words.lifted(1e9, "audit"),
    ]  # fmt: skip
    assert max(len(note.encode()) for note in notes) <= 1024
