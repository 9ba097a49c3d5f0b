"""Which credential is for which image, as kubelet decides it. Pure.

The rules are those of kubelet's keyring, which `.dockerconfigjson` Secrets and credential provider plugins share:

- An image is its normalised name, host and repository, without tag and digest: `docker.io/library/redis`.
- A key's scheme is dropped, and so is a leading `/v1` or `/v2` of its path before another `/`.
- Hosts have the same number of labels, each matching by itself: `*` stays within one label. Letters count as written.
- Ports are equal; one that is absent equals only another that is absent.
- A key's path is a plain prefix of the image's: `r.example/team` is also for `r.example/team-b/app`.
- All keys that match count, in descending order of their text: of two that share a host, the longer path comes first.
- Docker Hub's own key, `index.docker.io`, is for its images when no other key matches.

One rule of kubelet's is left out on purpose: there a host without a dot is taken for Docker Hub too.
"""

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

_SCHEME = re.compile("https?://")
_VERSION = re.compile("/v[12]/")
_HUB_KEY = "index.docker.io"
_HUB = frozenset({"docker.io", _HUB_KEY})


class Keyring(Generic[T]):
    """Values under kubelet's keys. Immutable."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        """Entries as they are written; of equal keys the earlier comes first, and a key without a host is dropped."""
        keyed: dict[str, list[T]] = {}
        for text, value in entries:
            if key := normal_key(text):
                keyed.setdefault(key, []).append(value)
        self._keyed = {key: tuple(keyed[key]) for key in sorted(keyed, reverse=True)}

    def lookup(self, image: str) -> tuple[tuple[str, T], ...]:
        """All that is for an image, with the key it is under, best first."""
        found = tuple((key, value) for key, values in self._keyed.items() if matches(key, image) for value in values)
        if not found and image.partition("/")[0] in _HUB:
            return tuple((_HUB_KEY, value) for value in self._keyed.get(_HUB_KEY, ()))
        return found


def normal_key(text: str) -> str:
    """A key as it is compared: host, port and path. Empty if there is no host in it."""
    rest = re.split("[?#]", _SCHEME.sub("", text, count=1), maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    path = slash + path
    if _VERSION.match(path):
        path = path[len("/v1") :]
    return host + path if host and path != "/" else host


def matches(pattern: str, image: str) -> bool:
    """Whether a pattern without a scheme (a normal key, an entry of `matchImages`) is for an image."""
    pattern_host, pattern_port, pattern_path = _parts(pattern)
    host, port, path = _parts(image)
    if pattern_port != port or not path.startswith(pattern_path):
        return False
    pattern_labels, labels = pattern_host.split("."), host.split(".")
    return len(pattern_labels) == len(labels) and all(map(_glob, pattern_labels, labels))


def _parts(text: str) -> tuple[str, str, str]:
    """Host (IPv6 addresses in their brackets), port, path with its slash."""
    authority, slash, path = text.partition("/")
    host, colon, port = ("", "", "") if authority.endswith("]") else authority.rpartition(":")
    return (host, port, slash + path) if colon else (authority, "", slash + path)


def _glob(pattern: str, label: str) -> bool:
    """`*` is any number of characters; in time that grows with the product of both lengths, whatever the stars."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == label
    *inner, last = others
    at, end = len(first), len(label) - len(last)
    if at > end or not label.startswith(first) or not label.endswith(last):
        return False
    for part in inner:
        found = label.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
