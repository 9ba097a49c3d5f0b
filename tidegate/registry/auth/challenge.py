"""WWW-Authenticate (RFC 9110 §11.6.1) → challenges. Pure, total and bounded: any text gives a tuple.

Commas separate both challenges and the parameters of one, values may be quoted with commas and escapes inside, and
schemes come in any case. What cannot be understood is skipped up to the next comma.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

_MOST_HEADERS = 8
_MOST_CHARACTERS = 8 * 2**10
_MOST_CHALLENGES = 16
_MOST_PARAMETERS = 32

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))", re.ASCII)
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)', re.DOTALL)
_BARE = re.compile(r"[^ \t,]*")
_GAP = re.compile(r"[ \t,]*")
_SPACE = re.compile(r"[ \t]+")
_SKIP = re.compile(r"[^,]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in. Scheme and parameter names are lower case; of a parameter that is given twice, the first counts."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all WWW-Authenticate headers of one answer, in their order. Never raises."""
    found: list[Challenge] = []
    for number, header in enumerate(headers):
        if number == _MOST_HEADERS:
            break
        found.extend(_of_one(header[:_MOST_CHARACTERS]))
    return tuple(found[:_MOST_CHALLENGES])


def _of_one(text: str) -> Iterator[Challenge]:
    scheme: str | None = None
    parameters: dict[str, str] = {}
    at = _end(_GAP, text, 0)
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            at = _end(_SKIP, text, at)
        elif equals := _EQUALS.match(text, token.end()):
            value, at = _value(text, equals.end())
            if scheme is not None and len(parameters) < _MOST_PARAMETERS:
                parameters.setdefault(token[0].lower(), value)
        else:
            if scheme is not None:
                yield Challenge(scheme, parameters)
            scheme, parameters = token[0].lower(), {}
            at = _after_scheme(text, token.end())
        at = _end(_GAP, text, at)
    if scheme is not None:
        yield Challenge(scheme, parameters)


def _after_scheme(text: str, at: int) -> int:
    """Past the token68 that some schemes have in place of parameters (`Negotiate YII=`)."""
    space = _SPACE.match(text, at)
    if space is None:
        return at if text.startswith(",", at) or at == len(text) else _end(_SKIP, text, at)
    lone = _TOKEN68.match(text, space.end())
    return lone.end() if lone else space.end()


def _value(text: str, at: int) -> tuple[str, int]:
    if quoted := _QUOTED.match(text, at):
        return _ESCAPE.sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE.match(text, at)
    return (bare[0], bare.end()) if bare else ("", at)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
