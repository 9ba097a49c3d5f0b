"""Small servers that say what a test tells them to, and remember every request that reached them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme
from aiohttp import web
from prometheus_client import CollectorRegistry

from tidegate.config.registries import AnonymousAuth, AuthConfig, BasicAuth, LimitsConfig, ReplicaConfig
from tidegate.metrics import Metrics
from tidegate.registry.bounds import Timeouts
from tidegate.registry.client import ReplicaClient

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECRET = "correct-horse"
ANONYMOUS = AuthConfig(anonymous=AnonymousAuth())
BASIC = AuthConfig(basic=BasicAuth(username="ada", password=SECRET))


@dataclass(frozen=True)
class Seen:
    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    def whole(self) -> str:
        """Everything that reached the server, for looking for what must not."""
        return f"{self.line} {dict(self.query)} {dict(self.headers)} {self.body!r}"


@dataclass
class Server:
    scheme: str
    host: str
    port: int = 0
    answer: Handler | None = None
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def lines(self) -> list[str]:
        return [one.line for one in self.seen]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(
            Seen(request.method, request.host, request.path, dict(request.query), dict(request.headers),
                 await request.read())
        )  # fmt: skip
        assert self.answer is not None
        return await self.answer(request)

    def saw_no_credential(self) -> bool:
        return not any(SECRET in one.whole() or one.authorization or "password" in one.whole() for one in self.seen)


@asynccontextmanager
async def _serving(server: Server, context: ssl.SSLContext | None) -> AsyncIterator[Server]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)  # handlers that were cancelled end


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    """For `localhost` and for 127.0.0.1: two hosts, as far as names go."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
async def serve(server_tls: ssl.SSLContext) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """`await serve(answer)` → a running Server; `host="localhost"` gives it another name, `tls=True` a certificate."""
    async with AsyncExitStack() as stack:

        async def start(answer: Handler | None = None, *, host: str = "127.0.0.1", tls: bool = False) -> Server:
            server = Server("https" if tls else "http", host, answer=answer)
            return await stack.enter_async_context(_serving(server, server_tls if tls else None))

        yield start


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[bytes], Awaitable[Server]]]:
    """`await raw(b"HTTP/1.1 …")` → a server that says exactly these bytes to each connection and hangs up."""
    async with AsyncExitStack() as stack:

        async def start(script: bytes) -> Server:
            server = Server("http", "127.0.0.1")

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b" ", 2)
                server.seen.append(Seen(method.decode(), server.host, path.decode(), {}, {}, b""))
                writer.write(script)
                writer.close()

            listening = await asyncio.start_server(handle, "127.0.0.1", 0)
            stack.push_async_callback(listening.wait_closed)
            stack.callback(listening.close)
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield start


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), program="test")


@pytest.fixture
def client(metrics: Metrics) -> Callable[..., ReplicaClient]:
    """`client(server, …)` → a ReplicaClient of it, not yet opened, that gives up and retries quickly."""

    def make(
        server: Server | str, *, auth: tuple[AuthConfig, ...] = (ANONYMOUS,), token_hosts: tuple[str, ...] = (),
        limits: LimitsConfig | None = None, replica: Mapping[str, Any] | None = None, **more: Any,
    ) -> ReplicaClient:  # fmt: skip
        endpoint = server if isinstance(server, str) else server.url
        more.setdefault("timeouts", Timeouts(total_s=5.0, retry_pause_s=0.0))
        return ReplicaClient(
            registry="registry.example", name="west", config=ReplicaConfig(endpoint=endpoint, **(replica or {})),
            auth=auth, token_hosts=token_hosts, limits=limits or LimitsConfig(), metrics=metrics, **more,
        )  # fmt: skip

    return make


@pytest.fixture
def anonymous() -> AuthConfig:
    return ANONYMOUS


@pytest.fixture
def basic() -> AuthConfig:
    return BASIC


@pytest.fixture
def secret() -> str:
    return SECRET


class TokenRegistry:
    """A registry with a token server: it lets in whoever shows the token that it gave last."""

    def __init__(self, **token: Any) -> None:
        self.token = token or {"token": "t{n}"}
        self.given: list[str] = []
        self.token_statuses: dict[str, int] = {}
        self.token_headers: dict[str, str] = {}
        self.good = True
        self.realm = ""
        self.refusal = 401
        self.url = ""
        self.found = 200
        self.hold: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            return await self.give(request)
        if self.good and self.given and request.headers.get("Authorization") == f"Bearer {self.given[-1]}":
            return web.Response(status=self.found, body=b"{}" if self.found == 200 else b"")
        challenge = f'Bearer realm="{self.realm or self.url + "/token"}",service="reg",scope="repository:team/app:pull"'
        return web.Response(status=self.refusal, headers={"WWW-Authenticate": challenge} if self.refusal == 401 else {})

    async def give(self, request: web.Request) -> web.Response:
        if self.hold is not None:
            self.asked.set()
            await self.hold.wait()
        status = self.token_statuses.get(request.method, 200)
        if status != 200:
            return web.Response(status=status, headers=self.token_headers)
        self.given.append(self.token["token"].format(n=len(self.given) + 1))
        return web.json_response({**self.token, "token": self.given[-1]})


@pytest.fixture
def registry(serve: Any) -> Callable[..., Any]:
    """`await registry(token="t{n}", …)` → what gives these tokens, and the Server that it answers on."""

    async def start(**token: Any) -> tuple[TokenRegistry, Server]:
        scripted = TokenRegistry(**token)
        server = await serve(scripted)
        scripted.url = server.url
        return scripted, server

    return start
