"""Root tasks, probes, and the way to the API server."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from tidegate.kube.connection import ConnectionConfigError
from tidegate.process.cluster import connection, has_service_account
from tidegate.process.probes import create_app, served
from tidegate.process.roots import RootTaskEnded, forever


async def test_a_root_task_that_returns_is_an_incident_with_a_name() -> None:
    with pytest.raises(RootTaskEnded, match="'watch things' returned"):
        await forever("watch things", asyncio.sleep(0))


async def test_one_that_raises_says_which_it_was() -> None:
    async def body() -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        await forever("watch things", body())
    assert caught.value.__notes__ == ["in root task 'watch things'"]


async def test_one_that_is_cancelled_is_none() -> None:
    task = asyncio.create_task(forever("watch things", asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_probes_tell_alive_ready_and_metrics() -> None:
    registry, ready = CollectorRegistry(), asyncio.Event()
    Gauge("tidegate_things", "Things.", registry=registry).set(3)
    async with (
        served(create_app(registry, ready=ready), port=0, host="127.0.0.1") as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def get(path: str) -> tuple[int, str]:
            async with session.get(path) as answer:
                return answer.status, await answer.text()

        assert await get("/livez") == (200, "ok")
        assert await get("/readyz") == (503, "not synced yet")
        ready.set()
        assert await get("/readyz") == (200, "ok")
        status, text = await get("/metrics")
        assert status == 200
        assert "tidegate_things 3.0" in text
        assert (await get("/other"))[0] == 404


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": "443"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}, True),
    ],
)
def test_a_service_account_is_where_the_environment_says_so(environ: dict[str, str], *, expected: bool) -> None:
    assert has_service_account(environ) is expected


def test_a_kubeconfig_is_never_searched_for() -> None:
    with pytest.raises(ConnectionConfigError, match="give --kubeconfig"):
        connection(None, {"KUBECONFIG": "/somewhere", "HOME": "/home/somebody"})


def test_one_that_was_named_counts_before_the_service_account(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConnectionConfigError, match="named"):
        connection(tmp_path / "named", environ)
