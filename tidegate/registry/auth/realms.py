"""Which token realm may be asked, and which may be shown a credential. Pure.

A challenge is the other side's word, so it must not choose where secrets and requests go:

- A secret goes only over TLS (a loopback realm aside), and only to the endpoint's own host name, at any port, or to
  a host of `tokenHosts`.
- An anonymous request, which carries nothing, may go to any https realm, as Docker Hub's and others' need; but not
  to an address literal outside the public Internet, and to this machine only if the endpoint is on it too.
- No realm may carry a user, a password or another scheme.
"""

from collections.abc import Set as AbstractSet

from yarl import URL

from tidegate.registry import hosts

_LONGEST = 2 * 2**10


def parse_realm(text: str) -> URL | None:
    """The URL of a realm without its fragment, or None if it is none that could ever be asked."""
    if not text or len(text) > _LONGEST:
        return None
    try:
        realm = URL(text)
        usable = realm.scheme in {"http", "https"} and bool(hosts.host_of(realm))
    except ValueError:
        return None
    if not usable or realm.raw_user is not None or realm.raw_password is not None:
        return None
    return realm.with_fragment(None)


def refusal(realm: URL, *, endpoint: URL, token_hosts: AbstractSet[str], secret: bool) -> str:
    """Why a realm is not asked, in words for the operator; empty when it may be. `token_hosts` are normalised."""
    host = hosts.host_of(realm)
    local = hosts.is_local(host)
    if realm.scheme != "https" and not local:
        return f"token realm {host} is plain HTTP; tokens are asked for over TLS only"
    known = hosts.is_own(realm, endpoint) or host in token_hosts
    if known:
        return ""
    if secret:
        return f"token realm {host} is not the endpoint's host: no credential is sent there; add {host} to tokenHosts"
    if local and not hosts.is_local(hosts.host_of(endpoint)):
        return f"token realm {host} is this machine"
    if not local and hosts.is_inner_address(host):
        return f"token realm {host} is an inner address; if it is meant, add it to tokenHosts"
    return ""
