"""The second half of the API server's conformance suite: lists, selectors and watches."""
# ruff: noqa: S101, PLR2004  these are tests; a number in an assertion is the specification

import asyncio
from contextlib import aclosing

import pytest

from tidegate.kube.errors import Gone, Invalid
from tidegate.kube.own import NodePull, PrePull, PrePullSpec
from tidegate.kube.resources import NODEPULLS, PODS, PREPULLS
from tidegate.kube.shapes import Metadata
from tidegate.kube.watching import EventType, WatchEvent, Watching
from tidegate.pull_secrets.shapes import DOCKER_CONFIG_JSON, PULL_SECRETS, SERVICE_ACCOUNTS
from tidegate.testing.apiserver_conformance import Conformance, Server, fresh, node_pull

ADDED, MODIFIED, DELETED, BOOKMARK = EventType.ADDED, EventType.MODIFIED, EventType.DELETED, EventType.BOOKMARK
WITHIN_S = 10


def pre_pull(name: str = "pp") -> PrePull:
    return PrePull(metadata=Metadata(name=name), spec=PrePullSpec(images=["a"]))


class ListsConformance(Conformance):
    """Collections at one moment."""

    async def test_pages_are_parts_of_one_snapshot(self, server: Server) -> None:
        suite = fresh()
        names = [f"{suite}-{number}" for number in range(5)]
        for name in names:
            await server.client.create(NODEPULLS, node_pull(name, suite=suite))

        first = await server.client.page(NODEPULLS, limit=2, label_selector=f"suite={suite}")
        await server.client.delete(NODEPULLS, names[3])
        await server.client.create(NODEPULLS, node_pull(f"{suite}-2a", suite=suite))
        await server.client.merge_patch(NODEPULLS, names[4], {"spec": {"nodeUid": "late"}})
        rest = await server.client.page(NODEPULLS, limit=9, label_selector=f"suite={suite}", continue_=first.continue_)

        assert [item.metadata.name for item in (*first.items, *rest.items)] == names
        assert {item.spec.node_uid for item in rest.items} == {""}
        assert (first.resource_version, rest.continue_) == (rest.resource_version, "")

    async def test_a_list_reads_all_pages(self, server: Server) -> None:
        suite = fresh()
        for number in range(5):
            await server.client.create(NODEPULLS, node_pull(f"{suite}-{number}", suite=suite))

        listed = await server.client.list(NODEPULLS, label_selector=f"suite={suite}", page=2)

        assert [item.metadata.name for item in listed.items] == [f"{suite}-{number}" for number in range(5)]

    async def test_an_empty_list_has_a_version(self, server: Server) -> None:
        listed = await server.client.list(NODEPULLS, label_selector=f"suite={fresh()}")

        assert listed.items == []
        assert int(listed.resource_version) > 0

    async def test_a_namespace_shows_its_own(self, server: Server, namespace: str) -> None:
        name = fresh()
        for where in (namespace, "default"):
            await server.client.create(PREPULLS, pre_pull(name), namespace=where)

        one = await server.client.list(PREPULLS, namespace=namespace)
        both = await server.client.list(PREPULLS, field_selector=f"metadata.name={name}")

        assert [item.metadata.namespace for item in one.items] == [namespace]
        assert {item.metadata.namespace for item in both.items} == {namespace, "default"}

    @pytest.mark.parametrize(
        "selector,found",
        [
            ("color=red", "a"), ("color==red", "a"), ("color!=red", "bc"), ("color", "ab"), ("!color", "c"),
            ("color in (red, blue)", "ab"), ("color notin (red)", "bc"), ("color=red,size=2", ""),
            ("color,size=1", "a"), ("color in (red,blue),size", "a"), ("color=", ""),
        ],
    )  # fmt: skip
    async def test_labels_select(self, server: Server, selector: str, found: str) -> None:
        suite = fresh()
        for name, labels in {"a": {"color": "red", "size": "1"}, "b": {"color": "blue"}, "c": {"other": "x"}}.items():
            await server.client.create(NODEPULLS, node_pull(f"{suite}-{name}", suite=suite, **labels))

        listed = await server.client.list(NODEPULLS, label_selector=f"suite={suite},{selector}")

        assert "".join(item.metadata.name[-1] for item in listed.items) == found

    async def test_pods_are_selected_by_node(self, server: Server, namespace: str) -> None:
        node = fresh()
        for name, spec in {"here": {"nodeName": node}, "nowhere": {}}.items():
            body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}
            await server.client.create(PODS, body, namespace=namespace)

        for selector, names in {f"spec.nodeName={node}": ["here"], f"spec.nodeName!={node}": ["nowhere"]}.items():
            listed = await server.client.list(PODS, namespace=namespace, field_selector=selector)
            assert [item.metadata.name for item in listed.items] == names

    async def test_secrets_are_selected_by_type(self, server: Server, namespace: str) -> None:
        pull = {"type": DOCKER_CONFIG_JSON, "data": {".dockerconfigjson": "e30="}, "metadata": {"name": "pull"}}
        for body in (pull, {"metadata": {"name": "plain"}, "data": {"a": "Yg=="}}):
            await server.client.create(PULL_SECRETS, body, namespace=namespace)
        await server.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "puller"}}, namespace=namespace)

        for selector, names in {f"type={DOCKER_CONFIG_JSON}": ["pull"], "type=Opaque": ["plain"]}.items():
            listed = await server.client.list(PULL_SECRETS, namespace=namespace, field_selector=selector)
            assert [item.metadata.name for item in listed.items] == names
        accounts = await server.client.list(SERVICE_ACCOUNTS, namespace=namespace)
        assert "puller" in {item.metadata.name for item in accounts.items}

    @pytest.mark.parametrize(
        "selectors",
        [
            pytest.param({"field_selector": "spec.nodeName=x"}, id="a field that this kind cannot be selected by"),
            pytest.param({"field_selector": "type=x"}, id="another kind's field"),
            pytest.param({"field_selector": "metadata.name"}, id="a field without a value"),
            pytest.param({"label_selector": "a==="}, id="no label selector"),
            pytest.param({"label_selector": "a in b"}, id="a set without brackets"),
        ],
    )
    async def test_a_wrong_selector_is_invalid(self, server: Server, selectors: dict[str, str]) -> None:
        with pytest.raises(Invalid) as told:
            await server.client.list(NODEPULLS, **selectors)  # type: ignore[arg-type]  # page is not among them
        assert told.value.status == 400


