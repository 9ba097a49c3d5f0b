"""Pull secrets against a registry that wants a password or tokens, double and real: source × what matched × result."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from tidegate.completeness import Checker
from tidegate.config import parse
from tidegate.findings import Finding
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.auth.docker_config import docker_config_entries
from tidegate.registry.auth.tenants import NOBODY, PullSecret, Tenant, tenant_of
from tidegate.replicas import open_registries
from tidegate.testing.images import Image, build_image
from tidegate.testing.push import push_image

HOST = "r.example"
OK, REFUSED = Finding.OK, Finding.UNAUTHORIZED


def worn(namespace: str, key: str, user: str, password: str, *, old: bool = False) -> Tenant:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    document = {key: {"auth": auth}}
    raw = json.dumps(document if old else {"auths": document}).encode()
    return tenant_of(namespace, [PullSecret("regcred", docker_config_entries(raw))])


Row = tuple[str, str, Tenant, Finding]
GOOD = ("reader", "made-up")
ROWS: list[Row] = [
    ("none", "-", NOBODY, REFUSED),
    ("dockerconfigjson, team-a", "host", worn("team-a", HOST, *GOOD), OK),
    ("none, after team-a was told", "-", NOBODY, REFUSED),
    ("wrong tenant: team-b, wrong password", "host", worn("team-b", HOST, "reader", "guessed"), REFUSED),
    ("wrong tenant: team-b, another host's key", "nothing", worn("team-b", "q.example", *GOOD), REFUSED),
    ("wrong tenant: team-b, another path's key", "nothing", worn("team-b", f"{HOST}/other", *GOOD), REFUSED),
    ("wrong tenant: team-c, good but not listed", "nothing", worn("team-c", HOST, *GOOD), REFUSED),
    ("dockercfg, team-b", "https://HOST/v1/", worn("team-b", f"https://{HOST}/v1/", *GOOD, old=True), OK),
    ("dockerconfigjson, team-b", "glob of a label", worn("team-b", "*.example", *GOOD), OK),
    ("dockerconfigjson, team-b", "path prefix", worn("team-b", f"{HOST}/team", *GOOD), OK),
    ("team-a once more", "host", worn("team-a", HOST, *GOOD), OK),
]


@asynccontextmanager
async def checking(url: str) -> AsyncIterator[Checker]:
    text = json.dumps({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Config",
        "registries": [{
            "host": HOST, "replicas": {"west": {"endpoint": url}},
            "auth": [{"pullSecrets": {"namespaces": ["team-a", "team-b"]}}, {"anonymous": {}}],
        }],
    })  # fmt: skip
    metrics = Metrics(CollectorRegistry(), program="test")
    async with open_registries(parse(text), metrics=metrics) as registries:
        checker = Checker(registries, platforms=["linux/amd64"], metrics=metrics)
        yield checker
        await checker.aclose()


async def told(url: str, repository: str, image: Image) -> list[Finding]:
    """Row after row by one checker, as one process would be asked."""
    text = f"{HOST}/{repository}@{image.digest}"
    reference = ImageReference.parse(text)
    answers = []
    async with checking(url) as checker:
        for source, matched, tenant, expected in ROWS:
            deadline = asyncio.get_running_loop().time() + 10.0
            found = await checker.check(text, reference, deadline=deadline, tenant=tenant)
            requests = sum(answer.requests for answer in found.replicas)
            print(f"| {source} | {matched} | {found.finding.value} | {requests} |")
            assert found.finding is expected, f"{source}: {found}"
            assert "guessed" not in repr(found)
            assert "made-up" not in repr(found)
            answers.append(found.finding)
    return answers


EXPECTED = [row[3] for row in ROWS]


async def test_by_password(http: aiohttp.ClientSession, locked: str) -> None:
    image = build_image()
    headers = {"Authorization": aiohttp.encode_basic_auth(*GOOD)}
    await push_image(http, locked, "team/app", image, tag="1", headers=headers)

    assert await told(locked, "team/app", image) == EXPECTED


async def test_by_token(http: aiohttp.ClientSession, guarded: Any) -> None:
    image = build_image()
    query = {"service": "registry.test", "scope": "repository:team/app:pull,push"}
    headers = {"Authorization": aiohttp.encode_basic_auth("writer", "made-up-too")}
    async with http.get(guarded.tokens.realm, params=query, headers=headers) as response:
        bearer = {"Authorization": f"Bearer {(await response.json())['token']}"}
    await push_image(http, guarded.url, "team/app", image, tag="1", headers=bearer)

    assert await told(guarded.url, "team/app", image) == EXPECTED
