"""Pull secrets on the real API server: by a ServiceAccount that may read one namespace's, and no other's."""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, from_kubeconfig, plain
from tidegate.kube.errors import Forbidden
from tidegate.kube.resources import SECRETS
from tidegate.pull_secrets import PullSecrets, Wearer
from tidegate.pull_secrets.shapes import DATA_KEYS, DOCKER_CONFIG, DOCKER_CONFIG_JSON, PULL_SECRETS

WITHIN_S = 20.0
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tidegate-pull-secrets, namespace: team-a}
rules: [{apiGroups: [""], resources: [secrets, serviceaccounts], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tidegate-pull-secrets, namespace: team-a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tidegate-pull-secrets}
subjects: [{kind: ServiceAccount, name: reader, namespace: team-a}]
"""


def config(user: str, kind: str) -> str:
    entries = {"r.example": {"username": user, "password": "made up"}}
    document: dict[str, Any] = {"auths": entries} if kind == DOCKER_CONFIG_JSON else entries
    return base64.b64encode(json.dumps(document).encode()).decode()


def secret(name: str, user: str, *, kind: str = DOCKER_CONFIG_JSON) -> dict[str, Any]:
    return {"metadata": {"name": name}, "type": kind, "data": {DATA_KEYS[kind]: config(user, kind)}}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - a watch's answers come over a socket
            await asyncio.sleep(0.02)


@pytest.mark.real
async def test_a_role_in_one_namespace_opens_that_one(api_server: Any) -> None:
    for name in ("team-a", "team-b"):
        api_server.kubectl("create", "namespace", name)
    api_server.kubectl("create", "serviceaccount", "reader", "-n", "team-a")
    api_server.kubectl("apply", "-f", "-", text=ROLE)
    token = api_server.kubectl("create", "token", "reader", "-n", "team-a").strip()
    admin = from_kubeconfig(api_server.kubeconfig)
    async with KubeClient(admin) as owner, KubeClient(limited(api_server, token)) as reader:
        await owner.create(PULL_SECRETS, secret("early", "ada"), namespace="team-a")
        await owner.create(PULL_SECRETS, {"metadata": {"name": "plain"}, "data": {"x": "eA=="}}, namespace="team-a")
        await owner.create(PULL_SECRETS, secret("early", "bob"), namespace="team-b")
        with pytest.raises(Forbidden):
            await reader.list(SECRETS, namespace="team-b")

        mirror = PullSecrets(reader)
        running = asyncio.create_task(mirror.run(lambda: {"team-a", "team-b"}))

        def users(*names: str, namespace: str = "team-a", account: str = "") -> list[str]:
            tenant = mirror.tenant(Wearer(namespace, names, account))
            return [who.username for one in tenant.secrets for _, who in one.entries]

        await until(lambda: users("early", "plain") == ["ada"])
        await owner.create(PULL_SECRETS, secret("old", "carl", kind=DOCKER_CONFIG), namespace="team-a")
        await until(lambda: users("early", "old") == ["ada", "carl"])
        body = {"data": {DATA_KEYS[DOCKER_CONFIG_JSON]: config("rotated", DOCKER_CONFIG_JSON)}}
        await owner.merge_patch(PULL_SECRETS, "early", body, namespace="team-a")
        await until(lambda: users("early") == ["rotated"])
        api_server.kubectl("patch", "serviceaccount", "reader", "-n", "team-a", "-p",
                           '{"imagePullSecrets": [{"name": "old"}]}')  # fmt: skip
        await until(lambda: users(account="reader") == ["carl"])
        await owner.delete(PULL_SECRETS, "early", namespace="team-a")
        await until(lambda: users("early", "old") == ["carl"])
        assert users("early", namespace="team-b") == [], "refused, and so passed over"
        print(f"team-a by watch: {users('early', 'old')}; team-b, without a Role: {users('early', namespace='team-b')}")
        running.cancel()
        await asyncio.wait({running})


def limited(api_server: Any, token: str) -> Connection:
    """The same server, as the ServiceAccount."""
    context = ssl.create_default_context(cafile=str(api_server.folder / "ca.crt"))
    return plain(api_server.url, token=token, context=context)
