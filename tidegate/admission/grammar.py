"""The grammar of references for the API server's regular expressions (RE2), as `tidegate.reference` has it.

RE2 takes time linear in text and expression, so nothing here needs to be possessive; the cost that the API server
counts for a match is a fortieth of length of text times length of expression.
"""

import re
from collections.abc import Collection

from tidegate.admission.cel import text
from tidegate.policy import REFERENCE_LIMIT, ImagePattern
from tidegate.policy.listing import plain_host
from tidegate.reference import PATH_LIMIT

_HOST = (
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[A-Fa-f0-9:]+\])"
    r"(?::[0-9]+)?"
)
_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}"

WHOLE = rf"^{_HOST}/{_WORD}(?:/{_WORD})*(?::{_TAG})?(?:@(?:{_DIGEST}))?$"
"""Of a text with its host in front."""
SHORT_PATH = rf"^[^/]+/[^:@]{{1,{PATH_LIMIT}}}(?:[:@]|$)"
HAS_HOST = r"^(?:[^/]*[.:A-Z][^/]*|localhost)/"
_IMAGE_ID = "^[a-f0-9]{64}$"
_HUB_WORD = r"^docker\.io/[^/]*$"

PARSED_LENGTH = sum(map(len, (WHOLE, SHORT_PATH, HAS_HOST, _IMAGE_ID, _HUB_WORD)))
"""Of the expressions that `parsed` matches with."""


def parsed(images: str) -> str:
    """`[as written, normalised]` for each of a list of texts; the second is empty for what is no reference."""
    hub, before = "docker.io/", "index.docker.io/"
    refused = f"size(i) > {REFERENCE_LIMIT} || i.matches({text(_IMAGE_ID)})"
    hosted = f"i.matches({text(HAS_HOST)}) ? i : {text(hub)} + i"
    canonical = f"p[1].startsWith({text(before)}) ? {text(hub)} + p[1].substring({len(before)}) : p[1]"
    library = f"p[1].matches({text(_HUB_WORD)}) ? {text(hub + 'library/')} + p[1].substring({len(hub)}) : p[1]"
    sound = f"p[1].matches({text(WHOLE)}) && p[1].matches({text(SHORT_PATH)}) ? p[1] : ''"
    return (
        f"{images}.map(i, [i, {refused} ? '' : {hosted}])"
        f".map(p, [p[0], {canonical}]).map(p, [p[0], {library}]).map(p, [p[0], {sound}])"
    )


def of_hosts(hosts: Collection[str]) -> str:
    """Of normalised references to these registries, however their host is spelled."""
    names = "|".join(re.escape(plain_host(host)) for host in sorted(hosts))
    return f"^(?i:{names})(?::443)?/"


def of_pattern(pattern: ImagePattern, hosts: Collection[str]) -> str:
    """Of normalised references that an exemption's pattern covers; `hosts` are the listed ones."""
    domain, _, path = pattern.text.partition("/")
    domains = [_starred(domain, r"[^.:/\[\]]*")]
    listed = [host for host in sorted(hosts) if pattern.domain.fullmatch(host)]
    if listed:
        domains.append(f"(?i:{'|'.join(re.escape(plain_host(host)) for host in listed)})(?::443)?")
    return f"^(?:{'|'.join(domains)})/{_starred(path, '[^:@]*')}(?:[:@]|$)"


def _starred(pattern: str, star: str) -> str:
    return star.join(re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*"))
