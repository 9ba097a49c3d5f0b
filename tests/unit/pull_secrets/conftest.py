"""Secrets as an API server has them."""

import base64
import json
from typing import Any

import pytest

from tidegate.pull_secrets.shapes import DATA_KEYS, DOCKER_CONFIG, DOCKER_CONFIG_JSON


def docker_secret(
    namespace: str, name: str, *, user: str = "ada", password: str = "made up", host: str = "r.example",
    kind: str = DOCKER_CONFIG_JSON, raw: bytes | None = None,
) -> dict[str, Any]:  # fmt: skip
    """As `kubectl apply` leaves it: with its own data once more in an annotation."""
    entries: dict[str, Any] = {host: {"username": user, "password": password}}
    config = entries if kind == DOCKER_CONFIG else {"auths": entries}
    data = base64.b64encode(json.dumps(config).encode() if raw is None else raw).decode()
    return {
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": {DATA_KEYS.get(kind, "x"): data, "other": "eA=="},
        "metadata": {
            "name": name, "namespace": namespace,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": data},
        },
    }  # fmt: skip


def account(namespace: str, name: str, *secrets: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        "imagePullSecrets": [{"name": secret} for secret in secrets],
    }  # fmt: skip


class Make:
    """As a fixture, since test folders are no packages."""

    secret = staticmethod(docker_secret)
    account = staticmethod(account)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
