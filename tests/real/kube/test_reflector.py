"""The reflector on a real API server that is cut off, crashes, forgets and freezes."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Self

import pytest

from tidegate.kube.client import KubeClient
from tidegate.kube.connection import from_kubeconfig
from tidegate.kube.errors import KubeError, Unavailable
from tidegate.kube.own import NodePull
from tidegate.kube.reflector import Pauses, Reflector
from tidegate.kube.resources import NODE_METADATA, NODEPULLS, NODES
from tidegate.kube.shapes import Metadata, Node
from tidegate.kube.watching import Watching

pytestmark = pytest.mark.real


class Wire:
    """A TCP relay before the API server that can be cut: TLS goes through it untouched."""

    def __init__(self, port: int) -> None:
        self.to = port
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it is."""
        for stream in self._streams:
            stream.transport.abort()
        self._streams.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._streams.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._streams.add(back)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(1 << 16):
                sink.write(chunk)
                await sink.drain()
        sink.transport.abort()


class Observed:
    """A running reflector behind a wire, the client that changes things directly, and what was told."""

    def __init__(self, reflector: Reflector[NodePull], direct: KubeClient, wire: Wire, suite: str) -> None:
        self.reflector, self.direct, self.wire, self.suite = reflector, direct, wire, suite
        self.told: list[str] = []
        reflector.subscribe(self._tell)

    def _tell(self, key: str, old: NodePull | None, new: NodePull | None) -> None:
        self.told.append(("~" if old and new else "+" if new else "-") + key.removeprefix(f"{self.suite}-"))

    async def create(self, name: str) -> None:
        metadata = Metadata(name=f"{self.suite}-{name}", labels={"suite": self.suite})
        await again(lambda: self.direct.create(NODEPULLS, NodePull(metadata=metadata)))

    async def delete(self, name: str) -> None:
        await again(lambda: self.direct.delete(NODEPULLS, f"{self.suite}-{name}"))

    async def until(self, condition: Callable[[], bool], *, within_s: float = 30) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  another process
                await asyncio.sleep(0.02)


async def again(call: Callable[[], Any]) -> None:
    """An API server that has just come back refuses for a moment."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.fixture
async def observed(api_server: Any) -> AsyncIterator[Observed]:
    suite = f"r-{uuid.uuid4().hex[:8]}"
    connection = from_kubeconfig(api_server.kubeconfig)
    async with Wire(api_server.port) as wire, KubeClient(connection) as direct:
        through = replace(connection, base_url=f"https://127.0.0.1:{wire.port}")
        async with KubeClient(through) as client:
            reflector = Reflector(
                client,
                NODEPULLS,
                label_selector=f"suite={suite}",
                pauses=Pauses(first=0.05, most=0.5, spread=0.02),
                watching=Watching(server_s=20, slack_s=2, open_s=2),
            )
            observed = Observed(reflector, direct, wire, suite)
            task = asyncio.create_task(reflector.run())
            try:
                async with asyncio.timeout(10):
                    await reflector.synced.wait()
                yield observed
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_a_cut_connection_loses_and_repeats_nothing(observed: Observed) -> None:
    for number in range(5):
        await observed.create(f"before-{number}")
        connections = observed.wire.connections
        observed.wire.cut()
        await observed.create(f"after-{number}")
        await observed.until(lambda before=connections: observed.wire.connections > before)  # type: ignore[misc]

    await observed.until(lambda: len(observed.reflector.objects) == 10)

    assert sorted(observed.told) == sorted(f"+{when}-{number}" for when in ("before", "after") for number in range(5))


async def test_a_server_that_forgot_is_listed_again(observed: Observed, api_server: Any) -> None:
    for name in ("stays", "goes", "comes-back"):
        await observed.create(name)
    await observed.until(lambda: len(observed.told) == 3)
    held, observed.wire.to = observed.wire.to, 1  # nobody listens there
    observed.wire.cut()

    await observed.delete("goes")
    await observed.delete("comes-back")
    await observed.create("comes-back")
    await observed.create("new")
    api_server.compact()
    await asyncio.to_thread(api_server.kill_server)
    await asyncio.to_thread(api_server.start)
    observed.wire.to = held
    await observed.create("last")
    await observed.until(lambda: "+last" in observed.told)

    assert observed.told[:3] == ["+stays", "+goes", "+comes-back"]
    assert sorted(observed.told[3:]) == ["+comes-back", "+last", "+new", "-comes-back", "-goes"]
    assert observed.told.index("-comes-back") < len(observed.told) - 1 - observed.told[::-1].index("+comes-back")


async def test_a_frozen_server_is_left_and_found_again(observed: Observed, api_server: Any) -> None:
    await observed.create("before")
    await observed.until(lambda: observed.told == ["+before"])

    api_server.freeze()
    try:
        observed.wire.cut()
        with pytest.raises(KubeError, match="no answer in time"):
            await observed.direct.get(NODEPULLS, f"{observed.suite}-before", timeout_s=0.5)
        await asyncio.sleep(2.5)  # longer than a watch may take to open
    finally:
        api_server.thaw()
    await observed.create("after")
    await observed.until(lambda: "+after" in observed.told)

    assert observed.told == ["+before", "+after"]


async def test_a_copy_of_metadata_alone(api_server: Any) -> None:
    async with KubeClient(from_kubeconfig(api_server.kubeconfig)) as client:
        made: list[str] = []
        copy = Reflector(client, NODE_METADATA)
        copy.subscribe(lambda name, _, new: made.append(f"{name}={new.metadata.labels['kubernetes.io/arch']}"))
        names = [f"m-{uuid.uuid4().hex[:8]}" for _ in range(2)]
        labels = {"kubernetes.io/arch": "arm64"}
        await client.create(NODES, Node(metadata=Metadata(name=names[0], labels=labels)))
        running = asyncio.create_task(copy.run())
        await asyncio.wait_for(copy.synced.wait(), 10)
        await client.create(NODES, Node(metadata=Metadata(name=names[1], labels=labels)))
        async with asyncio.timeout(10):
            while len(made) < 2:  # noqa: ASYNC110  what is awaited is in another program's hands
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait([running])
        for name in names:
            await client.delete(NODES, name)
    assert [f"{name}=arm64" for name in names] == [one for one in made if one.startswith("m-")]
