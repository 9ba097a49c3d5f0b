"""Whose secrets an object brings, as two watches in each listed namespace tell it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.watching import EventType, WatchEvent
from tidegate.pull_secrets import PullSecrets, Wearer, wearer_of
from tidegate.pull_secrets.bound import MOST_SECRET, Bounded
from tidegate.pull_secrets.shapes import DOCKER_CONFIG, DOCKER_CONFIG_JSON, PULL_SECRETS, PullSecretObject
from tidegate.pull_secrets.wearer import MOST_SECRETS
from tidegate.registry.auth.tenants import NOBODY, Tenant
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.workload import view

WITHIN_S = 5.0


class Bed:
    def __init__(self, api: ApiServerDouble, mirror: PullSecrets, wanted: set[str]) -> None:
        self.api = api
        self.mirror = mirror
        self.wanted = wanted

    def put(self, obj: dict[str, Any]) -> None:
        self.api.put(obj, plural="secrets" if obj["kind"] == "Secret" else "serviceaccounts")

    def users(self, *secrets: str, namespace: str = "a", account: str = "") -> list[str]:
        tenant = self.mirror.tenant(Wearer(namespace, secrets, account))
        return [who.username for secret in tenant.secrets for _, who in secret.entries]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not holds():  # noqa: ASYNC110 - a watch's answers come over a socket
                await asyncio.sleep(0.01)


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServerDouble())
        for name in ("a", "b"):
            api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, plural="namespaces")
        connection = from_kubeconfig(api.kubeconfig(tmp_path / "kubeconfig"))
        client = await stack.enter_async_context(KubeClient(connection))
        mirror, wanted = PullSecrets(client), {"a"}
        running = asyncio.create_task(mirror.run(lambda: wanted))
        yield Bed(api, mirror, wanted)
        running.cancel()
        await asyncio.wait({running})


async def test_a_secret_counts_from_when_it_is_there_until_it_goes(bed: Bed, make: Any) -> None:
    await bed.mirror.synced()
    assert bed.users("regcred") == []
    bed.put(make.secret("a", "regcred"))
    await bed.until(lambda: bed.users("regcred") == ["ada"])
    bed.put(make.secret("a", "regcred", user="rotated"))
    await bed.until(lambda: bed.users("regcred") == ["rotated"])
    bed.put(make.secret("a", "old", user="older", kind=DOCKER_CONFIG))
    await bed.until(lambda: bed.users("old", "missing", "regcred") == ["older", "rotated"])


async def test_what_cannot_be_read_is_passed_over_and_nothing_of_it_is_told(bed: Bed, make: Any) -> None:
    with capture_logs() as logs:
        bed.put(make.secret("a", "broken", raw=b'{"auths": {"https://u:hunter2@r.example": {"auth": 7}}}'))
        bed.put(make.secret("a", "large", raw=b" " * (MOST_SECRET + 1)))
        bed.put(make.secret("a", "plain", kind="Opaque"))
        bed.put(make.secret("a", "good", password="hunter2"))
        await bed.until(lambda: bed.users("broken", "large", "plain", "good") == ["ada"])
        tenant = bed.mirror.tenant(Wearer("a", ("good",)))
        await bed.until(lambda: len([one for one in logs if one["event"] == "pull_secret.passed_over"]) == 2)
    assert "hunter2" not in f"{logs} {tenant!r}"
    assert {one["secret"] for one in logs if one["event"] == "pull_secret.passed_over"} == {"broken", "large"}


async def test_an_account_stands_for_its_secrets(bed: Bed, make: Any) -> None:
    bed.put(make.secret("a", "first", user="one"))
    bed.put(make.secret("a", "second", user="two"))
    bed.put(make.account("a", "default", "second", "missing", "first"))
    await bed.until(lambda: bed.users(account="default") == ["two", "one"])
    bed.put(make.account("a", "default"))
    await bed.until(lambda: bed.users(account="default") == [])
    assert bed.users(account="unknown") == []


async def test_only_listed_namespaces_are_read_and_the_list_is_followed(bed: Bed, make: Any) -> None:
    bed.put(make.secret("a", "regcred"))
    bed.put(make.secret("b", "regcred", user="bob"))
    await bed.until(lambda: bed.users("regcred") == ["ada"])
    assert bed.mirror.tenant(Wearer("b", ("regcred",))) is NOBODY
    bed.wanted.add("b")
    await bed.until(lambda: bed.users("regcred", namespace="b") == ["bob"])
    bed.wanted.remove("a")
    await bed.until(lambda: bed.mirror.tenant(Wearer("a", ("regcred",))) is NOBODY)
    paths = {seen.path for seen in bed.api.requests if "secrets" in seen.path or "serviceaccounts" in seen.path}
    assert paths == {f"/api/v1/namespaces/{name}/{what}" for name in "ab" for what in ("secrets", "serviceaccounts")}
    assert all("type%3Dkubernetes.io" in seen.query for seen in bed.api.requests if seen.path.endswith("/secrets"))


async def test_a_tenant_is_made_once_until_something_changes(bed: Bed, make: Any) -> None:
    bed.put(make.secret("a", "regcred"))
    await bed.until(lambda: bed.users("regcred") == ["ada"])
    wearer = Wearer("a", ("regcred",))
    before = bed.mirror.tenant(wearer)
    assert bed.mirror.tenant(wearer) is before
    bed.put(make.secret("a", "regcred", password="rotated"))
    await bed.until(lambda: bed.mirror.tenant(wearer) != before)
    assert isinstance(before, Tenant)


# Bounds


class Source:
    """What a client says, without one."""

    def __init__(self, events: list[WatchEvent[PullSecretObject]]) -> None:
        self._events = events

    async def watch(self, *_: object, **__: object) -> AsyncIterator[WatchEvent[PullSecretObject]]:
        for event in self._events:
            yield event


async def test_a_namespace_full_of_secrets_stays_within_its_bytes(make: Any) -> None:
    def event(kind: EventType, name: str) -> WatchEvent[PullSecretObject]:
        raw = msgspec.json.encode(make.secret("a", name, raw=b"x" * 600))
        return WatchEvent(kind, "1", msgspec.json.decode(raw, type=PullSecretObject))

    added, deleted = EventType.ADDED, EventType.DELETED
    events = [event(added, "one"), event(added, "two"), event(added, "three"), event(deleted, "one"),
              event(added, "four"), event(EventType.MODIFIED, "two")]  # fmt: skip
    bounded: Any = Bounded(Source(events), most=1700)  # type: ignore[arg-type]
    kept = [
        (told.object.metadata.name, bool(told.object.config))
        async for told in bounded.watch(
            PULL_SECRETS, resource_version="", namespace="a", label_selector="", field_selector="", watching=None
        )
    ]
    assert kept == [("one", True), ("two", True), ("three", False), ("one", False), ("four", True), ("two", True)]


def test_nothing_of_a_secret_is_kept_that_nobody_needs(make: Any) -> None:
    raw = msgspec.json.encode(make.secret("a", "s", password="hunter2"))
    whole = msgspec.json.decode(raw, type=PullSecretObject)
    slim = whole.slim(most=MOST_SECRET)
    assert slim.metadata.annotations == {}
    assert list(slim.data) == [".dockerconfigjson"]
    assert repr(whole) == repr(slim) == "PullSecretObject(a/s)"


# Which secrets an object names


def spec(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i"}], **more}


NAMED = {"imagePullSecrets": [{"name": "x"}, {"name": "y"}, {"name": "x"}, {}]}


@pytest.mark.parametrize(
    "kind, obj, expected",
    [
        pytest.param("Pod", {"spec": spec(**NAMED, serviceAccountName="s")}, Wearer("n", ("x", "y")), id="its own"),
        pytest.param("Pod", {"spec": spec(serviceAccountName="s")}, Wearer("n"), id="a Pod without any"),
        pytest.param(
            "Deployment", {"spec": {"template": {"spec": spec(**NAMED)}}}, Wearer("n", ("x", "y")), id="its template's"
        ),
        pytest.param(
            "Deployment", {"spec": {"template": {"spec": spec(serviceAccountName="s")}}}, Wearer("n", account="s"),
            id="else its account's",
        ),
        pytest.param(
            "Deployment", {"spec": {"template": {"spec": spec()}}}, Wearer("n", account="default"), id="default"
        ),
    ],
)  # fmt: skip
def test_an_objects_own_secrets_go_before_its_accounts(kind: str, obj: dict[str, Any], expected: Wearer) -> None:
    seen = view("apps" if kind == "Deployment" else "", kind, msgspec.json.encode(obj))
    assert seen is not None
    assert wearer_of(seen, "n") == expected


def test_so_many_secrets_count_and_no_more() -> None:
    many = {"imagePullSecrets": [{"name": f"s{number}"} for number in range(1000)]}
    seen = view("", "Pod", msgspec.json.encode({"spec": spec(**many)}))
    assert seen is not None
    assert len(wearer_of(seen, "n").secrets) == MOST_SECRETS


def test_types_are_those_of_the_api() -> None:
    assert (DOCKER_CONFIG_JSON, DOCKER_CONFIG) == ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
