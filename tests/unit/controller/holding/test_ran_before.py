"""The verdict that is taken again at the release knows what runs already, as the webhook's does."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from controller.holding.gates import held_of
from controller.holding.judge import Rules
from tidegate.availability import name_of, spec_of
from tidegate.findings import Finding, ImageFinding, Mode
from tidegate.kube.client import KubeClient
from tidegate.kube.own import REPLICA_GATE, ImageAvailability, ImageAvailabilityStatus, NamespaceUse
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import Metadata, Pod
from tidegate.policy import Policy, Settings
from tidegate.reference import ImageReference

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/app@{DIGEST}"
OWNED = {"ownerReferences": [{"apiVersion": "v1", "kind": "ReplicationController", "name": "r", "controller": True}]}
Until = Callable[..., Awaitable[None]]


async def make(client: KubeClient, image: str) -> str:
    """The object of an image that runs nowhere yet; its name."""
    spec = spec_of(ImageReference.parse(image), image)
    name = name_of(spec)
    await client.create(IMAGEAVAILABILITIES, ImageAvailability(metadata=Metadata(name=name), spec=spec))
    return name


async def runs(client: KubeClient, name: str, *namespaces: str) -> None:
    uses = [{"name": namespace, "since": "2026-11-24T12:00:00Z"} for namespace in namespaces]
    await client.merge_patch(IMAGEAVAILABILITIES, name, {"status": {"namespaces": uses}}, subresource="status")


@pytest.mark.parametrize("finding", [Finding.ABSENT, Finding.MISMATCH])
async def test_an_owned_pod_goes_on_when_its_image_is_known_to_have_run_here(
    held: Any, eventually: Until, finding: Finding
) -> None:
    held.replicas.findings["app"] = finding
    name = await make(held.client, APP)
    held.pod("mine", APP, metadata=OWNED)
    held.pod("nobodys", APP)
    reason = "ReplicaLagging" if finding is Finding.ABSENT else "ReplicaDenied"
    async with held.controlled():
        await eventually(lambda: reason in held.events("mine") and reason in held.events("nobodys"))
        await runs(held.client, name, "elsewhere")
        await runs(held.client, name, "default", "elsewhere")
        await eventually(lambda: held.held() == {"nobodys"})
        await eventually(lambda: "RanBefore" in held.events("mine"))
    assert held.events("mine")["RanBefore"].endswith(f"{APP} is {finding.value}, but ran here before")


async def test_what_ran_before_is_not_held_again_by_another_controller(held: Any, eventually: Until) -> None:
    held.replicas.findings["app"] = Finding.ABSENT
    await runs(held.client, await make(held.client, APP), "default")
    held.pod("mine", APP, metadata=OWNED)
    async with held.controlled():
        await eventually(lambda: held.held() == set())


@pytest.mark.parametrize(
    "finding, namespace, owned, verdict",
    [
        ("absent", "shop", True, "warn"), ("absent", "shop", False, "hold"), ("absent", "bank", True, "hold"),
        ("mismatch", "shop", True, "warn"), ("mismatch", "bank", True, "deny"),
        ("unreachable", "bank", False, "warn"), ("unauthorized", "bank", True, "hold"),
        ("unauthorized", "shop", False, "warn"),
    ],
)  # fmt: skip
def test_it_is_the_webhooks_verdict(finding: str, namespace: str, *, owned: bool, verdict: str) -> None:
    spec = spec_of(ImageReference.parse(APP), APP)
    status = ImageAvailabilityStatus(namespaces=[NamespaceUse(name=namespace)])
    objects = {name_of(spec): ImageAvailability(spec=spec, status=status)}
    metadata = {"name": "p", "namespace": "shop", "uid": "u", **(OWNED if owned else {})}
    gated = {"containers": [{"name": "c", "image": APP}], "schedulingGates": [{"name": REPLICA_GATE}]}
    one = held_of(msgspec.convert({"metadata": metadata, "spec": gated}, Pod), now=datetime.now(UTC))
    assert one is not None
    rules = Rules(Policy(Settings(mode=Mode.ENFORCE)), frozenset({"r.example"}))
    known = {APP: ImageFinding(APP, Finding(finding))}
    decision = rules.judge(one, {}, known, objects).decision
    assert decision is not None
    assert decision.verdict.value == verdict
    alone = rules.judge(one, {}, known).decision
    assert alone is not None
    assert alone.verdict.value == ("deny" if finding == "mismatch" else "hold"), "without the objects nothing runs"
