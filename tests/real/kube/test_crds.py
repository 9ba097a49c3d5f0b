"""What kube-apiserver makes of our CRDs: what it refuses, what it fills in, what kubectl shows."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.errors import Invalid
from tidegate.kube.own import (
    Grant,
    NodeImage,
    NodeImageStatus,
    NodePull,
    NodePullSpec,
    NodePullStatus,
    Phase,
    PrePull,
    PrePullSpec,
    Reason,
    RegistryAddresses,
)
from tidegate.kube.resources import NODEPULLS, PREPULLS
from tidegate.kube.shapes import Metadata, Toleration

pytestmark = pytest.mark.real


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[KubeClient]:
    async with KubeClient(from_kubeconfig(api_server.kubeconfig)) as client:
        yield client


def fresh() -> str:
    return f"x-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    "spec,words",
    [
        pytest.param({}, "images: Required", id="no images"),
        pytest.param({"images": []}, "at least 1", id="empty images"),
        pytest.param({"images": [f"i:{number}" for number in range(65)]}, "at most 64", id="too many images"),
        pytest.param({"images": ["a", "a"]}, "Duplicate", id="an image twice"),
        pytest.param({"images": [""]}, "at least 1 chars", id="an empty image"),
        pytest.param({"images": ["a" * 1025]}, "may not be more than 1024", id="a long image"),
        pytest.param({"images": ["a b"]}, "should match", id="a space"),
        pytest.param({"images": ["a\n"]}, "should match", id="a newline"),
        pytest.param({"images": ["$(reboot)"]}, "should match", id="a shell's idea"),
        pytest.param({"images": ["https://r.io/a"]}, "without https", id="a URL"),
        pytest.param({"images": ["r.io/a@sha256:12"]}, "with all its digits", id="half a digest"),
        pytest.param({"images": [f"r.io/a@md5:{'0' * 32}"]}, "a digest is sha256", id="a digest of another kind"),
        pytest.param({"images": [7]}, "must be of type string", id="a number"),
        pytest.param({"images": ["a"], "priority": 2**31}, "priority", id="priority beyond 32 bits"),
        pytest.param({"images": ["a"], "priority": "high"}, "priority", id="priority in words"),
        pytest.param({"images": ["a"], "nodeSelector": {"a": 1}}, "nodeSelector.a", id="a label that is a number"),
        pytest.param({"images": ["a"], "tolerations": [{}]}, "must be Exists when key is empty", id="no key"),
        pytest.param(
            {"images": ["a"], "tolerations": [{"operator": "Exists", "key": "k", "value": "v"}]},
            "must be empty when operator is Exists", id="Exists with a value",
        ),
        pytest.param({"images": ["a"], "tolerations": [{"key": "k", "effect": "X"}]}, "Unsupported value", id="effect"),
    ],
)  # fmt: skip
async def test_a_wrong_pre_pull_is_refused(client: KubeClient, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await client.create(PREPULLS, {"metadata": {"name": fresh()}, "spec": spec}, namespace="default")


@pytest.mark.parametrize(
    "images,words",
    [
        pytest.param([{"bytes": 1}], "image: Required", id="no image"),
        pytest.param([{"image": "a", "bytes": -1}], "greater than or equal to 0", id="less than nothing"),
        pytest.param([{"image": "a", "grant": {"id": "g"}}], "expiresAt: Required", id="half a grant"),
        pytest.param(
            [{"image": "a", "grant": {"id": "g", "seconds": 1, "expiresAt": "soon"}}], "date-time", id="no time"
        ),
    ],
)
async def test_a_wrong_node_pull_is_refused(client: KubeClient, images: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await client.create(NODEPULLS, {"metadata": {"name": fresh()}, "spec": {"images": images}})


async def test_everything_that_the_shapes_can_say_is_kept(client: KubeClient) -> None:
    tolerations = [Toleration(operator="Exists"), Toleration(key="k", value="v", effect="NoSchedule")]
    images = ["b", "a@sha256:" + "0" * 64]
    wanted = PrePullSpec(images=images, node_selector={"a/b": "c"}, tolerations=tolerations, priority=-5)
    made = await client.create(PREPULLS, PrePull(metadata=Metadata(name=fresh()), spec=wanted), namespace="default")
    assert made.spec == wanted

    grant = Grant(id="g", expires_at="2030-01-01T00:00:00.123456Z", seconds=0.25)
    spec = NodePullSpec(node_uid="u", images=[NodeImage(image="a", bytes=2**40, grant=grant), NodeImage(image="b")])
    node = await client.create(NODEPULLS, NodePull(metadata=Metadata(name=fresh()), spec=spec))
    assert node.spec == spec

    image = NodeImageStatus(
        image="a", phase=Phase.FAILED, reason=Reason.THROTTLED, message="429", grant="g", attempts=3, bytes=2**40,
        collected=2, started_at="2030-01-01T00:00:00Z", finished_at="2030-01-01T00:00:01.5Z", throttled=True,
        retry_after_seconds=0.5,
    )  # fmt: skip
    status = NodePullStatus(
        node_uid="u", agent="n", observed_generation=1, wanted=2, present=1, pulling="b",
        images=[image, *[NodeImageStatus(image=f"b{reason}", reason=reason) for reason in Reason]],
        addresses=[RegistryAddresses(registry="r.io:5000", addresses=["10.0.0.1", "fd00::1"])], advice=["a: b"],
    )  # fmt: skip
    patched = await client.merge_patch(NODEPULLS, node.metadata.name, {"status": status}, subresource="status")
    assert patched.status == status


async def test_who_wrote_what_is_told_in_few_words(client: KubeClient, api_server: Any) -> None:
    name, images = fresh(), [f"r.io/app-{number}@sha256:{number:064x}" for number in range(20)]
    spec = NodePullSpec(images=[NodeImage(image=image) for image in images])
    await client.create(NODEPULLS, NodePull(metadata=Metadata(name=name), spec=spec))
    said = NodePullStatus(images=[NodeImageStatus(image=image, phase=Phase.PRESENT, grant="g") for image in images])
    await client.merge_patch(NODEPULLS, name, {"status": said}, subresource="status")
    whole = api_server.get(f"/apis/tidegate.dev/v1alpha1/nodepulls/{name}")
    owners = json.dumps(json.loads(whole)["metadata"]["managedFields"])
    assert len(owners) < len(whole) / 5, "every write is read, checked and told with these"


async def test_kubectl_shows_what_matters(client: KubeClient, api_server: Any) -> None:
    name, node = fresh(), fresh()
    wanted = PrePull(metadata=Metadata(name=name), spec=PrePullSpec(images=["r.io/a:1"]))
    await client.create(PREPULLS, wanted, namespace="default")
    reached = {"status": {"nodes": 3, "ready": 1}}
    await client.merge_patch(PREPULLS, name, reached, namespace="default", subresource="status")
    await client.create(NODEPULLS, NodePull(metadata=Metadata(name=node)))
    status = {"wanted": 2, "pulling": "r.io/a:1"}
    await client.merge_patch(NODEPULLS, node, {"status": status}, subresource="status")

    header, row = api_server.kubectl("get", "pp", name).splitlines()
    assert header.split() == ["NAME", "NODES", "READY", "AGE"]
    assert row.split()[:3] == [name, "3", "1"]
    header, row = api_server.kubectl("get", "np", node).splitlines()
    assert header.split() == ["NAME", "WANTED", "PRESENT", "PULLING", "AGE"]
    assert row.split()[:4] == [node, "2", "0", "r.io/a:1"]
    assert name in api_server.kubectl("get", "tidegate", "-A")


@pytest.mark.parametrize(
    "path,words",
    [
        ("prepull", "asks for images to be on nodes"), ("prepull.spec.images", "spelled exactly as the Pods spell"),
        ("prepull.status.ready", "Nodes that have all of them"), ("nodepull", "how far each is"),
        ("nodepull.spec.images.grant", "Leave to pull this image once"), ("nodepull.status.images.phase", "Skipped"),
    ],
)  # fmt: skip
def test_kubectl_explains(api_server: Any, path: str, words: str) -> None:
    assert words in " ".join(api_server.kubectl("explain", path).split())


def test_the_pages_of_kubectl_explain(api_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [api_server.kubectl("explain", path) for path in ("nodepull.status", "prepull.spec", "prepull.status")]
    assert all("<no description>" not in page for page in pages)
    with capsys.disabled():
        print("\n" + "\n".join(pages))


async def test_a_changed_spec_is_a_new_generation(client: KubeClient) -> None:
    name = fresh()
    wanted = PrePull(metadata=Metadata(name=name), spec=PrePullSpec(images=["r.io/a:1"]))
    made = await client.create(PREPULLS, wanted, namespace="default")
    spec = {"spec": {"images": ["r.io/b:1"], "nodeSelector": {"a": "b"}, "priority": 5}}
    changed = await client.merge_patch(PREPULLS, name, spec, namespace="default")
    assert (made.metadata.generation, changed.metadata.generation) == (1, 2), "nothing is frozen"
    assert changed.spec == PrePullSpec(images=["r.io/b:1"], node_selector={"a": "b"}, priority=5)
