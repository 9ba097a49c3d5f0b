"""A registry's notification → what moved where. Pure: bytes in, values out.

For any bytes the answer is a tuple of at most `MOST_ARRIVALS` values or `MalformedEvent`, nothing else. Every text in
an `Arrival` has the form of what it is (host, repository, digest, tag), so it may be logged, compared and sent on.
What says nothing of use (pulls, layers, scans, names that are none) is passed over, since a registry sends a
notification that was refused again and again, and everything else behind it.

Sources: ACR webhook reference (push event payload); distribution notifications (Event, Envelope); Harbor webhooks,
both payload formats (Default, CloudEvents).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from tidegate.reference import Digest, InvalidReference, parse_digest

MOST_ARRIVALS: Final = 1000
"""Of one notification; distribution sends its events in envelopes of a few."""

_HOST: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9_.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE
)
_COMPONENT: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_MOST_REPOSITORY: Final = 255
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_MOST_URL: Final = 2048
_MOVED: Final = frozenset({"push", "mount"})
_LAYER: Final = "application/octet-stream"
"""What distribution calls every blob."""
_PUSHED: Final = frozenset({"PUSH_ARTIFACT", "harbor.artifact.pushed"})
_REPLICATED: Final = frozenset({"REPLICATION", "harbor.replication.status.changed"})
_SUCCESS: Final = "Success"

T = TypeVar("T")


class MalformedEvent(ValueError):
    """The body is no notification of its kind. The text is bounded and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Something came to a registry, or was copied there, if the sender is to be believed."""

    hosts: tuple[str, ...]
    """What the sender calls the registry, lower case, with a port where one was given; never empty."""
    repository: str
    """As the registry calls it that it came to."""
    digest: Digest | None = None
    tag: str | None = None
    """With neither, something in the repository."""


class _Part(msgspec.Struct, rename="camel"):
    media_type: str | None = None
    digest: str | None = None
    repository: str | None = None
    tag: str | None = None
    url: str | None = None


class _Request(msgspec.Struct):
    host: str | None = None


class _Event(msgspec.Struct):
    """Of ACR, and one of distribution's: they share an ancestor."""

    action: str | None = None
    target: _Part | None = None
    request: _Request | None = None


class _Envelope(msgspec.Struct):
    events: list[_Event]


class _Resource(msgspec.Struct):
    digest: str | None = None
    tag: str | None = None
    resource_url: str | None = None


class _Repository(msgspec.Struct):
    repo_full_name: str | None = None


class _Place(msgspec.Struct):
    endpoint: str | None = None
    namespace: str | None = None


class _Copied(msgspec.Struct):
    name_tag: str | None = None
    references: list[str] | None = None


class _Replication(msgspec.Struct):
    job_status: str | None = None
    harbor_hostname: str | None = None
    dest_resource: _Place | None = None
    successful_artifact: list[_Copied] | None = None


class _Data(msgspec.Struct):
    resources: list[_Resource] | None = None
    repository: _Repository | None = None
    replication: _Replication | None = None


class _Harbor(msgspec.Struct):
    type: str
    event_data: _Data | None = None
    data: _Data | None = None
    """In CloudEvents."""


_ACR = msgspec.json.Decoder(_Event)
_DISTRIBUTION = msgspec.json.Decoder(_Envelope)
_HARBOR = msgspec.json.Decoder(_Harbor)


def _acr(body: bytes) -> Iterator[Arrival | None]:
    event = _decoded(body, _ACR)
    if event.target is None or event.action is None:
        message = "no action or no target"
        raise MalformedEvent(message)
    yield _of_event(event)


def _distribution(body: bytes) -> Iterator[Arrival | None]:
    for event in _decoded(body, _DISTRIBUTION).events:
        yield _of_event(event)


def _of_event(event: _Event) -> Arrival | None:
    target = event.target
    if event.action not in _MOVED or target is None or target.media_type == _LAYER:
        return None
    hosts = (event.request.host if event.request else None, _host_in(target.url))
    return _arrival(hosts, target.repository, target.digest, target.tag)


def _harbor(body: bytes) -> Iterator[Arrival | None]:
    event = _decoded(body, _HARBOR)
    data = event.event_data or event.data
    if data is None:
        message = "no event_data and no data"
        raise MalformedEvent(message)
    if event.type in _PUSHED:
        name = data.repository.repo_full_name if data.repository else None
        for resource in data.resources or ():
            host = (resource.resource_url or "").partition("/")[0]
            tag = None if resource.tag == resource.digest else resource.tag
            yield _arrival((host,), name, resource.digest, tag)
    elif event.type in _REPLICATED and data.replication is not None and data.replication.job_status == _SUCCESS:
        yield from _replicated(data.replication)


def _replicated(replication: _Replication) -> Iterator[Arrival | None]:
    """A finished replication names repositories; newer Harbors also name tags, or digests of what has none."""
    where = replication.dest_resource or _Place()
    hosts = (_host_in(where.endpoint),)
    for copied in replication.successful_artifact or ():
        short = (copied.name_tag or "").partition(" ")[0].partition(":")[0]
        name = f"{where.namespace}/{short}" if where.namespace else short
        for reference in copied.references or ("",):
            yield _arrival(hosts, name, reference, reference)


DECODERS: Final[Mapping[str, Callable[[bytes], Iterator[Arrival | None]]]] = {
    "acr": _acr,
    "distribution": _distribution,
    "harbor": _harbor,
}
"""By kind, the last part of the path that the registry posts to."""


def decode(kind: str, body: bytes) -> tuple[Arrival, ...]:
    """What a notification of a kind in `DECODERS` tells. Raises MalformedEvent."""
    told = (arrival for arrival in DECODERS[kind](body) if arrival is not None)
    return tuple(islice(told, MOST_ARRIVALS))


def _host_in(url: str | None) -> str | None:
    if url is None or len(url) > _MOST_URL or not url.isprintable():
        return None
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return None


def _arrival(
    hosts: tuple[str | None, ...], repository: str | None, digest: str | None, tag: str | None
) -> Arrival | None:
    names = tuple(dict.fromkeys(host.lower() for host in hosts if host is not None and _HOST.fullmatch(host)))
    if not names or repository is None or len(repository) > _MOST_REPOSITORY or not _REPOSITORY.fullmatch(repository):
        return None
    is_tag = tag is not None and _TAG.fullmatch(tag) is not None
    return Arrival(names, repository, _digest(digest), tag if is_tag else None)


def _digest(text: str | None) -> Digest | None:
    try:
        return parse_digest(text or "")
    except InvalidReference:
        return None


def _decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(body)
    except RecursionError:
        message = "nested too deeply"
    except ValueError as exc:  # msgspec's own, and bytes that are no UTF-8
        message = f"no notification of this kind: {type(exc).__name__}"
    raise MalformedEvent(message)
