"""Where a redirect may lead. Pure.

At most three, never from TLS to plain, only http and https, never to a URL that carries a credential of its own,
and never to this machine or a link-local address unless the endpoint lives there: the other side chooses the
target, and instance metadata must not be one. Private networks are allowed, since storage often lives there.
Whoever follows sends no Authorization, not even to the same host.
"""

from yarl import URL

from tidegate.registry import hosts
from tidegate.registry.bounds import LONGEST_URL
from tidegate.registry.errors import Unreachable, Unsupported

STATUSES = frozenset({301, 302, 303, 307, 308})


def next_hop(current: URL, location: str | None, *, endpoint: URL, replica: str) -> URL:
    """The URL that a redirect names. Raises Unsupported where it must not lead, Unreachable for no URL at all."""
    if not location:
        detail = "redirects without a Location"
        raise Unreachable(detail, replica=replica, step="protocol")
    if len(location) > LONGEST_URL:
        detail = f"redirects to a URL of {len(location)} characters"
        raise Unsupported(detail, replica=replica)
    try:
        target = current.join(_parsed(location))
        host = hosts.host_of(target)
    except ValueError as exc:
        detail = f"redirects to no URL: {exc}"
        raise Unreachable(detail, replica=replica, step="protocol") from exc
    complaint = _complaint(target, host, current=current) or _host_complaint(target, host, endpoint=endpoint)
    if complaint:
        detail = f"redirects {complaint}"
        raise Unsupported(detail, replica=replica)
    return target


def _parsed(location: str) -> URL:
    """A Location as it stands: quoting it again would break the signature in a presigned URL."""
    intact = location.isascii() and location.isprintable() and " " not in location
    return URL(location, encoded=intact)


def _complaint(target: URL, host: str, *, current: URL) -> str:
    if target.scheme not in {"http", "https"}:
        return f"to the scheme {target.scheme[:16]!r}"
    if not host:
        return "to no host"
    if target.scheme == "http" and current.scheme == "https":
        return f"from TLS to plain HTTP at {host}"
    if target.raw_user is not None or target.raw_password is not None:
        return f"to a URL with a credential in it at {host}"
    return ""


def _host_complaint(target: URL, host: str, *, endpoint: URL) -> str:
    if hosts.is_own(target, endpoint):
        return ""
    if hosts.is_local(host) and not hosts.is_local(hosts.host_of(endpoint)):
        return f"to this machine ({host})"
    if hosts.is_link_local(host):
        return f"to the address {host}"
    return ""
