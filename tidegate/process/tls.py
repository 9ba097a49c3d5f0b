"""The certificate that is served, and its replacement while connections go on.

A context that serves is never touched again: loading a certificate with a key of another pair raises *and* leaves the
live context unable to shake hands (seen with CPython 3.11). Each pair gets a context of its own, and every handshake
is moved to the newest one by the server name callback, which is called for clients that send no name too.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Never

import structlog

from tidegate.process.stamps import stamp_of

log = structlog.get_logger()

_LOOK_S = 2.0


class TlsError(ValueError):
    """The pair cannot be served; the text says which file, and why."""


class ServingCertificate:
    """A TLS context that follows two files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the pair. Raises TlsError."""
        self._certificate = certificate
        self._key = key
        self._loaded = self._stamp()
        self._newest = _loaded(certificate, key)
        self.context = _loaded(certificate, key)
        """For the server; what a handshake is answered with is the newest pair."""
        self.context.sni_callback = self._move

    async def follow(self) -> Never:
        """Load what the files hold whenever they change; a pair that does not fit is passed over until it does."""
        refused = None
        while True:
            await asyncio.sleep(_LOOK_S)
            stamp = self._stamp()
            if stamp in {self._loaded, refused}:
                continue
            try:
                self._newest = _loaded(self._certificate, self._key)
            except TlsError as exc:
                refused = stamp
                log.warning("certificate.refused", error=str(exc))
            else:
                self._loaded = stamp
                log.info("certificate.loaded", certificate=str(self._certificate))

    def _move(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _stamp(self) -> tuple[object, ...]:
        return tuple(stamp_of(path) for path in (self._certificate, self._key))


def _loaded(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as exc:
        reason = getattr(exc, "reason", None) or exc.strerror or exc
        message = (
            f"--tls-cert {certificate}, --tls-key {key}: {reason}; give a PEM chain and the key that belongs to it"
        )
        raise TlsError(message) from exc
    return context


def _no_password() -> str:
    """For a key that is encrypted; else OpenSSL would ask at the terminal, and wait."""
    return ""
