"""The endpoint's answers: by status, in the same words to everybody, and with nothing secret in a log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from controller.events.connections import receiving
from controller.pullsecrets.app import MOST_BYTES, PullSecretQuestions, create_app
from controller.pullsecrets.claims import Asker, NoAgent, NoToken
from tidegate.kube.client import KubeClient
from tidegate.kube.errors import Unavailable
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import NODEPULLS
from tidegate.registry.auth.credentials import UserPassword
from tidegate.testing.apiserver import ApiServerDouble

IMAGE = "registry.test/app:1"
SECRET = "s3same-open"
TOKEN = "a.token.of-node-1"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Tokens:
    """Knows one agent."""

    def __init__(self) -> None:
        self.reviewed = 0
        self.busy = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def asker(self, token: str) -> Asker:
        self.reviewed += 1
        if self.reviewed == 30:
            self.busy.set()
        await self.go.wait()
        match token:
            case "a.token.of-node-1":
                return Asker("node-1", "uid-1", "agent-x")
            case "of.the.webhook":
                raise NoAgent
            case "away":
                message = f"POST tokenreviews {token}: connection refused"
                raise Unavailable(message)
        raise NoToken


class Secrets:
    def __init__(self) -> None:
        self.found: tuple[UserPassword, ...] = (UserPassword("ada", SECRET),)

    def credentials(self, node: str, image: str) -> tuple[UserPassword, ...]:
        assert (node, image) == ("node-1", IMAGE)
        return self.found


@dataclass
class World:
    api: ApiServerDouble
    session: aiohttp.ClientSession
    url: str
    tokens: Tokens
    secrets: Secrets
    clock: list[float]
    logs: list[Any] = field(default_factory=list)

    async def ask(self, token: str | None = TOKEN, body: Any = None, **more: Any) -> tuple[int, Any, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = {"json": {"image": IMAGE} if body is None else body} | more
        async with self.session.post(f"{self.url}/pull-secret", headers=headers, **request) as answer:
            return answer.status, await answer.json(), answer.headers

    def grant(self) -> None:
        expires = (NOW + timedelta(minutes=1)).isoformat()
        image = {"image": IMAGE, "grant": {"id": "g1", "expiresAt": expires, "seconds": 60}}
        self.api.put(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "NodePull", "metadata": {"name": "node-1"},
                "spec": {"nodeUid": "uid-1", "images": [image]},
            },
            plural="nodepulls",
        )  # fmt: skip


@asynccontextmanager
async def endpoint() -> AsyncIterator[World]:
    clock = [0.0]
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        nodepulls = Reflector(client, NODEPULLS)
        watching = asyncio.create_task(nodepulls.run())
        tokens, secrets = Tokens(), Secrets()
        questions = PullSecretQuestions(
            tokens=tokens, nodepulls=nodepulls, secrets=secrets, wall=lambda: NOW, clock=lambda: clock[0]
        )
        async with (
            receiving(create_app(questions), port=0, host="127.0.0.1") as port,
            aiohttp.ClientSession() as session,
        ):
            yield World(api, session, f"http://127.0.0.1:{port}", tokens, secrets, clock)
        watching.cancel()
        await asyncio.wait([watching])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with capture_logs() as logs:
        async with endpoint() as world:
            world.logs = logs
            yield world
    for secret in (SECRET, TOKEN, "of.the.webhook", "tokenreviews"):
        assert secret not in str(logs)


async def test_a_live_grant_is_answered_with_what_its_pull_needs(world: World) -> None:
    world.grant()
    status, body, headers = await world.ask()
    assert (status, body) == (200, {"credentials": [{"username": "ada", "password": SECRET}]})
    assert headers["Cache-Control"] == "no-store"
    (told,) = [line for line in world.logs if line["event"] == "pull_secret.told"]
    assert (told["node"], told["pod"], told["image"], told["credentials"]) == ("node-1", "agent-x", IMAGE, 1)


async def test_a_grant_that_is_still_on_its_way_is_waited_for(world: World) -> None:
    asking = asyncio.create_task(world.ask())
    await asyncio.sleep(0.05)
    assert not asking.done()
    world.grant()
    assert (await asking)[0] == 200


async def test_no_grant_and_no_secret_are_told_in_the_same_words(world: World) -> None:
    no_grant = await world.ask()
    world.grant()
    world.secrets.found = ()
    no_secret = await world.ask()
    assert no_grant[:2] == no_secret[:2] == (404, {"error": "nothing for this node and this image"})
    assert [line["why"] for line in world.logs if line["event"] == "pull_secret.refused"] == [
        "no live grant", "no pull secret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "token, status",
    [
        pytest.param(None, 401, id="none"),
        pytest.param("", 401, id="empty"),
        pytest.param("two words", 401, id="two-words"),
        pytest.param("of.nobody", 401, id="unknown"),
        pytest.param("of.the.webhook", 403, id="not-an-agents"),
        pytest.param("away", 503, id="nobody-can-review-it"),
    ],
)
async def test_who_is_no_agent(world: World, token: str | None, status: int) -> None:
    world.grant()
    said_status, body, _ = await world.ask(token)
    assert (said_status, set(body)) == (status, {"error"})


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"body": {}}, id="no-image"),
        pytest.param({"body": {"image": ""}}, id="empty"),
        pytest.param({"body": {"image": 7}}, id="a-number"),
        pytest.param({"body": {"image": "a\nb"}}, id="two-lines"),
        pytest.param({"body": {"image": "a" * 1025}}, id="too-long"),
        pytest.param({"body": {"image": IMAGE, "namespace": "kube-system"}}, id="more-than-is-asked"),
        pytest.param({"json": None, "data": b"{"}, id="no-json"),
        pytest.param({"json": None, "data": b"\xff" * (MOST_BYTES + 1)}, id="too-much"),
    ],
)
async def test_what_is_no_question_is_not_even_reviewed(world: World, more: dict[str, Any]) -> None:
    assert (await world.ask(**more))[0] == 400
    assert world.tokens.reviewed == 0


async def test_a_node_that_asks_too_often_waits(world: World) -> None:
    world.grant()
    statuses = [(await world.ask())[0] for _ in range(21)]
    assert statuses == [200] * 20 + [429]
    world.clock[0] += 1
    assert (await world.ask())[0] == 200


async def test_an_address_that_asks_too_often_is_not_reviewed_any_more(world: World) -> None:
    statuses = [(await world.ask("of.nobody"))[0] for _ in range(31)]
    assert statuses == [401] * 30 + [429]
    assert world.tokens.reviewed == 30


async def test_tokens_are_reviewed_a_few_at_once(world: World) -> None:
    world.grant()
    world.tokens.go.clear()
    world.clock[0] = -1e9  # nobody is too often
    asking = [asyncio.create_task(world.ask()) for _ in range(30)]
    await asyncio.wait_for(world.tokens.busy.wait(), 5)
    world.clock[0] = 0.0
    more = [asyncio.create_task(world.ask("of.nobody")) for _ in range(5)]
    done, _ = await asyncio.wait(more, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result()[0] for task in done} == {503}
    world.tokens.go.set()
    await asyncio.gather(*asking, *more)


async def test_there_is_nothing_else(world: World) -> None:
    for method, path in (("GET", "/pull-secret"), ("GET", "/"), ("POST", "/metrics")):
        async with world.session.request(method, world.url + path) as answer:
            assert answer.status in {404, 405}
