"""Image references: parsed once at the border, normalised, printed.

`ImageReference.parse` accepts, refuses and splits any text as `ParseNormalizedNamed` of
github.com/distribution/reference v0.6.0 does (the parser of containerd, Docker and the registries); its grammar is
the one in that module's package comment. tests/unit/reference replays what the Go library itself answered.

- No default tag is added: `nginx` has neither tag nor digest.
- `docker.io`, and `library/` for its one-word paths, are filled in; `index.docker.io` becomes `docker.io`.
- 255 characters is the limit of the path alone; host and port have none.
- Digests are sha256, sha384 or sha512, in lower-case hexadecimals.
- One deliberate difference. Go takes `my_host.com/app` for a name without any host, since a host has no underscore but
  a path may: what follows would then be looked for nowhere. Here it is refused.

Any text is answered in time linear in its length, and with `InvalidReference` or a value, never anything else.
"""

import re
from dataclasses import dataclass
from typing import NewType, Self

Digest = NewType("Digest", str)
"""`algorithm:hexadecimals`, validated by `parse_digest` or by having been computed here."""

DEFAULT_TAG = "latest"
"""What runtimes pull where a reference has neither tag nor digest."""
PATH_LIMIT = 255
TEXT_LIMIT = 160
"""Characters of a refused text that its error carries; texts may be megabytes."""

_HUB = "docker.io"
_HUB_BEFORE = "index.docker.io"
_LIBRARY = "library/"

# Linear in time and memory for any text: the host, which has no length limit, is matched without a repeated group
# (each turn of one costs a hundred bytes until the match ends), and what follows it is bounded before it is matched.
# Nothing here uses \w, \d or $: they would let Unicode digits or a trailing newline in.
_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}
_DIGEST = "|".join(f"{algorithm}:[a-f0-9]{{{length}}}" for algorithm, length in _HEX.items())
_WORD = r"[a-z0-9]++(?:(?:\.|__?|-++)[a-z0-9]++)*"
_PATH = rf"{_WORD}(?:/{_WORD})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"

_match_host = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Fa-f0-9:]++\])(?::[0-9]++)?").fullmatch
_find_bad_joint = re.compile(r"\.[.-]|-\.").search
_match_rest = re.compile(rf"({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?").fullmatch
_match_path = re.compile(_PATH).fullmatch
_match_tag = re.compile(_TAG).fullmatch
_match_digest = re.compile(_DIGEST).fullmatch
_match_image_id = re.compile("[a-f0-9]{64}").fullmatch

_REST_LIMIT = PATH_LIMIT + len(":") + 128 + len("@sha512:") + 128
"""The longest acceptable text after the host: longer ones are refused before any expression looks at them."""


class InvalidReference(ValueError):
    """The text is no image reference. `text` is bounded, `reason` says which part is wrong, in printable ASCII."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + "..."
        self.reason = reason
        super().__init__(self.text, reason)

    def __str__(self) -> str:
        """Safe to show and to put into a header: control characters are escaped."""
        return f"{self.text!a}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A normalised reference; only `parse` should make one from text."""

    domain: str
    """Host and optional port, as written (its case too)."""
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `InvalidReference`."""
        domain, rest = _split_domain(text)
        if len(rest) <= _REST_LIMIT and (match := _match_rest(rest)) is not None:
            path, tag, digest = match.groups()
            if domain == _HUB:
                if "/" not in path:
                    path = _LIBRARY + path
            elif not _is_host(domain):
                raise InvalidReference(text, _host_complaint(domain))
            if len(path) <= PATH_LIMIT and _match_image_id(text) is None:
                return cls(domain, path, tag, None if digest is None else Digest(digest))
        raise InvalidReference(text, _complaint(text, domain, rest))

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """As Docker's tools show it: without `docker.io`, and without `library/` where a single word follows.

        For showing only. As in Go, a Docker Hub path that begins like a host (`docker.io/localhost/app`) loses what
        told them apart; `str()` is the form that always parses back.
        """
        name = self.name
        if self.domain == _HUB:
            word = self.path.removeprefix(_LIBRARY)
            name = self.path if "/" in word else word
        return name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        return self.name + self._suffix


def try_parse(text: str) -> ImageReference | InvalidReference:
    """The fault as a value, for those who judge both; it holds on to nobody's frames."""
    try:
        return ImageReference.parse(text)
    except InvalidReference as exc:
        return exc.with_traceback(None)


def parse_digest(text: str) -> Digest:
    """Raises `InvalidReference` unless it is sha256, sha384 or sha512 with as many lower-case hexadecimals."""
    if len(text) > len("sha512:") + _HEX["sha512"] or _match_digest(text) is None:
        raise InvalidReference(text, _digest_complaint(text))
    return Digest(text)


def _split_domain(text: str) -> tuple[str, str]:
    """What stands for the host, not yet checked, and what follows it.

    The first segment is a host if it looks like one: `localhost`, or with a dot, a colon or an upper-case letter.
    Without a slash there is no host: `localhost:5000` is Docker Hub's image `localhost` with the tag `5000`.
    """
    first, slash, rest = text.partition("/")
    if not slash:
        return _HUB, text
    if first == _HUB_BEFORE:
        return _HUB, rest
    if "." in first or ":" in first or first == "localhost" or first.lower() != first:
        return first, rest
    return _HUB, text


def _is_host(domain: str) -> bool:
    """DNS labels, which neither begin nor end with a dash, or IPv6 in brackets; then perhaps a port."""
    return _match_host(domain) is not None and _find_bad_joint(domain) is None


# From here on only the words of a refusal: the decision has been taken above.


def _complaint(text: str, domain: str, rest: str) -> str:
    if not text:
        return "it is empty"
    if _match_image_id(text):
        return "64 hexadecimals are an image ID, not a name"
    if domain != _HUB and not _is_host(domain):
        return _host_complaint(domain)
    return _rest_complaint(rest, hub=domain == _HUB)


def _rest_complaint(rest: str, *, hub: bool) -> str:
    if not rest:
        return "no repository follows the host"
    name, at, digest = rest.partition("@")
    path, colon, tag = name.partition(":")
    if (reason := _path_complaint(path, added=hub and "/" not in path)) is not None:
        return reason
    if colon and _match_tag(tag) is None:
        return "the tag is not 1 to 128 letters, digits, '_', '.' or '-', the first of them no '.' or '-'"
    return _digest_complaint(digest) if at else "it is not of the form [HOST/]PATH[:TAG][@DIGEST]"


def _host_complaint(domain: str) -> str:
    if "_" in domain:
        return "the host has an underscore"
    return "the host is no DNS name, IPv4 address or [IPv6 address] with an optional port"


def _path_complaint(path: str, *, added: bool) -> str | None:
    length = len(path) + (len(_LIBRARY) if added else 0)
    if length > PATH_LIMIT:
        return f"the path has {length} characters, more than {PATH_LIMIT}"
    if _match_path(path):
        return None
    if path != path.lower():
        return "the path has upper-case letters"
    if not path or path.startswith("/") or path.endswith("/") or "//" in path:
        return "the path has an empty component"
    return "the path is not made of lower-case letters and digits, joined by single '.', '_', '__' or dashes"


def _digest_complaint(text: str) -> str:
    algorithm, _, encoded = text.partition(":")
    if (length := _HEX.get(algorithm)) is None:
        return "the digest is not sha256, sha384 or sha512"
    if len(encoded) != length:
        return f"the digest has {len(encoded)} characters after {algorithm}:, not {length}"
    return "the digest is not in lower-case hexadecimals"
