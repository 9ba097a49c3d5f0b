"""The double under the suite that also runs on kube-apiserver, and what only the double can do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.errors import Gone, Invalid, NotFound, Unavailable
from tidegate.kube.own import NodePull, PrePull, PrePullSpec
from tidegate.kube.reflector import Pauses, Reflector
from tidegate.kube.resources import LEASES, NAMESPACES, NODEPULLS, NODES, PREPULLS, Resource
from tidegate.kube.shapes import Lease, Metadata, Namespace, Workload
from tidegate.kube.watching import EventType
from tidegate.testing.apiserver import ApiServerDouble, Seen
from tidegate.testing.apiserver_conformance import ObjectsConformance
from tidegate.testing.apiserver_conformance_lists import ListsConformance, WatchesConformance


@dataclass(frozen=True, slots=True)
class Double:
    client: KubeClient
    api: ApiServerDouble

    async def forget(self) -> None:
        self.api.compact()


@pytest.fixture
async def server() -> AsyncIterator[Double]:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        yield Double(client, api)


class TestObjects(ObjectsConformance):
    pass


class TestLists(ListsConformance):
    pass


class TestWatches(WatchesConformance):
    pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  loopback requests
            await asyncio.sleep(0.001)


def named(name: str) -> NodePull:
    return NodePull(metadata=Metadata(name=name))


async def test_it_is_started_once(server: Double) -> None:
    with pytest.raises(RuntimeError, match="make a new one"):
        await server.api.__aenter__()


async def test_it_has_the_namespaces_that_every_cluster_has(server: Double) -> None:
    listed = await server.client.list(NAMESPACES)

    assert [item.metadata.name for item in listed.items] == ["default", "kube-node-lease", "kube-public", "kube-system"]


async def test_it_holds_what_it_has_never_heard_of(server: Double) -> None:
    widgets = Resource("example.com", "v3", "widgets", "Widget", namespaced=True, shape=Workload)
    await server.client.create(widgets, {"metadata": {"name": "w"}, "spec": {"a": 1}}, namespace="default")

    assert (await server.client.list(widgets)).items[0].spec == {"a": 1}
    assert server.api.objects("example.com", "widgets")[0]["kind"] == "Widget"


async def test_a_deleted_namespace_takes_its_objects_along(server: Double) -> None:
    await server.client.create(NAMESPACES, Namespace(metadata=Metadata(name="ns")))
    wanted = PrePull(metadata=Metadata(name="p"), spec=PrePullSpec(images=["a"]))
    await server.client.create(PREPULLS, wanted, namespace="ns")

    await server.client.delete(NAMESPACES, "ns")

    assert server.api.objects("tidegate.dev", "prepulls") == []


async def test_objects_can_be_put_and_read_from_inside(server: Double) -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": status}

    server.api.put(body, plural="nodes")

    assert (await server.client.get(NODES, "n")).status.conditions[0].type == "Ready"
    assert [item["metadata"]["name"] for item in server.api.objects("", "nodes")] == ["n"]


async def test_it_records_what_arrives(server: Double) -> None:
    await server.client.create(NODEPULLS, named("n"))
    await server.client.merge_patch(NODEPULLS, "n", {"status": {"present": 1}}, subresource="status")

    path = "/apis/tidegate.dev/v1alpha1/nodepulls"
    assert list(server.api.requests) == [Seen("POST", path, ""), Seen("PATCH", f"{path}/n/status", "")]


async def test_refusals_come_when_they_are_asked_for(server: Double) -> None:
    server.api.fail_next(2)

    for _ in range(2):
        with pytest.raises(Unavailable, match="on purpose"):
            await server.client.get(NAMESPACES, "default")
    await server.client.get(NAMESPACES, "default")


async def test_a_lease_has_no_generation(server: Double) -> None:
    made = await server.client.create(LEASES, Lease(metadata=Metadata(name="l")), namespace="default")

    assert made.metadata.generation == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"kind": "PrePull", "metadata": {"name": "x"}}, id="another kind"),
        pytest.param({"apiVersion": "tidegate.dev/v9", "metadata": {"name": "x"}}, id="another version"),
    ],
)
async def test_what_does_not_belong_there_is_invalid(server: Double, body: dict[str, Any]) -> None:
    url = f"{server.api.url}/apis/tidegate.dev/v1alpha1/nodepulls"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    "method,path,media_type,code",
    [
        ("GET", "/", "", 404), ("GET", "/api", "", 404), ("GET", "/apis/apps", "", 404), ("GET", "/metrics", "", 404),
        ("GET", "/api/v1/nodes/n/status/more", "", 404), ("GET", "/api/v1/nodes/n/proxy", "", 404),
        ("POST", "/api/v1/namespaces/default/pods/p", "", 405), ("DELETE", "/api/v1/nodes", "", 405),
        ("POST", "/api/v1/pods", "", 404), ("PATCH", "/api/v1/namespaces/default", "application/json", 415),
        ("PATCH", "/api/v1/namespaces/default", "application/apply-patch+yaml", 415),
        ("PATCH", "/api/v1/namespaces/nope", "application/merge-patch+json", 404),
        ("PUT", "/api/v1/namespaces/default", "", 200), ("GET", "/readyz", "", 200),
        ("GET", "/api/v1/nodes?watch=1&resourceVersion=x", "", 400), ("GET", "/api/v1/nodes?continue=x", "", 400),
        ("GET", "/api/v1/namespaces/default/status", "", 200),
    ],
)  # fmt: skip
async def test_paths_and_verbs(server: Double, method: str, path: str, media_type: str, code: int) -> None:
    headers = {"Content-Type": media_type or "application/json"}
    data = None if method == "GET" else b"{}"
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, server.api.url + path, data=data, headers=headers) as answer,
    ):
        assert answer.status == code, await answer.text()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_a_bad_request(server: Double, body: bytes) -> None:
    url = f"{server.api.url}/api/v1/nodes"
    async with aiohttp.ClientSession() as http, http.post(url, data=body) as answer:
        assert answer.status == 400


async def test_a_put_names_the_version_that_it_replaces(server: Double) -> None:
    made = await server.client.create(NODEPULLS, named("n"))
    url = f"{server.api.url}/apis/tidegate.dev/v1alpha1/nodepulls/n"
    version = made.metadata.resource_version
    async with aiohttp.ClientSession() as http:
        for resource_version, code in (("", 422), ("1", 409), (version, 200), (version, 409)):
            metadata = {"name": "n", "resourceVersion": resource_version}
            async with http.put(url, json={"metadata": metadata, "spec": {"nodeUid": "u"}}) as answer:
                assert answer.status == code

    assert (await server.client.get(NODEPULLS, "n")).spec.node_uid == "u"


async def test_bookmarks_come_when_they_are_asked_for(server: Double) -> None:
    watch = server.client.watch(NODES, resource_version=str(1))
    async with asyncio.timeout(5), aclosing(watch):
        made = asyncio.create_task(anext(watch))
        await until(lambda: server.api.watches == 1)
        await asyncio.sleep(0)
        server.api.bookmark()
        assert (await made).type is EventType.BOOKMARK


async def test_open_watches_outlive_a_compaction(server: Double) -> None:
    watch = server.client.watch(NODEPULLS, resource_version="1")
    async with asyncio.timeout(5), aclosing(watch):
        first = asyncio.create_task(anext(watch))
        await until(lambda: server.api.watches == 1)
        server.api.compact()
        await server.client.create(NODEPULLS, named("n"))
        assert (await first).type is EventType.ADDED
    with pytest.raises(Gone):
        await anext(server.client.watch(NODEPULLS, resource_version="1"))


async def test_a_reflector_survives_all_that_it_can_do(server: Double) -> None:
    reflector = Reflector(server.client, NODEPULLS, pauses=Pauses(first=0.001, most=0.01, spread=0.001))
    told: list[tuple[str, bool, bool]] = []
    reflector.subscribe(lambda key, old, new: told.append((key, old is not None, new is not None)))
    task = asyncio.create_task(reflector.run())
    await reflector.synced.wait()

    await server.client.create(NODEPULLS, named("cut"))
    server.api.cut()
    await until(lambda: "cut" in reflector.objects)

    server.api.end_watches()
    await server.client.create(NODEPULLS, named("ended"))
    await until(lambda: "ended" in reflector.objects)

    server.api.fail_next(3)
    server.api.cut()
    await until(lambda: server.api.watches == 1)
    await server.client.create(NODEPULLS, named("refused"))
    await until(lambda: "refused" in reflector.objects)

    await until(lambda: server.api.watches == 1)
    server.api.stall()
    server.api.cut()
    await until(lambda: server.api.watches == 0)
    deleted = asyncio.create_task(server.client.delete(NODEPULLS, "cut"))
    await asyncio.sleep(0.01)
    server.api.resume()
    await deleted
    server.api.compact()
    server.api.cut()
    await server.client.create(NODEPULLS, named("last"))
    await until(lambda: sorted(reflector.objects) == ["ended", "last", "refused"])

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    added = [key for key, old, new in told if not old and new]
    assert sorted(added) == sorted(set(added)) == ["cut", "ended", "last", "refused"]
    assert [key for key, old, new in told if old and not new] == ["cut"]


async def test_a_selector_may_not_be_nonsense_in_a_watch_either(server: Double) -> None:
    with pytest.raises(Invalid):
        await anext(server.client.watch(NODES, resource_version="1", label_selector="a=b=c"))


async def test_a_get_of_what_was_deleted_is_not_found(server: Double) -> None:
    await server.client.create(NODEPULLS, named("n"))
    await server.client.delete(NODEPULLS, "n")
    with pytest.raises(NotFound):
        await server.client.get(NODEPULLS, "n")
