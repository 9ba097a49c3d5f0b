"""Held Pods are asked about in the name of their own namespace's secrets, where those count."""

import base64
import json
from collections import Counter
from typing import Any

from tidegate.findings import Finding, ImageFinding
from tidegate.reference import ImageReference
from tidegate.registry.auth.tenants import NOBODY, Tenant

APP = "r.example/app@sha256:" + "a" * 64


class Doors:
    """A replica that has everything, and opens to some users only."""

    def __init__(self, *users: str) -> None:
        self.users = set(users)
        self.asked: Counter[str] = Counter()

    def asked_by(self, tenant: Tenant) -> "Door":
        return Door(self, tenant)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        return await self.asked_by(NOBODY).check(image, reference, deadline=deadline)


class Door:
    def __init__(self, doors: Doors, tenant: Tenant) -> None:
        self._doors = doors
        self._tenant = tenant

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        del reference, deadline
        assert image == APP
        who = {one.username for secret in self._tenant.secrets for _, one in secret.entries}
        self._doors.asked["+".join(sorted(who)) or "nobody"] += 1
        return ImageFinding(
            image, Finding.OK if who & self._doors.users else Finding.UNAUTHORIZED, replica="westeurope"
        )


def secret(namespace: str, user: str, password: str = "x") -> dict[str, Any]:
    config = json.dumps({"auths": {"r.example": {"username": user, "password": password}}}).encode()
    return {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "regcred", "namespace": namespace},
        "data": {".dockerconfigjson": base64.b64encode(config).decode()},
    }  # fmt: skip


OWN = {"imagePullSecrets": [{"name": "regcred"}]}


async def test_one_namespaces_right_releases_no_other_namespaces_pods(held: Any, eventually: Any) -> None:
    for name in "abc":
        held.namespace(name)
        held.api.put(secret(name, "eve" if name == "b" else "ada"), plural="secrets")
        held.pod(name, APP, namespace=name, **OWN)
    held.pod("bare", APP, namespace="a")
    doors = Doors("ada")
    async with held.controlled(checker=doors, pull_secrets=("a", "b")):
        await eventually(lambda: "a" not in held.held())
        await eventually(lambda: {"eve", "nobody"} <= doors.asked.keys() and "ReplicaLagging" in held.events("b"))
        assert held.held() == {"b", "c", "bare"}, (
            "wrong user; a namespace that is not listed; a Pod that brings nothing"
        )
        assert "eve" not in str(held.events("b"))

        held.api.put(secret("b", "ada"), plural="secrets")
        await eventually(lambda: held.held() == {"c", "bare"})


async def test_many_pods_of_one_namespace_and_image_cost_one_question(held: Any, eventually: Any) -> None:
    held.namespace("a")
    held.api.put(secret("a", "ada"), plural="secrets")
    doors = Doors()
    for number in range(50):
        held.pod(f"p{number}", APP, namespace="a", **OWN)
    async with held.controlled(checker=doors, pull_secrets=("a",)) as holds:
        await eventually(lambda: doors.asked["ada"] == 2)
        assert holds.awaits(APP)
        assert doors.asked.total() - doors.asked["nobody"] == 2
        doors.users.add("ada")
        await eventually(lambda: not held.held())
        await eventually(lambda: not holds.awaits(APP))
