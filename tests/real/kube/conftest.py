"""A real API server for the tests here: `api_server` gives both processes (start, freeze, compact)."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.real.kube.server import BUILD, ApiServer, missing
from tidegate.kube.connection import from_kubeconfig

pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance")
pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance_lists")

BUILD_S = 1800


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before any test's clock runs, if a test will want it."""
    wanted = any("api_server" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and missing():
        subprocess.run([BUILD, "etcd", "kubernetes"], check=False, timeout=BUILD_S)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """kube-apiserver with our CRDs established."""
    if lacking := missing():
        pytest.fail(f"{', '.join(lacking)} could not be built: see {BUILD} (needs Go), or set TIDEGATE_TESTBED")
    server = ApiServer(tmp_path_factory.mktemp("api-server"))
    try:
        server.start()
        server.define()
        yield server
    finally:
        server.stop()


class Said(NamedTuple):
    """What the API server answered."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """The API server as it is on the wire, for what no client of ours has: dry runs, impersonation, warnings."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def __call__(self, method: str, path: str, body: Any = None, *, dry: bool = False, user: str = "") -> Said:
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if user:
            headers["Impersonate-User"] = user
        async with self._session.request(
            method, self._base + path, json=body, headers=headers, params={"dryRun": "All"} if dry else {}
        ) as answer:
            warnings = tuple(text.split('"', 1)[1][:-1] for text in answer.headers.getall("Warning", ()))
            return Said(answer.status, await answer.json(), warnings)


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    connection = from_kubeconfig(api_server.kubeconfig)
    connector = aiohttp.TCPConnector(ssl=connection.ssl or True, limit=16)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Api(session, connection.base_url)
