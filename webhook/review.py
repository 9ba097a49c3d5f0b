"""AdmissionReview v1 on the wire: bytes → `Review`, and an answer → bytes.

Only what is judged is decoded; object and old object stay raw until their kind is known. A broken review is the
caller's fault and raises MalformedReview, which becomes an HTTP 4xx, so that failurePolicy decides.
Source: k8s.io/api/admission/v1.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
_LONGEST_UID = 256
_NOTHING = (msgspec.Raw(), msgspec.Raw(b"null"))
_BRING_AN_OBJECT = frozenset({"CREATE", "UPDATE"})


class MalformedReview(ValueError):
    """Not a review that can be answered; the text says why."""


class Wire(msgspec.Struct, rename="camel", frozen=True):
    """Camel case, unknown fields dropped."""


class GroupVersionKind(Wire, frozen=True):
    kind: str
    group: str = ""
    version: str = ""


class UserInfo(Wire, frozen=True):
    username: str = ""
    groups: list[str] | None = None


class Review(Wire, frozen=True, kw_only=True):
    """The request of a review. `object` and `old_object` are None where the API server sends null."""

    uid: str
    kind: GroupVersionKind
    operation: str
    sub_resource: str = ""
    namespace: str = ""
    name: str = ""
    user_info: UserInfo = UserInfo()
    object: msgspec.Raw = msgspec.Raw()
    old_object: msgspec.Raw = msgspec.Raw()

    @property
    def new(self) -> msgspec.Raw | None:
        """The object as it shall be."""
        return _present(self.object)

    @property
    def old(self) -> msgspec.Raw | None:
        """The object as it is."""
        return _present(self.old_object)


class _Envelope(Wire, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    request: Review | None = None


class Status(Wire, frozen=True, kw_only=True):
    message: str
    code: int = HTTPStatus.FORBIDDEN.value
    reason: str = "Forbidden"


class Response(Wire, frozen=True, kw_only=True, omit_defaults=True):
    uid: str
    allowed: bool
    status: Status | None = None
    audit_annotations: Mapping[str, str] = {}
    warnings: Sequence[str] = ()
    patch: str | None = None
    """base64 of a JSON Patch; comes with `patch_type`, or neither does."""
    patch_type: str | None = None


class _Answer(Wire, frozen=True, kw_only=True):
    response: Response
    api_version: str = API_VERSION
    kind: str = KIND


_DECODER = msgspec.json.Decoder(_Envelope)
_ENCODER = msgspec.json.Encoder()


def decode(body: bytes) -> Review:
    """The request in a review's body. Raises MalformedReview."""
    try:
        envelope = _DECODER.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as exc:
        message = f"the body is no AdmissionReview: {str(exc)[:200] or 'nested too deeply'}"
        raise MalformedReview(message) from exc
    if envelope.api_version != API_VERSION or envelope.kind != KIND:
        message = (
            f"this webhook takes {KIND} of {API_VERSION}, not {envelope.kind[:64]!r} of {envelope.api_version[:64]!r}; "
            "set admissionReviewVersions: [v1]"
        )
        raise MalformedReview(message)
    review = envelope.request
    if review is None:
        message = "the AdmissionReview has no request"
        raise MalformedReview(message)
    if not 0 < len(review.uid) <= _LONGEST_UID:
        message = "the request's uid is empty or too long"
        raise MalformedReview(message)
    if review.operation in _BRING_AN_OBJECT and review.new is None:
        message = f"the {review.operation} of a {review.kind.kind[:64]} has no object"
        raise MalformedReview(message)
    return review


def encode(response: Response) -> bytes:
    """The body of an answer."""
    return _ENCODER.encode(_Answer(response=response))


def _present(raw: msgspec.Raw) -> msgspec.Raw | None:
    """Compared, not hashed: objects are large."""
    return None if raw in _NOTHING else raw
