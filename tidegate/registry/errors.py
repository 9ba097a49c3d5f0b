"""Everything that a registry can do to us, mapped from HTTP and sockets in one place.

    RegistryError                     finding (tidegate.findings)
     ├─ NotFound                      absent        an authorised 404
     ├─ Unauthorized                  unauthorized  401 or 403 after one honest try per credential
     ├─ Throttled                     throttled     429, or our own pause or budget for this replica
     ├─ Unreachable                   unreachable   DNS, connect, TLS, timeouts, 5xx, answers that are no registry's
     ├─ Unsupported                   unsupported   over a cap, or a shape that no runtime can run
     └─ Mismatch                      mismatch      bytes that hash to something else

Nothing above `tidegate.registry` names an aiohttp class.
"""

from tidegate.findings import DETAIL_LIMIT, Finding


def evidence(text: str) -> str:
    """A server's words, fit to show: one line, printable, at most `DETAIL_LIMIT` characters."""
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * DETAIL_LIMIT])
    line = " ".join(line.split())
    return line if len(line) <= DETAIL_LIMIT else line[: DETAIL_LIMIT - 1] + "…"


class RegistryError(Exception):
    """A replica did not give what was asked; `finding` says what that means."""

    finding: Finding

    def __init__(self, detail: str, *, replica: str) -> None:
        super().__init__(evidence(detail))
        self.detail = evidence(detail)
        self.replica = replica


class NotFound(RegistryError):
    """An authorised 404."""

    finding = Finding.ABSENT


class Unauthorized(RegistryError):
    """401 or 403 after one honest try per credential."""

    finding = Finding.UNAUTHORIZED


class Throttled(RegistryError):
    """429, or a pause of this replica that is longer than the caller may wait."""

    finding = Finding.THROTTLED

    def __init__(self, detail: str, *, replica: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail, replica=replica)
        self.retry_after_s = retry_after_s


class Unreachable(RegistryError):
    """The replica could not be asked: `step` is `dns`, `connect`, `tls`, `timeout`, `protocol` or `status`."""

    finding = Finding.UNREACHABLE

    def __init__(self, detail: str, *, replica: str, step: str) -> None:
        super().__init__(detail, replica=replica)
        self.step = step


class Unsupported(RegistryError):
    """Over a cap of ours (manifest bytes, depth, counts, redirects), or nothing that a runtime can run."""

    finding = Finding.UNSUPPORTED


class Mismatch(RegistryError):
    """The bytes under a digest hash to something else."""

    finding = Finding.MISMATCH
