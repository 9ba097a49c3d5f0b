"""What `/mutate` found out, carried to `/validate` on the Pod itself, and believed only with a valid signature.

    base64url(payload) "." base64url(HMAC-SHA256(key, payload))

The two may run in different processes with different knowledge, and anybody may write annotations: a decision counts
for the namespace, the images and the subject that it names, for a few seconds, and not without one of the keys. The
newest key by name signs, every known one verifies, so that keys are replaced without a gap. Pure: the clock is passed
in, and for any text the answer is a `Claim` or None.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from tidegate.findings import Finding, ImageFinding, Missing, Verdict

ANNOTATION: Final = "tidegate.dev/decision"
LIFETIME_S: Final = 30.0
"""From one webhook to the other within one request; the API server gives up on a request after 60 s."""
LONGEST: Final = 16 << 10
"""Characters of a decision; of an object with more to say none is made, and a longer text is not looked at."""
SHORTEST_KEY: Final = 32
"""Bytes."""
_EARLY_S: Final = 5.0
"""Seconds that another process' clock may be behind."""

Keys = Mapping[str, bytes]
"""By key id; the greatest is the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That the images of a Pod were checked, and what policy chose for them."""

    namespace: str
    images: frozenset[str]
    """All image strings of the Pod."""
    subject: str
    """What else the verdict depends on, in any short form that both sides make alike."""
    verdict: Verdict
    worst: ImageFinding
    """Of the images that had to be asked about."""
    grandfathered: bool = False
    """It only warns because it ran in this namespace before."""


class _Payload(msgspec.Struct, frozen=True):
    ns: str
    images: list[str]
    verdict: Verdict
    finding: Finding
    exp: float
    sub: str = ""
    image: str = ""
    replica: str = ""
    missing: tuple[int, int, int, int] = (0, 0, 0, 0)
    detail: str = ""
    retry: float | None = None
    ran: bool = False


_DECODER = msgspec.json.Decoder(_Payload)


def sign(claim: Claim, *, keys: Keys, now: float) -> str | None:
    """The annotation's text; None without a key, or where it would be too long. `now` in Unix seconds."""
    if not keys:
        return None
    worst = claim.worst
    missing = worst.missing
    payload = msgspec.json.encode(
        _Payload(
            ns=claim.namespace, images=sorted(claim.images), verdict=claim.verdict, finding=worst.finding,
            exp=now + LIFETIME_S, sub=claim.subject, image=worst.image, replica=worst.replica,
            missing=(missing.manifests, missing.blobs, missing.bytes, missing.of_blobs), detail=worst.detail,
            retry=worst.retry_after_s, ran=claim.grandfathered,
        )
    )  # fmt: skip
    text = f"{_text(payload)}.{_text(_mac(keys[max(keys)], payload))}"
    return text if len(text) <= LONGEST else None


def verify(text: str, *, keys: Keys, namespace: str, images: Iterable[str], subject: str, now: float) -> Claim | None:
    """The claim, if it is genuine, about this Pod, and not too old; else None."""
    if not keys or not 0 < len(text) <= LONGEST or not text.isascii():
        return None
    signed, _, mac = text.partition(".")
    payload = _bytes(signed)
    given = _bytes(mac)
    if payload is None or given is None or not any(hmac.compare_digest(_mac(k, payload), given) for k in keys.values()):
        return None
    try:
        said = _DECODER.decode(payload)
    except ValueError:  # of msgspec or UTF-8: signed by a version that writes another form
        return None
    claimed = frozenset(said.images)
    if said.ns != namespace or claimed != frozenset(images) or said.sub != subject:
        return None
    if not now < said.exp <= now + LIFETIME_S + _EARLY_S:
        return None
    worst = ImageFinding(
        said.image, said.finding, replica=said.replica, missing=Missing(*said.missing), detail=said.detail,
        retry_after_s=said.retry,
    )  # fmt: skip
    return Claim(
        namespace=namespace, images=claimed, subject=said.sub, verdict=said.verdict, worst=worst,
        grandfathered=said.ran,
    )  # fmt: skip


def usable(data: Mapping[str, str]) -> Keys:
    """The keys in a Secret's `data`: base64 of at least `SHORTEST_KEY` bytes; what is no key is left out."""
    keys = {}
    for name, text in data.items():
        try:
            key = urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
        except ValueError:
            continue
        if len(key) >= SHORTEST_KEY:
            keys[name] = key
    return keys


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, sha256)


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes | None:
    """Only the one spelling that `_text` writes."""
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return raw if _text(raw) == text else None
