"""The keys by which decisions are signed: made once, one a day, two kept."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.keys import KEPT, KEY_BYTES, ROTATE, DecisionKeys, rotated
from tidegate.kube.client import KubeClient
from tidegate.kube.resources import SECRETS
from tidegate.testing.apiserver import ApiServerDouble

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD, NEW, NOW = "20261123T130000Z", "20261124T100000Z", "20261124T120000Z"
KEY = base64.b64encode(b"k" * KEY_BYTES).decode()


def fresh() -> bytes:
    return b"f" * KEY_BYTES


@pytest.mark.parametrize(
    "data,added,removed",
    [
        pytest.param({}, [NOW], set(), id="none"),
        pytest.param({NEW: KEY}, [], set(), id="one of today"),
        pytest.param({OLD: KEY}, [], set(), id="one of not yet a day"),
        pytest.param({"20261123T120000Z": KEY}, [NOW], set(), id="one of a day"),
        pytest.param(
            {"20261122T120000Z": KEY, "20261123T120000Z": KEY}, [NOW], {"20261122T120000Z"}, id="two old ones"
        ),
        pytest.param({OLD: KEY, NEW: KEY, "20261122T120000Z": KEY}, [], {"20261122T120000Z"}, id="one too many"),
        pytest.param({"mine": KEY}, [NOW], {"mine"}, id="no name of ours"),
        pytest.param({NEW: "c2hvcnQ="}, [NOW], {NEW}, id="a short key"),
        pytest.param({NEW: "!"}, [NOW], {NEW}, id="no base64"),
        pytest.param({"20261124T120300Z": KEY}, [], set(), id="a clock stepped back a little"),
        pytest.param({"20990101T000000Z": KEY}, [NOW], {"20990101T000000Z"}, id="a key of a far time"),
        pytest.param({"20261399T000000Z": KEY}, [NOW], {"20261399T000000Z"}, id="no date"),
    ],
)
def test_what_becomes_of_the_keys(data: dict[str, str], added: list[str], removed: set[str]) -> None:
    patch = rotated(data, now=NOON, fresh=fresh)
    assert {name for name, value in patch.items() if value is None} == removed
    assert [name for name, value in patch.items() if value is not None] == added


@given(st.lists(st.timedeltas(timedelta(minutes=1), timedelta(days=3)), min_size=1, max_size=20))
def test_what_was_signed_a_moment_ago_is_still_believed(steps: list[timedelta]) -> None:
    data: dict[str, str] = {}
    now = NOON
    signed_by: str | None = None
    for step in steps:
        patch = rotated(data, now=now, fresh=fresh)
        data = {name: value for name, value in (data | patch).items() if value is not None}
        assert signed_by is None or signed_by in data
        assert 1 <= len(data) <= KEPT
        signed_by = max(data)
        now += step


@pytest.fixture
async def api() -> AsyncIterator[ApiServerDouble]:
    async with ApiServerDouble() as api:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}, plural="namespaces")
        yield api


def keys(client: KubeClient, now: datetime, drawn: Iterator[int]) -> DecisionKeys:
    return DecisionKeys(
        client, namespace="tidegate", wall=lambda: now, fresh=lambda: bytes([next(drawn)]) * KEY_BYTES,
        chance=random.Random(0),  # noqa: S311
    )  # fmt: skip


async def test_the_secret_is_made_kept_and_rotated(api: ApiServerDouble) -> None:
    drawn = count(1)

    async def data() -> dict[str, Any]:
        return (await client.get(SECRETS, "tidegate-decision", namespace="tidegate")).data

    async with KubeClient(api.connection()) as client:
        await keys(client, NOON, drawn).keep()
        first = await data()
        await keys(client, NOON + ROTATE / 2, drawn).keep()
        assert await data() == first
        await keys(client, NOON + ROTATE, drawn).keep()
        second = await data()
        assert sorted(second) == ["20261124T120000Z", "20261125T120000Z"]
        assert second.items() >= first.items()
        await keys(client, NOON + 2 * ROTATE, drawn).keep()
        assert sorted(await data()) == ["20261125T120000Z", "20261126T120000Z"]


async def test_two_controllers_at_once_make_one_secret(api: ApiServerDouble) -> None:
    drawn = count(1)
    async with KubeClient(api.connection()) as client, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(keys(client, NOON, drawn).keep())
    (secret,) = api.objects("", "secrets")
    assert list(secret["data"]) == [NOW]
