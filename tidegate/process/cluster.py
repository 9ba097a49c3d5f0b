"""Where the API server is: a kubeconfig that was named, or the Pod's own service account; none is ever searched for."""

from collections.abc import Mapping
from pathlib import Path

from tidegate.kube.connection import Connection, ConnectionConfigError, from_kubeconfig, in_cluster

_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def connection(kubeconfig: Path | None, environ: Mapping[str, str]) -> Connection:
    """The way to the API server. Raises ConnectionConfigError where there is none."""
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig)
    if not has_service_account(environ):
        message = f"not in a cluster ({_HOST} is not set): give --kubeconfig"
        raise ConnectionConfigError(message)
    return in_cluster(host=environ[_HOST], port=environ[_PORT])


def has_service_account(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a Pod that may speak to its API server."""
    return bool(environ.get(_HOST) and environ.get(_PORT))
