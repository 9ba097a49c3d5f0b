"""Where the API server is, whom to trust, and who we are.

Nothing here reads the environment: `__main__` does, and passes on what it found.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from yaml import YAMLError

log = structlog.get_logger()

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet mounts `token`, `ca.crt` and `namespace`."""

_FRESH_S = 60.0
"""A projected token is replaced at 80 % of its life, of at least ten minutes: one look a minute is plenty."""
_CREDENTIAL_TIMEOUT_S = 15.0

Clock = Callable[[], float]


class ConnectionConfigError(ValueError):
    """The service account or the kubeconfig cannot be used; the text says which part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """All that a client needs to know. `token` gives the value of the Authorization header, or None."""

    base_url: str
    ssl: ssl.SSLContext | None
    token: Callable[[], Awaitable[str | None]]
    server_name: str | None = None
    """Name to verify the server's certificate against, when it is not the URL's host."""
    proxy: str | None = None


def plain(base_url: str, *, token: str | None = None, context: ssl.SSLContext | None = None) -> Connection:
    """A connection with a fixed token or none: for the double and for tests."""
    header = f"Bearer {token}" if token else None

    async def fixed() -> str | None:
        return header

    return Connection(base_url=base_url.rstrip("/"), ssl=context, token=fixed)


def in_cluster(
    *, host: str, port: str | int, directory: Path = SERVICE_ACCOUNT, clock: Clock = time.monotonic
) -> Connection:
    """A Pod's own connection. `host` and `port` are KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.

    The token file is read again at most once a minute; when it cannot be read, the last token goes on being used.
    Raises ConnectionConfigError when the service account is not there.
    """
    try:
        context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        first = _read_token(directory / "token")
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        message = f"{directory}: no usable service account: {exc}"
        raise ConnectionConfigError(message) from exc
    source = _Refreshed(lambda: _read_token(directory / "token"), first=first, clock=clock)
    at = f"[{host}]" if ":" in host else host
    return Connection(base_url=f"https://{at}:{port}", ssl=context, token=source.get)


def from_kubeconfig(path: Path, *, context: str | None = None, clock: Clock = time.monotonic) -> Connection:
    """What kubectl would use with this file: certificates, tokens, exec plugins (run again when their token expires).

    Nothing is written to the file. Raises ConnectionConfigError. The `kubernetes` package is imported here and nowhere
    else: it costs 0.3 s and 30 MB that a program inside the cluster does not spend.
    """
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415  see above

    found = SimpleNamespace(api_key={}, verify_ssl=True)
    try:
        path.open("rb").close()  # the package tells no missing file from an empty one
    except OSError as exc:
        message = f"{path}: {exc.strerror or exc}"
        raise ConnectionConfigError(message) from exc
    try:
        load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path), context=context, client_configuration=found, persist_config=False
        )
        base_url = str(found.host)
        tls = _kubeconfig_tls(found) if base_url.startswith("https:") else None
    except (ConfigException, YAMLError, OSError, ValueError, AttributeError, KeyError, TypeError) as exc:
        message = f"{path}: not a usable kubeconfig: {' '.join(str(exc).split())}"
        raise ConnectionConfigError(message) from exc

    def refreshed() -> str | None:
        if hasattr(found, "refresh_api_key_hook"):
            found.refresh_api_key_hook(found)
        bearer: str | None = found.api_key.get("BearerToken")
        return bearer

    source = _Refreshed(refreshed, first=found.api_key.get("BearerToken"), clock=clock)
    return Connection(
        base_url=base_url.rstrip("/"),
        ssl=tls,
        token=source.get,
        server_name=getattr(found, "tls_server_name", None),
        proxy=getattr(found, "proxy", None),
    )


def _kubeconfig_tls(found: Any) -> ssl.SSLContext:  # noqa: ANN401  the package's loader fills any object
    context = ssl.create_default_context(cafile=getattr(found, "ssl_ca_cert", None))
    if not found.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if getattr(found, "cert_file", None):
        context.load_cert_chain(found.cert_file, getattr(found, "key_file", None))
    return context


def _read_token(path: Path) -> str:
    text = path.read_text(encoding="ascii").strip()
    if not text:
        message = f"{path.name} is empty"
        raise ValueError(message)
    return f"Bearer {text}"


class _Refreshed:
    """A credential read in a thread, at most once a minute and by one caller at a time."""

    def __init__(self, read: Callable[[], str | None], *, first: str | None, clock: Clock) -> None:
        self._read = read
        self._value = first
        self._clock = clock
        self._read_at = clock()
        self._lock = asyncio.Lock()

    async def get(self) -> str | None:
        if self._clock() - self._read_at < _FRESH_S:
            return self._value
        async with self._lock:
            if self._clock() - self._read_at >= _FRESH_S:
                try:
                    async with asyncio.timeout(_CREDENTIAL_TIMEOUT_S):
                        self._value = await asyncio.to_thread(self._read)
                except Exception as exc:  # noqa: BLE001  whatever a plugin does: the old one may still be good
                    log.warning("kube.credential_not_refreshed", error=type(exc).__name__)
                finally:
                    self._read_at = self._clock()
        return self._value
