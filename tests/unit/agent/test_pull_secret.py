"""Asking the controller for a pull secret: whom it is shown to, how often it is asked, what its answers come to."""

import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.credentials import Hosts, NoCredential
from agent.pull_secret import PullSecretSource, controller_of
from tidegate.config import Config
from tidegate.cri import Credential
from tidegate.testing.certificates import ServerCertificate, issue

IMAGE = "registry.test/app:1"
SECRET = "s3same-open"
TOKEN = "a.bound.token-of-this-pod"
ENTRY = {"username": "ada", "password": SECRET}

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def controller(folder: Path, handler: Handler, *, pair: ServerCertificate) -> AsyncIterator[str]:
    (folder / "tls.crt").write_bytes(pair.certificate)
    (folder / "tls.key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", handler)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Node:
    """A source that asks a controller which answers everything alike."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str, str, Any]] = []
        self.pair = issue("127.0.0.1")
        self.trusted = self.pair.authority
        (folder / "token").write_text(TOKEN + "\n")

    async def ask(self, image: str, answer: Callable[[], web.Response]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            shown = request.headers.get("Authorization", "")
            self.asked.append((request.method, request.path, shown, await request.json()))
            return answer()

        (self.folder / "ca.crt").write_bytes(self.trusted)
        async with controller(self.folder, handle, pair=self.pair) as url:
            where = controller_of(url, ca_file=self.folder / "ca.crt", token_file=self.folder / "token")
            chance = random.SystemRandom()
            return await PullSecretSource(where, hosts=hosts(), chance=chance).credentials(image)


def hosts() -> Hosts:
    """Pull secrets count at registry.test, and not at other.test."""
    entries = [
        {
            "host": "registry.test",
            "replicas": {"one": {"endpoint": "https://registry.test"}},
            "auth": [{"pullSecrets": {"namespaces": ["team-a"]}}],
        },
        {"host": "other.test", "replicas": {"one": {"endpoint": "https://other.test"}}},
    ]
    return Hosts(
        Config.model_validate({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Config", "registries": entries})
    )


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_it_shows_its_token_and_is_told_who_to_be(node: Node) -> None:
    (found,) = await node.ask(IMAGE, lambda: web.json_response({"credentials": [ENTRY]}))
    assert found.credential == Credential("ada", SECRET, "https://registry.test")
    assert node.asked == [("POST", "/pull-secret", f"Bearer {TOKEN}", {"image": IMAGE})]
    assert SECRET not in repr(found)


async def test_it_is_not_asked_where_no_pull_secret_counts(node: Node) -> None:
    assert await node.ask("other.test/app:1", lambda: web.Response(status=500)) == ()
    assert node.asked == []


async def test_what_it_does_not_have(node: Node) -> None:
    assert await node.ask(IMAGE, lambda: web.Response(status=404)) == ()
    assert len(node.asked) == 1


@pytest.mark.parametrize(
    "status, times, words",
    [
        pytest.param(401, 1, "the controller answered 401", id="refused"),
        pytest.param(403, 1, "the controller answered 403", id="forbidden"),
        pytest.param(302, 1, "the controller answered 302", id="never-followed"),
        pytest.param(429, 2, "cannot be asked: it answered 429", id="busy"),
        pytest.param(503, 2, "cannot be asked: it answered 503", id="not-yet"),
        pytest.param(200, 1, "answer cannot be read", id="garbage"),
    ],
)
async def test_a_controller_that_tells_nothing(node: Node, status: int, times: int, words: str) -> None:
    def answer() -> web.Response:
        text = f'{{"credentials": [{{"username": 1, "password": "{SECRET}"}}]}}'
        return web.Response(status=status, text=text, headers={"Location": "/elsewhere"})

    with pytest.raises(NoCredential, match=words) as caught:
        await node.ask(IMAGE, answer)
    assert len(node.asked) == times
    assert SECRET not in str(caught.value)


async def test_one_that_recovers_is_believed(node: Node) -> None:
    answers = iter([web.Response(status=503), web.json_response({"credentials": [ENTRY]})])
    assert len(await node.ask(IMAGE, lambda: next(answers))) == 1


async def test_a_controller_that_another_authority_vouches_for_is_shown_nothing(node: Node) -> None:
    node.trusted = issue("127.0.0.1").authority
    with pytest.raises(NoCredential, match="cannot be asked: ClientConnectorCertificateError"):
        await node.ask(IMAGE, lambda: web.json_response({"credentials": [ENTRY]}))
    assert node.asked == []


@pytest.mark.parametrize(
    "token, words",
    [
        pytest.param(None, "No such file", id="not-there"),
        pytest.param(b"", "holds no token", id="empty"),
        pytest.param(b"two\r\nlines: x", "holds no token", id="lines"),
        pytest.param("ümlaut".encode(), "UnicodeDecodeError", id="not-ascii"),
    ],
)
async def test_a_token_that_cannot_be_shown(node: Node, token: bytes | None, words: str) -> None:
    path = node.folder / "token"
    path.unlink()
    if token is not None:
        path.write_bytes(token)
    with pytest.raises(NoCredential, match=words):
        await node.ask(IMAGE, lambda: web.json_response({"credentials": [ENTRY]}))
    assert node.asked == []
