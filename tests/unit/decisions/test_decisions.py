"""A decision counts where, for what and as long as it says, with a known key, and for no text does verifying raise."""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.decisions import LIFETIME_S, LONGEST, Claim, sign, usable, verify
from tidegate.findings import Finding, ImageFinding, Missing, Verdict

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_800_000_000.0
WORST = ImageFinding(
    "r.example/a:1", Finding.INCOMPLETE, replica="west", missing=Missing(1, 2, 3, 4), detail="d", retry_after_s=1.5
)
CLAIM = Claim(
    namespace="shop", images=frozenset({"r.example/a:1", "b"}), subject="s", verdict=Verdict.HOLD, worst=WORST
)


def signed(claim: Claim = CLAIM, key: bytes = KEY) -> str:
    text = sign(claim, keys={"1": key}, now=NOW)
    assert text is not None
    return text


def read(text: str, **changed: Any) -> Claim | None:
    about = {"keys": {"1": KEY}, "namespace": "shop", "images": ["b", "r.example/a:1", "b"], "subject": "s", "now": NOW}
    return verify(text, **{**about, **changed})


def test_it_says_what_was_found_out() -> None:
    assert read(signed()) == CLAIM


def test_its_form_is_that_of_the_documentation() -> None:
    payload, mac = signed().split(".")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    said = json.loads(raw)
    assert (said["ns"], said["images"], said["verdict"], said["finding"], said["exp"]) == (
        "shop", ["b", "r.example/a:1"], "hold", "incomplete", NOW + LIFETIME_S,
    )  # fmt: skip
    assert base64.urlsafe_b64decode(mac + "=" * (-len(mac) % 4)) == hmac.digest(KEY, raw, "sha256")


def forged(change: Callable[[dict[str, Any]], object]) -> str:
    """Another payload under an old signature."""
    payload, mac = signed().split(".")
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    change(said)
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=") + "." + mac


@pytest.mark.parametrize(
    "text, changed",
    [
        pytest.param(signed(key=OTHER), {}, id="signed with a key that is not known"),
        pytest.param(signed(), {"keys": {}}, id="no keys"),
        pytest.param(signed(), {"keys": {"1": OTHER}}, id="the key is gone"),
        pytest.param(signed(), {"namespace": "bank"}, id="of another namespace"),
        pytest.param(signed(), {"images": ["r.example/a:1"]}, id="of a Pod with more images"),
        pytest.param(signed(), {"images": ["r.example/a:1", "b", "c"]}, id="of a Pod with fewer images"),
        pytest.param(signed(), {"subject": "t"}, id="of another subject"),
        pytest.param(signed(), {"now": NOW + LIFETIME_S}, id="expired"),
        pytest.param(signed(), {"now": NOW - 6}, id="from too far in the future"),
        pytest.param(forged(lambda said: said.update(verdict="allow")), {}, id="another verdict"),
        pytest.param(forged(lambda said: said.update(exp=NOW + 1e9)), {}, id="made to last"),
        pytest.param(forged(lambda said: said.update(ns="bank")), {"namespace": "bank"}, id="made for elsewhere"),
        pytest.param(signed() + "=", {}, id="padded"),
        pytest.param(signed() + ".", {}, id="a third part"),
        pytest.param(signed().partition(".")[0], {}, id="no signature"),
        pytest.param(signed().partition(".")[0] + ".", {}, id="an empty signature"),
        pytest.param(" " + signed(), {}, id="a blank before it"),
        pytest.param("", {}, id="empty"),
        pytest.param(".", {}, id="a dot"),
        pytest.param("é.é", {}, id="no ASCII"),
        pytest.param("!!!.???", {}, id="no base64"),
        pytest.param("A" * (1 << 20), {}, id="a megabyte"),
        pytest.param(signed()[:-1], {}, id="cut off"),
    ],
)
def test_nothing_else_counts(text: str, changed: dict[str, Any]) -> None:
    assert read(text, **changed) is None


@pytest.mark.parametrize("now", [NOW - 5, NOW, NOW + LIFETIME_S - 0.01])
def test_clocks_may_differ_a_little(now: float) -> None:
    assert read(signed(), now=now) == CLAIM


def test_the_newest_key_signs_and_all_verify() -> None:
    keys = {"2026-11-24T00:00:00Z": OTHER, "2026-11-25T00:00:00Z": KEY}
    text = sign(CLAIM, keys=keys, now=NOW)
    assert text == signed()
    assert read(signed(key=OTHER), keys=keys) == CLAIM
    assert read(signed(), keys={"2026-11-25T00:00:00Z": KEY, "2026-11-26T00:00:00Z": OTHER}) == CLAIM


def test_without_a_key_nothing_is_signed() -> None:
    assert sign(CLAIM, keys={}, now=NOW) is None


def test_what_would_be_too_long_is_not_made() -> None:
    many = replace(CLAIM, images=frozenset(f"r.example/{'x' * 200}{n}" for n in range(LONGEST // 200)))
    assert sign(many, keys={"1": KEY}, now=NOW) is None


def test_a_payload_of_another_form_is_no_claim() -> None:
    for raw in (b"", b"null", b"[]", b"{}", b'{"ns":"shop"}', b"\xff", b'{"ns":"shop","images":["b"],"verdict":"x"}'):
        mac = hmac.digest(KEY, raw, "sha256")
        text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (raw, mac))
        assert read(text) is None


@given(st.text() | st.text(alphabet="AB-_.=").map(lambda tail: signed() + tail) | st.binary().map(repr))
def test_no_text_raises(text: str) -> None:
    assert read(text) is None or text == signed()


@given(at=st.integers(0, len(signed()) - 1), char=st.sampled_from("ABab01-_.= \n"))
def test_no_character_can_be_another(at: int, char: str) -> None:
    changed = signed()[:at] + char + signed()[at + 1 :]
    assert (read(changed) is None) is (changed != signed())


@pytest.mark.parametrize(
    "text, key",
    [
        (base64.b64encode(KEY).decode(), KEY),
        (base64.b64encode(b"\xff" * 40).decode(), b"\xff" * 40),
        (base64.b64encode(b"k" * 31).decode(), None),
        ("", None), ("A", None), ("é", None), ("%%%%", None),
    ],
)  # fmt: skip
def test_keys_of_a_secret(text: str, key: bytes | None) -> None:
    assert usable({"1": text, "2": base64.b64encode(OTHER).decode()}) == {
        **({"1": key} if key else {}),
        "2": OTHER,
    }
