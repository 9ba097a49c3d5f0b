"""What one replica may cost us: seconds, bytes and counts.

4 MiB is what a registry should accept of a manifest (OCI distribution-spec).
"""

from dataclasses import dataclass

MANIFEST_BYTES = 4 * 2**20
"""Bytes of a manifest or index; one more is `Unsupported`."""

EVIDENCE_BYTES = 4 * 2**10
"""Bytes of an error body that are read, to quote a few of its words."""

TOKEN_ANSWER_BYTES = 64 * 2**10
TOKEN_CHARACTERS = 16 * 2**10
"""A token goes into one header line, and servers cut those at 8 to 16 KiB."""

REDIRECTS = 3
LONGEST_URL = 8 * 2**10
"""Presigned storage URLs carry signatures and session tokens of some kilobytes."""

LONGEST_PAUSE_S = 60.0
"""A Retry-After above this is a mistake or an attack: ACR counts down at most a minute."""

SHORT_PAUSE_S = 1.0
"""A pause that a caller waits out; a longer one is answered at once, as `Throttled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. Every wait of the client ends by one of these."""

    total_s: float = 10.0
    """One call: all its credentials, redirects, tokens and its one retry."""
    ping_s: float = 5.0
    """Whether it answers at all."""
    connect_s: float = 3.0
    """One TCP connect. TLS and everything after it has `total_s`."""
    evidence_s: float = 0.5
    """Reading the words of an error whose status is known already."""
    retry_pause_s: float = 0.1
    """Before the one retry, times 0.5 to 1.5. Zero retries at once."""
    refusal_s: float = 5.0
    """A refused credential is not tried again on the same scope for so long."""
    open_s: float = 300.0
    """A registry that asked for nothing is not asked for a challenge again for so long, and a registry whose
    HEAD on blobs does not work is asked by GET for so long."""
    secret_s: float = 2.0
    """Reading a password from its file."""
    plugin_s: float = 5.0
    """Waiting for a credential provider plugin. The plugin itself may take longer, for those who come later."""
    identity_s: float = 5.0
    """Waiting for a cloud to say who we are. It may take longer, for those who come later."""
    dns_s: int = 5
    """Addresses of a cloud's token service are remembered for so long; those of replicas by their TTL."""


DEFAULT_TIMEOUTS = Timeouts()