class WatchesConformance(Conformance):
    """Collections as they change."""

    async def test_every_change_after_a_list_is_told_in_order(self, server: Server) -> None:
        suite, name = fresh(), fresh()
        listed = await server.client.list(NODEPULLS, label_selector=f"suite={suite}")
        made = await server.client.create(NODEPULLS, node_pull(name, suite=suite))
        changed = await server.client.merge_patch(NODEPULLS, name, {"spec": {"nodeUid": "u"}})
        await server.client.delete(NODEPULLS, name)

        events = await seen(server, listed.resource_version, suite, 3)

        assert [event.type for event in events] == [ADDED, MODIFIED, DELETED]
        assert [event.object for event in events[:2]] == [made, changed]
        last = events[2].object
        assert last is not None
        assert last.spec.node_uid == "u"
        versions = [int(event.resource_version) for event in events]
        assert versions == sorted(set(versions))
        assert versions[2] == int(last.metadata.resource_version)

    async def test_a_watch_goes_on_from_any_version(self, server: Server) -> None:
        suite = fresh()
        first = await server.client.create(NODEPULLS, node_pull(suite=suite))
        second = await server.client.create(NODEPULLS, node_pull(suite=suite))

        events = await seen(server, first.metadata.resource_version, suite, 1)

        assert [event.object for event in events] == [second]

    async def test_a_watch_without_a_version_begins_with_what_is_there(self, server: Server) -> None:
        suite = fresh()
        made = await server.client.create(NODEPULLS, node_pull(suite=suite))

        events = await seen(server, "", suite, 1)

        assert [(event.type, event.object) for event in events] == [(ADDED, made)]

    async def test_what_enters_and_leaves_the_selection_is_added_and_deleted(self, server: Server) -> None:
        suite = fresh()
        made = await server.client.create(NODEPULLS, node_pull())
        for value in (suite, None, suite):
            await server.client.merge_patch(NODEPULLS, made.metadata.name, {"metadata": {"labels": {"suite": value}}})

        events = await seen(server, made.metadata.resource_version, suite, 3)

        assert [event.type for event in events] == [ADDED, DELETED, ADDED]

    async def test_a_watch_of_a_namespace_tells_of_no_other(self, server: Server, namespace: str) -> None:
        version = (await server.client.list(PREPULLS, namespace=namespace)).resource_version
        await server.client.create(PREPULLS, pre_pull(fresh()), namespace="default")
        mine = await server.client.create(PREPULLS, pre_pull(), namespace=namespace)

        watch = server.client.watch(PREPULLS, namespace=namespace, resource_version=version)
        async with asyncio.timeout(WITHIN_S), aclosing(watch):
            assert (await anext(watch)).object == mine

    async def test_a_change_is_told_while_the_watch_is_open(self, server: Server) -> None:
        suite = fresh()
        version = (await server.client.list(NODEPULLS)).resource_version
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(seen(server, version, suite, 2))
            for _ in range(2):
                await server.client.create(NODEPULLS, node_pull(suite=suite))

        assert [event.type for event in await watching] == [ADDED, ADDED]

    async def test_a_large_object_is_one_event(self, server: Server) -> None:
        suite = fresh()
        version = (await server.client.list(NODEPULLS)).resource_version
        annotations = {f"a{number}": "x" * 50_000 for number in range(5)}
        large = NodePull(metadata=Metadata(name=fresh(), labels={"suite": suite}, annotations=annotations))
        await server.client.create(NODEPULLS, large)

        (event,) = await seen(server, version, suite, 1)

        assert event.object is not None
        assert event.object.metadata.annotations == annotations

    async def test_a_bookmark_says_up_to_where_all_has_been_told(self, server: Server) -> None:
        made = await server.client.create(NODEPULLS, node_pull())
        other = await server.client.create(NODEPULLS, node_pull())
        watch = server.client.watch(
            NODEPULLS, resource_version="", field_selector=f"metadata.name={made.metadata.name}"
        )
        async with asyncio.timeout(WITHIN_S), aclosing(watch):
            assert (await anext(watch)).object == made
            bookmark = await anext(watch)

        assert (bookmark.type, bookmark.object) == (BOOKMARK, None)
        assert int(bookmark.resource_version) >= int(other.metadata.resource_version)

    async def test_a_watch_ends_when_it_was_asked_to(self, server: Server) -> None:
        version = (await server.client.list(NODEPULLS)).resource_version
        watch = server.client.watch(
            NODEPULLS, resource_version=version, label_selector=f"suite={fresh()}", watching=Watching(server_s=1)
        )
        async with asyncio.timeout(WITHIN_S), aclosing(watch):
            assert {event.type async for event in watch} <= {BOOKMARK}

    async def test_what_was_forgotten_is_gone(self, server: Server) -> None:
        suite = fresh()
        made = [await server.client.create(NODEPULLS, node_pull(suite=suite)) for _ in range(3)]
        page = await server.client.page(NODEPULLS, limit=1, label_selector=f"suite={suite}")
        await server.client.merge_patch(NODEPULLS, made[0].metadata.name, {"spec": {"nodeUid": "u"}})
        await server.forget()

        with pytest.raises(Gone) as told:
            await seen(server, made[0].metadata.resource_version, suite, 1)
        assert (told.value.status, told.value.reason) == (410, "Expired")
        with pytest.raises(Gone):
            await server.client.page(NODEPULLS, limit=1, label_selector=f"suite={suite}", continue_=page.continue_)
        assert len((await server.client.list(NODEPULLS, label_selector=f"suite={suite}", page=1)).items) == 3


async def seen(server: Server, version: str, suite: str, number: int) -> list[WatchEvent[NodePull]]:
    """The first events of a watch, bookmarks left out."""
    events = []
    watch = server.client.watch(NODEPULLS, resource_version=version, label_selector=f"suite={suite}")
    async with asyncio.timeout(WITHIN_S), aclosing(watch):
        async for event in watch:
            if event.type is not BOOKMARK:
                events.append(event)
            if len(events) == number:
                break
    return events
