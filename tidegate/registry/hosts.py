"""Whose host a URL names. Pure: no name is resolved here.

A host is compared by name, without its port, in lower case and without the root's dot. Literals are judged as
addresses even in the forms that only `getaddrinfo` understands (`127.1`, `2130706433`, `0x7f.1`).
"""

import ipaddress
import re

from yarl import URL

from tidegate.config.registries import is_loopback

_NAME = re.compile(r"[A-Za-z0-9_:](?:[A-Za-z0-9._:-]*[A-Za-z0-9_:])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Metadata services that are not link-local: of AWS over IPv6, Alibaba, and Azure's wire server."""


def normal(host: str) -> str:
    """A host name as it is compared here."""
    return host.lower().removesuffix(".")


def host_of(url: URL) -> str:
    """The normalised host of a URL, or empty if it has none that may be connected to. Raises ValueError."""
    host = normal(url.raw_host or "")
    _ = url.port
    return host if _NAME.fullmatch(host) else ""


def is_own(url: URL, endpoint: URL) -> bool:
    """Whether a URL is on the endpoint's own host name, at any port."""
    return host_of(url) == host_of(endpoint)


def is_local(host: str) -> bool:
    """Whether a host can only be this machine, in any spelling."""
    if is_loopback(host):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_inner_address(host: str) -> bool:
    """Whether a host is an address literal outside the public Internet, or no proper literal at all.

    A challenge comes from the other side, and this is where it would point to make us knock on doors that only we
    can reach: instance metadata (link-local), neighbours (private), ourselves.
    """
    if not is_numeric(host):
        return False
    address = _address(host)
    return address is None or not address.is_global


def is_link_local(host: str) -> bool:
    """Whether a host is a link-local, multicast or reserved literal, or no proper literal at all.

    For redirects, which may well lead to storage in a private network, but never to instance metadata.
    """
    if not is_numeric(host):
        return False
    address = _address(host)
    return address is None or address.is_link_local or address.is_multicast or address.is_unspecified


def may_be_named(text: str, *, here: bool) -> bool:
    """Whether an address that a name leads to may be connected to; this machine only where `here` says so."""
    address = _address(text)
    if address is None or address in _METADATA:
        return False
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return here or not address.is_loopback


def is_numeric(host: str) -> bool:
    """Whether a host is an address, in whatever spelling, and no name."""
    return ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address.sixtofour or address
    return address
