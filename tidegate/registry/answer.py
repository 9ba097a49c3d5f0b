"""One HTTP answer, read as far as anybody wants it, and the words in it that are fit to show."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from yarl import URL

from tidegate.registry import accept, hosts

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    """The error body of the OCI distribution-spec; `detail` may be anything and is left alone."""

    errors: list[_Error]


_decode_errors = msgspec.json.Decoder(_Errors).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of the last hop. A body that was not asked for is at most `EVIDENCE_BYTES` long."""

    status: int
    url: URL
    headers: Mapping[str, str]
    body: bytes = b""
    challenges: Sequence[str] = ()
    """The values of every WWW-Authenticate header."""
    retry_after_s: float | None = None
    """What a Retry-After asked for, capped; None without one that can be read."""
    redirected: bool = False
    """It comes from where a redirect led, so a refusal in it says nothing about our credential."""
    hide: Sequence[str] = field(default=(), repr=False)
    """What was sent in confidence: a server that echoes it is not quoted with it."""

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters."""
        return accept.media_type(self.headers.get("Content-Type"))

    @property
    def code(self) -> str:
        """The first error code of a registry's error body; empty if there is none."""
        return self._first_error().code

    def words(self) -> str:
        """`HTTP 404 from HOST: MANIFEST_UNKNOWN: manifest unknown`; the server's part only from an error body."""
        said = f"HTTP {self.status} from {hosts.host_of(self.url)}"
        error = self._first_error()
        if error.code:
            said += f": {error.code}"
            if error.message and error.message != error.code:
                said += f": {error.message}"
        return _without(said, self.hide)

    def _first_error(self) -> _Error:
        """Empty when the body is no registry's: HTML, storage XML and the like are never quoted."""
        if self.status < HTTPStatus.BAD_REQUEST or not self.body:
            return _Error()
        try:
            errors = _decode_errors(self.body).errors
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return _Error()
        first = errors[0] if errors else _Error()
        return first if _CODE.fullmatch(first.code) else _Error()


def _without(text: str, hidden: Sequence[str]) -> str:
    for secret in hidden:
        if secret:
            text = text.replace(secret, "***")
    return text
