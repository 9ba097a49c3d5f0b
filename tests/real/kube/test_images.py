"""What kube-apiserver makes of `ImageAvailability`, and of Pods copied in two halves."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.holding.mirror import HoldMirror
from controller.images.inventory import Count
from controller.images.mirror import ImageMirror
from controller.images.naming import image_of
from controller.images.status import MOST_NAMESPACES, Known, status_after
from controller.images.uses import Uses
from tidegate.findings import Finding, Missing, ReplicaFinding
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.own import ImageAvailability, ImageAvailabilityStatus
from tidegate.kube.patch import difference
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import Metadata

pytestmark = pytest.mark.real

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DIGESTS = tuple("sha512:" + f"{number:0128x}" for number in range(10))
REPLICAS = ("eastus", "northeurope", "westeurope")


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient(from_kubeconfig(api_server.kubeconfig)) as client:
        yield client


def known(*answers: ReplicaFinding, uses: dict[str, Count]) -> Known:
    return Known(
        answers={answer.replica: answer for answer in answers}, uses=uses, home="eastus", replicas=REPLICAS,
        first_seen=NOON,
    )  # fmt: skip


async def written(client: KubeClient, obj: ImageAvailability, status: ImageAvailabilityStatus) -> ImageAvailability:
    patch = {"status": difference(obj.status, status)}
    return await client.merge_patch(
        IMAGEAVAILABILITIES, obj.metadata.name, patch, subresource="status",
        resource_version=obj.metadata.resource_version,
    )  # fmt: skip


async def test_all_that_is_ever_written_is_taken_and_reads_well(client: KubeClient, api_server: Any) -> None:
    image = image_of(f"r.example/{uuid.uuid4().hex}@{DIGESTS[0]}", {"r.example"})
    assert image is not None
    fresh = ImageAvailability(metadata=Metadata(name=image.name), spec=image.spec)
    made = await client.create(IMAGEAVAILABILITIES, fresh)
    assert made.spec == image.spec

    lacking = Missing(manifests=64, blobs=256, bytes=2**50, of_blobs=256)
    uses = {f"n{number:04}-{'x' * 57}": Count(uses=1, running=1) for number in range(MOST_NAMESPACES)}
    answers = (
        ReplicaFinding("eastus", Finding.OK),
        ReplicaFinding("northeurope", Finding.UNREACHABLE, detail="no route"),
        ReplicaFinding("westeurope", Finding.INCOMPLETE, missing=lacking, lacking=DIGESTS),
    )
    status = status_after(made.status, known(*answers, uses=uses), now=NOON)
    full = await written(client, made, status)
    assert full.status == status
    header, row = api_server.kubectl("get", "ia", image.name).splitlines()
    assert header.split() == ["NAME", "IMAGE", "COMPLETE", "ON", "MISSING", "ON", "UNUSED", "CHANGED", "AGE"]
    assert row.split()[:4] == [image.name, image.text, "eastus", "westeurope"]

    arrived = known(ReplicaFinding("westeurope", Finding.OK), uses={})
    status = status_after(full.status, arrived, now=NOON.replace(hour=13))
    unused = await written(client, full, status)
    assert unused.status == status
    assert (unused.status.unused_since, unused.status.missing_on) == ("2026-11-24T13:00:00Z", "")
    status = status_after(unused.status, known(uses={"": Count(uses=1)}), now=NOON.replace(day=26))
    again = await written(client, unused, status)
    assert (again.status, again.status.namespaces, again.status.unused_since) == (status, [], None)
    await client.delete(IMAGEAVAILABILITIES, image.name)


async def until(condition: Any, *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  the API server's watch
            await asyncio.sleep(0.02)


async def test_a_pod_is_in_one_half_and_changes_to_the_other_when_it_is_placed(
    client: KubeClient, api_server: Any
) -> None:
    name = f"x-{uuid.uuid4().hex[:12]}"
    spec = {"containers": [{"name": "c", "image": "r.example/app:1"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    pending, placed = HoldMirror(client).pods, ImageMirror(client).placed
    running = [asyncio.create_task(one.run()) for one in (pending, placed)]
    key, uses = f"default/{name}", Uses({"r.example"})
    api_server.kubectl("create", "-f", "-", text=json.dumps(pod))
    await until(lambda: key in pending.objects)
    assert key not in placed.objects
    binding = {
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": "default"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
    }  # fmt: skip
    path = f"/api/v1/namespaces/default/pods/{name}/binding"
    api_server.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(binding))
    await until(lambda: key in placed.objects and key not in pending.objects)
    use = uses.of_placed(placed.objects[key])
    assert use is not None
    assert ([image.text for image in use.images], use.ran) == (["r.example/app:1"], frozenset())
    phase = json.dumps({"status": {"phase": "Running"}})
    api_server.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", phase)
    await until(lambda: placed.objects[key].status.phase == "Running")
    assert uses.of_placed(placed.objects[key]) != use
    api_server.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    await until(lambda: key not in placed.objects)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
