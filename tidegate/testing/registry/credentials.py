"""Credentials as they come in a header."""

import base64
import binascii
import hmac


def basic_credential(header: str | None) -> tuple[str, str] | None:
    """User and password of a `Basic` Authorization header; none for anything else."""
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def same_secret(known: str | None, given: str) -> bool:
    """Whether a password is the right one."""
    return known is not None and hmac.compare_digest(known.encode(), given.encode())
