"""What a container runtime can do to us, told apart by gRPC code and text in one place.

    CriError                a call failed; `message` is the runtime's words, bounded
     ├─ RuntimeUnavailable  nobody answers on the socket, or not in time
     └─ PullError           a pull failed; `reason` says why, in the words of NodePull

Runtimes tell most faults of a registry apart by text alone: containerd answers `Unknown` for 401, 403, 429, 5xx, TLS
and a full disk. The rows below are texts recorded from containerd 2.4, and what 1.7 and CRI-O's image library say in
their place. Nothing above `tidegate.cri` names a gRPC class.
"""

import re

import grpc

from tidegate.findings import DETAIL_LIMIT
from tidegate.kube.own import Reason

_HEAD = 96
"""Characters kept of a long text's beginning; the rest of what fits is its end, where the cause stands."""

_QUERY = re.compile(r"\?[^\s\"']*[^\s\"':,;]")

_BY_CODE = {
    grpc.StatusCode.CANCELLED: Reason.CANCELED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.CANCELED,
    grpc.StatusCode.NOT_FOUND: Reason.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED: Reason.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: Reason.UNAUTHORIZED,
}

# A word alone proves nothing, as a repository may be called `toomanyrequests`; only what holds a space cannot be part
# of a reference. The order matters: a token service that throttles is named before what it refused.
_BY_TEXT = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"\b429 \(?Too Many Requests\b", Reason.THROTTLED),
        (r"(?:^|[\s:])toomanyrequests: ", Reason.THROTTLED),
        (r"\bno space left on device\b", Reason.NO_SPACE),
        (r"\bdisk quota exceeded\b", Reason.NO_SPACE),
        (r"\b(?:401 \(?Unauthorized|403 \(?Forbidden)\b", Reason.UNAUTHORIZED),
        (r"\bpull access denied\b", Reason.UNAUTHORIZED),
        (r"\bauthorization failed\b", Reason.UNAUTHORIZED),
        (r"\bfailed to authorize\b", Reason.UNAUTHORIZED),
        (r"\bno basic auth credentials\b", Reason.UNAUTHORIZED),
        (r"(?:^|[\s:])unauthorized: ", Reason.UNAUTHORIZED),
        (r"\binvalid username/password\b", Reason.UNAUTHORIZED),
        (r"\brequested access to the resource is denied\b", Reason.UNAUTHORIZED),
        (r"\bmanifest unknown\b", Reason.NOT_FOUND),
        (r"\bname unknown\b", Reason.NOT_FOUND),
        (r"\bstatus code from registry 404 \(Not Found\)", Reason.NOT_FOUND),
    )
)


class CriError(Exception):
    """A call to the runtime failed."""

    def __init__(self, message: str) -> None:
        self.message = bounded(message)
        super().__init__(self.message)


class RuntimeUnavailable(CriError):
    """Nobody answers on the runtime's socket, or not in time."""


class PullError(CriError):
    """A pull failed. A pull that we cut off ourselves by its timeout is `Canceled`."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def classify(code: grpc.StatusCode, text: str) -> Reason:
    """Why a pull failed, from the runtime's status code and its words."""
    by_code = _BY_CODE.get(code)
    if by_code is not None:
        return by_code
    return next((reason for pattern, reason in _BY_TEXT if pattern.search(text)), Reason.OTHER)


def bounded(text: str) -> str:
    """A runtime's words, fit to be written down: one line, at most `DETAIL_LIMIT` characters, no query of a URL.

    Queries are dropped because signed blob addresses carry their signature there, and some runtimes repeat them.
    A long text loses its middle: runtimes wrap a cause in layer after layer, so it stands at the end.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _QUERY.sub("?…", line)
    if len(line) <= DETAIL_LIMIT:
        return line
    return f"{line[:_HEAD]}…{line[len(line) - (DETAIL_LIMIT - _HEAD - 1) :]}"
