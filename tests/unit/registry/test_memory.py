"""What a hostile replica can make a process hold, measured from outside: the process's own peak."""

import asyncio
import os
import sys
from typing import Any

import pytest
from aiohttp import web

CHUNK = b"\0" * 65536
BOUND_KIB = 64 * 1024

CLIENT = r"""
import asyncio, pathlib, re, resource, sys
from prometheus_client import CollectorRegistry
from tidegate.config.registries import AnonymousAuth, AuthConfig, LimitsConfig, ReplicaConfig
from tidegate.metrics import Metrics
from tidegate.registry.client import ReplicaClient
from tidegate.registry.errors import Unsupported

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # getrusage would count the program that started this one, too
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def main(endpoint):
    replica = ReplicaClient(
        registry="r", name="w", config=ReplicaConfig(endpoint=endpoint), token_hosts=(), limits=LimitsConfig(),
        auth=[AuthConfig(anonymous=AnonymousAuth())], metrics=Metrics(CollectorRegistry(), program="test"))
    async with replica:
        await replica.manifest("team/app", "small")
        before = peak()
        results = await asyncio.gather(
            *(replica.manifest("team/app", f"v{n}") for n in range(8)), return_exceptions=True)
        assert all(isinstance(result, Unsupported) for result in results), results
    print(peak() - before)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("chunked", [True, False], ids=["in-chunks", "with-a-length"])
async def test_eight_manifests_of_32_mebibytes_at_once(serve: Any, *, chunked: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/small"):
            return web.Response(body=b"{}")
        response = web.StreamResponse(headers={} if chunked else {"Content-Length": str(32 * 2**20)})
        await response.prepare(request)
        for _ in range(512):
            await response.write(CHUNK)
        return response

    server = await serve(answer)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, server.url, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert int(out) < BOUND_KIB
