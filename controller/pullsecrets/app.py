"""The HTTP of it: one question, `POST /pull-secret {"image": …}`, and answers that tell a stranger nothing.

200 {"credentials": [{"username", "password"}]}   400 no question   401 no token of ours   403 not an agent
404 no live grant of this node for that image, or no pull secret for it: both in the same words   429, 503 later
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

import msgspec
import structlog
from aiohttp import hdrs, web

from controller.events.connections import minded
from controller.pullsecrets.claims import MOST_TOKEN, Asker, NoAgent, NoToken
from controller.pullsecrets.grants import has_live_grant
from controller.pullsecrets.pace import Pace
from tidegate.kube.errors import KubeError
from tidegate.kube.own import NodePull
from tidegate.kube.reflector import Reflector
from tidegate.registry.auth.credentials import UserPassword

log = structlog.get_logger()

PATH = "/pull-secret"
MOST_BYTES = 4 << 10
MOST_REVIEWS = 32
"""Tokens that are being reviewed at once."""
SEEN_S = 1.0
"""A grant that the agent has heard of may take so long to be heard of here."""
_BODY_S = 5.0
_MOST_IMAGE = 1024
_WORDS = {
    HTTPStatus.BAD_REQUEST: 'a question is {"image": "…"}',
    HTTPStatus.UNAUTHORIZED: "no token that counts here",
    HTTPStatus.FORBIDDEN: "not the token of an agent's Pod",
    HTTPStatus.NOT_FOUND: "nothing for this node and this image",
    HTTPStatus.TOO_MANY_REQUESTS: "too many questions",
    HTTPStatus.SERVICE_UNAVAILABLE: "ask again",
}
_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    image: str


_question = msgspec.json.Decoder(_Question).decode


class Tokens(Protocol):
    """See `claims.Reviews`."""

    async def asker(self, token: str) -> Asker: ...


class Secrets(Protocol):
    """See `owners.Owners`."""

    def credentials(self, node: str, image: str) -> tuple[UserPassword, ...]: ...


class Refused(Exception):
    """The answer is a status and its words. `why` is for our log."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class PullSecretQuestions:
    """What the route needs."""

    def __init__(
        self, *, tokens: Tokens, nodepulls: Reflector[NodePull], secrets: Secrets, wall: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._nodepulls = nodepulls
        self._secrets = secrets
        self._wall = wall
        self._clock = clock
        self._reviewing = 0
        self._by_address = Pace(burst=30, per_s=4)
        self._by_node = Pace(burst=20, per_s=2)

    async def take(self, request: web.Request) -> web.Response:
        """`POST /pull-secret`."""
        try:
            asker, image = await self._question(request)
        except Refused as refused:
            log.debug("pull_secret.refused", status=int(refused.status), why=str(refused))
            return _answer(refused.status)
        try:
            found = await self._found(asker, image)
        except Refused as refused:
            log.warning(
                "pull_secret.refused", status=int(refused.status), why=str(refused), node=asker.node, pod=asker.pod,
                image=image,
            )  # fmt: skip
            return _answer(refused.status)
        log.info("pull_secret.told", node=asker.node, pod=asker.pod, image=image, credentials=len(found))
        entries = [{"username": who.username, "password": who.password} for who in found]
        body = msgspec.json.encode({"credentials": entries})
        return web.Response(body=body, content_type="application/json", headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _question(self, request: web.Request) -> tuple[Asker, str]:
        """Who asks for what. Raises Refused."""
        if not self._by_address.lets(request.remote or "", self._clock()):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "address")
        token = _bearer(request.headers)
        image = await _image(request)
        return await self._asker(token), image

    async def _asker(self, token: str) -> Asker:
        if self._reviewing >= MOST_REVIEWS:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "reviews")
        self._reviewing += 1
        try:
            return await self._tokens.asker(token)
        except NoToken:
            raise Refused(HTTPStatus.UNAUTHORIZED, "token") from None
        except NoAgent:
            raise Refused(HTTPStatus.FORBIDDEN, "no agent") from None
        except KubeError as exc:  # whose words are not repeated: the request held the token
            log.warning("pull_secret.not_reviewed", error=type(exc).__name__)
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "no review") from None
        finally:
            self._reviewing -= 1

    async def _found(self, asker: Asker, image: str) -> tuple[UserPassword, ...]:
        if not self._by_node.lets(asker.node, self._clock()):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "node")
        if not await self._is_granted(asker, image):
            raise Refused(HTTPStatus.NOT_FOUND, "no live grant")
        found = self._secrets.credentials(asker.node, image)
        if not found:
            raise Refused(HTTPStatus.NOT_FOUND, "no pull secret")
        return found

    async def _is_granted(self, asker: Asker, image: str) -> bool:
        """Now, or within `SEEN_S`: the agent's watch may be ahead of ours."""
        try:
            async with asyncio.timeout(SEEN_S):
                while True:
                    revision = self._nodepulls.revision
                    nodepull = self._nodepulls.objects.get(asker.node)
                    if has_live_grant(nodepull, image, node_uid=asker.node_uid, now=self._wall()):
                        return True
                    await self._nodepulls.changed(revision)
        except TimeoutError:
            return False


def create_app(questions: PullSecretQuestions) -> web.Application:
    """The one route; `controller.events.connections.receiving` serves it."""
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[minded])
    app.add_routes([web.post(PATH, questions.take)])
    return app


def _bearer(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= MOST_TOKEN or not token.isascii() or " " in token:
        raise Refused(HTTPStatus.UNAUTHORIZED, "no bearer token")
    return token


async def _image(request: web.Request) -> str:
    try:
        async with asyncio.timeout(_BODY_S):
            image = _question(await request.read()).image
    except (TimeoutError, msgspec.DecodeError, UnicodeDecodeError, web.HTTPRequestEntityTooLarge):
        image = ""
    if not 0 < len(image) <= _MOST_IMAGE or not image.isprintable():
        raise Refused(HTTPStatus.BAD_REQUEST, "no question")
    return image


def _answer(status: HTTPStatus) -> web.Response:
    headers = {hdrs.CONNECTION: "close"} | ({hdrs.RETRY_AFTER: "1"} if status in _LATER else {})
    return web.json_response({"error": _WORDS[status]}, status=status, headers=headers)
