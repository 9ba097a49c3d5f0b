"""The shipped program with the pull secrets of two namespaces: who is told what, and what it costs the registry."""

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tidegate.config import ConfigError, parse
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.images import build_image
from tidegate.testing.registry import Account, BearerGuard, Kind, RegistryDouble, TokenServer
from webhook.live import check

PASSWORD = "correct-horse"
IMAGE = build_image(layers=2)
NAME = f"r.example/team/app@{IMAGE.digest}"


def secret(namespace: str, name: str, user: str, password: str = PASSWORD) -> dict[str, Any]:
    config = {"auths": {"r.example": {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}}
    return {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace},
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()},
    }  # fmt: skip


def account(namespace: str, name: str, *secrets: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        "imagePullSecrets": [{"name": secret} for secret in secrets],
    }  # fmt: skip


def named(*names: str) -> dict[str, Any]:
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


async def test_each_namespace_is_told_what_its_own_secrets_may_read(
    programs: Any, make: Any, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    accounts = {
        "ada": Account(password=PASSWORD, pull=("team/app",)), "bob": Account(password=PASSWORD, pull=("team/app",)),
        "eve": Account(password=PASSWORD, pull=("team/other",)),
    }  # fmt: skip
    async with (
        ApiServerDouble() as api,
        TokenServer(accounts, anonymous=None) as tokens,
        RegistryDouble(guard=BearerGuard(tokens)) as replica,
    ):
        replica.put("team/app", IMAGE)
        for obj in (
            secret("a", "ada", "ada"),
            secret("b", "bob", "bob"),
            secret("b", "eve", "eve"),
            secret("c", "ada", "ada"),
        ):
            api.put(obj, plural="secrets")
        api.put(account("b", "puller", "bob"), plural="serviceaccounts")
        text = programs.config(
            f'{{host: r.example, replicas: {{west: {{endpoint: "{replica.url}"}}}},'
            " auth: [{pullSecrets: {namespaces: [a, b]}}, {anonymous: {}}]}"
        )
        kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))

        async with programs.running(tmp_path, text, "--kubeconfig", kubeconfig, "--namespace", "gate") as child:

            async def told(namespace: str, *names: str) -> tuple[str, int]:
                before = replica.count(kind=Kind.MANIFEST)
                body = make.review(make.pod(NAME, **named(*names)), namespace=namespace)
                said = (await child.ask(session, body, "/validate")).said
                return said[2], replica.count(kind=Kind.MANIFEST) - before

            assert (await told("a", "ada"))[0] == "ok"
            assert await told("a", "ada") == ("ok", 0)
            assert await told("b", "bob") == ("ok", 1)
            assert await told("b", "bob") == ("ok", 0)
            assert (await told("b", "eve"))[0] == "unauthorized"
            assert (await told("b", "missing"))[0] == "unauthorized"
            assert (await told("c", "ada"))[0] == "unauthorized", "a namespace that is not listed"
            assert (await told("a"))[0] == "unauthorized", (
                "whoever may write in a namespace does not read by its secrets"
            )

            workload = {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "p"},
                "spec": {"template": {"spec": make.pod_spec(NAME, serviceAccountName="puller")}},
            }  # fmt: skip
            body = make.review(workload, kind="Deployment", group="apps", namespace="b")
            assert (await child.ask(session, body, "/validate")).said == (True, "allow", "ok")

            mutated = await child.ask(session, make.review(make.pod(NAME, **named("eve")), namespace="b"), "/mutate")
            assert make.patch_of(mutated), "held, as it may not be told"

            api.put(secret("b", "late", "bob"), plural="secrets")

            async def arrived() -> bool:
                return (await told("b", "late"))[0] == "ok"

            await programs.until(arrived, within_s=10)
            assert await child.end() == 0
            assert PASSWORD not in child.log
            assert base64.b64encode(f"bob:{PASSWORD}".encode()).decode() not in child.log


def test_without_an_api_server_pull_secrets_are_refused_with_their_path() -> None:
    text = json.dumps({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config",
        "registries": [{
            "host": "r.example", "replicas": {"west": {"endpoint": "http://127.0.0.1:1"}},
            "auth": [{"anonymous": {}}, {"pullSecrets": {"namespaces": ["a"]}}],
        }],
    })  # fmt: skip
    check(parse(text), standalone=False)
    with pytest.raises(ConfigError, match=r"^registries\[0\]\.auth\[1\]\.pullSecrets: "):
        check(parse(text), standalone=True)
