"""Whose pull secrets come to a node: those of who asked for that image there, in a listed namespace."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from controller.mirror import Mirror
from controller.pullsecrets.owners import MOST, Owners
from tidegate.config import Config
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import DEPLOYMENTS, NODES, PREPULLS
from tidegate.pull_secrets import Wearer
from tidegate.registry.auth.credentials import UserPassword
from tidegate.registry.auth.tenants import NOBODY, PullSecret, Tenant, tenant_of
from tidegate.testing.apiserver import ApiServerDouble

IMAGE = "registry.test/app:1"
CONFIG = Config.model_validate(
    {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Config",
        "registries": [
            {
                "host": "registry.test",
                "replicas": {"one": {"endpoint": "https://registry.test"}},
                "auth": [{"pullSecrets": {"namespaces": ["team-a", "team-b"]}}],
            },
            {"host": "other.test", "replicas": {"one": {"endpoint": "https://other.test"}}},
        ],
    }
)


@dataclass
class World:
    """`secrets`: what each wearer has, as user names under keys."""

    api: ApiServerDouble
    mirror: Mirror
    secrets: dict[Wearer, dict[str, str]]

    def tenant(self, wearer: Wearer) -> Tenant:
        if wearer not in self.secrets:
            return NOBODY
        entries = tuple((key, UserPassword(name, f"secret of {name}")) for key, name in self.secrets[wearer].items())
        return tenant_of(wearer.namespace, [PullSecret("registry", entries)])

    async def users(self, image: str = IMAGE, node: str = "node-1") -> list[str]:
        workloads = self.mirror.workloads[DEPLOYMENTS]
        copies = ((NODES, self.mirror.nodes), (PREPULLS, self.mirror.prepulls), (DEPLOYMENTS, workloads))
        for resource, reflector in copies:
            there = self.api.objects(resource.group, resource.plural)
            async with asyncio.timeout(5):
                while len(reflector.objects) != len(there):
                    await reflector.changed()
        owners = Owners(self.mirror, tenant=self.tenant, config=lambda: CONFIG)
        return [who.username for who in owners.credentials(node, image)]

    def workload(self, namespace: str, name: str, *, prepull: bool = True, uid: str = "", **spec: Any) -> None:
        """A Deployment, and the PrePull that is kept for it."""
        pod = {"containers": [{"name": "c", "image": IMAGE}], **spec}
        made = self.api.put(
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
                "spec": {"template": {"spec": pod}},
            },
            plural="deployments",
        )  # fmt: skip
        if prepull:
            owner = {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid or made["metadata"]["uid"],
                "controller": True,
            }  # fmt: skip
            self.prepull(namespace, f"deployment-{name}", ownerReferences=[owner])

    def prepull(self, namespace: str, name: str, *, selector: dict[str, str] | None = None, **metadata: Any) -> None:
        spec = {"images": [IMAGE], "nodeSelector": selector or {}}
        self.api.put(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "PrePull",
                "metadata": {"name": name, "namespace": namespace, **metadata}, "spec": spec,
            },
            plural="prepulls",
        )  # fmt: skip


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        labels = {"pool": "a"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": labels}}
        api.put(node, plural="nodes")
        mirror = Mirror(client)
        running = [asyncio.create_task(reflector.run()) for _, reflector in mirror.reflectors()]
        await mirror.synced()
        named = {"registry.test": "ada"}
        yield World(api, mirror, {Wearer("team-a", ("own",)): named, Wearer("team-a", account="default"): named})
        for task in running:
            task.cancel()
        await asyncio.wait(running)


OWN = {"imagePullSecrets": [{"name": "own"}]}


@pytest.mark.parametrize(
    "namespace, spec, users",
    [
        pytest.param("team-a", OWN, ["ada"], id="its-own"),
        pytest.param("team-a", {}, ["ada"], id="of-its-service-account"),
        pytest.param("team-a", {"serviceAccountName": "other"}, [], id="of-one-that-has-none"),
        pytest.param("team-a", {"imagePullSecrets": [{"name": "no"}]}, [], id="one-that-is-not-there"),
        pytest.param("team-a", {**OWN, "nodeSelector": {"pool": "a"}}, ["ada"], id="its-pods-could-run-there"),
        pytest.param("team-a", {**OWN, "nodeSelector": {"pool": "b"}}, [], id="its-pods-run-elsewhere"),
        pytest.param("team-b", OWN, [], id="the-same-name-in-another-namespace"),
        pytest.param("team-c", OWN, [], id="not-listed"),
    ],
)
async def test_of_a_workload(world: World, namespace: str, spec: dict[str, Any], users: list[str]) -> None:
    world.workload(namespace, "web", **spec)
    world.secrets[Wearer("team-c", ("own",))] = {"registry.test": "eve"}
    assert await world.users() == users


async def test_of_a_prepull_that_somebody_wrote(world: World) -> None:
    world.prepull("team-a", "by-hand")
    assert await world.users() == ["ada"]
    assert await world.users(node="node-2") == []


async def test_a_prepull_that_somebody_wrote_for_other_nodes(world: World) -> None:
    world.prepull("team-a", "by-hand", selector={"pool": "b"})
    assert await world.users() == []


async def test_a_prepull_of_a_workload_that_is_gone_or_was_made_anew(world: World) -> None:
    world.workload("team-a", "web", uid="of-the-former", **OWN)
    assert await world.users() == []


async def test_only_who_asked_for_the_image(world: World) -> None:
    world.workload("team-a", "web", prepull=False, **OWN)
    assert await world.users() == []


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("registry.test/app:2", id="another-tag"),
        pytest.param("other.test/app:1", id="a-registry-without-pull-secrets"),
        pytest.param("nowhere.test/app:1", id="a-registry-that-is-not-listed"),
        pytest.param("registry.test/App", id="no-image"),
    ],
)
async def test_another_image(world: World, image: str) -> None:
    world.workload("team-a", "web", **OWN)
    assert await world.users(image) == []


async def test_what_is_for_other_registries_stays_here(world: World) -> None:
    world.workload("team-a", "web", **OWN)
    world.secrets[Wearer("team-a", ("own",))] = {"else.test": "eve", "registry.test/app": "app", "registry.test": "ada"}
    assert await world.users() == ["app", "ada"]


async def test_each_once_and_no_more_than_an_agent_tries(world: World) -> None:
    for number in range(9):
        world.secrets[Wearer("team-a", (f"s{number}",))] = {"registry.test": f"user-{number // 2}"}
        world.workload("team-a", f"web-{number}", imagePullSecrets=[{"name": f"s{number}"}])
    assert await world.users() == ["user-0", "user-1", "user-2"][:MOST]


async def test_who_asked_for_an_image_on_whichever_node(world: World) -> None:
    world.workload("team-a", "web", **OWN, nodeSelector={"pool": "b"})
    world.workload("team-a", "same", **OWN)
    world.workload("team-c", "not-listed", **OWN)
    await world.users()
    owners = Owners(world.mirror, tenant=world.tenant, config=lambda: CONFIG)
    assert [tenant.namespace for tenant in owners.tenants(IMAGE)] == ["team-a"]
    for image in ("registry.test/app:2", "nowhere.test/app:1", "registry.test/App"):
        assert owners.tenants(image) == ()
