"""How long ACR's refresh tokens are used, and when they are exchanged anew. Time is virtual, the wire is a script."""

import asyncio
import base64
import json
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tidegate.registry.answer import Answer
from tidegate.registry.auth.acr import Place, RefreshTokens
from tidegate.registry.auth.credentials import Credential, Exchange
from tidegate.registry.bounds import Timeouts
from tidegate.registry.errors import RegistryError, Unauthorized
from tidegate.registry.transport import Ask, Call

pytestmark = pytest.mark.looptime

REALM = URL("https://myregistry.azurecr.io/oauth2/token?a=b")


class Wire:
    """What a replica's transport does, from memory: refresh tokens r1, r2, …, of which some are no longer good."""

    def __init__(self, lives_s: float | None = None) -> None:
        self.asked: list[str] = []
        self.exchanges = 0
        self.bad: set[str] = set()
        self.all_bad = False
        self.lives_s = lives_s
        self.latest = ""

    async def ask_there(self, ask: Ask, call: Call) -> Answer:
        del call
        assert ask.form is not None
        self.asked.append(f"{ask.method} {ask.url}")
        if ask.url.path == "/oauth2/exchange":
            self.exchanges += 1
            self.latest = self._token(f"r{self.exchanges}")
            return self._answer(ask, 200, {"refresh_token": self.latest})
        refused = self.all_bad or any(bad in ask.form.decode() for bad in self.bad)
        return self._answer(ask, 401 if refused else 200, {"access_token": "a"})

    def _token(self, name: str) -> str:
        if self.lives_s is None:
            return name
        claims = base64.urlsafe_b64encode(json.dumps({"iat": 0, "exp": self.lives_s, "n": name}).encode()).decode()
        return f"h.{claims.rstrip('=')}.{name}"

    def _answer(self, ask: Ask, status: int, document: Any) -> Answer:
        return Answer(
            status=status, url=ask.url, headers=CIMultiDictProxy(CIMultiDict()), body=json.dumps(document).encode(),
            challenges=(), retry_after_s=None, hide=ask.hide,
        )  # fmt: skip


def refused(answer: Answer) -> RegistryError:
    return Unauthorized(f"HTTP {answer.status}", replica="west")


class Desk:
    """Refresh tokens of one identity at one registry."""

    def __init__(self, wire: Wire) -> None:
        async def entra() -> str:
            return "entra"

        self.wire = wire
        self.exchange = Exchange(entra)
        self.credential = Credential(0, "nobody", exchange=self.exchange)
        self.place = Place(self.credential.key, REALM, "myregistry.azurecr.io")
        self.tokens = RefreshTokens(
            transport=wire, timeouts=Timeouts(), replica="west", refused=refused, wall=lambda: 1.0,  # type: ignore[arg-type]
        )  # fmt: skip

    async def access(self, name: str = "team/app") -> int:
        call = Call(deadline=asyncio.get_running_loop().time() + 10)
        scope = f"repository:{name}:pull"
        return (await self.tokens.access(self.place, self.credential, self.exchange, scope, call)).status


async def test_the_exchange_is_beside_the_realm() -> None:
    desk = Desk(Wire())
    assert await desk.access() == 200
    assert desk.wire.asked == [
        "POST https://myregistry.azurecr.io/oauth2/exchange",
        "POST https://myregistry.azurecr.io/oauth2/token?a=b",
    ]


@pytest.mark.parametrize(
    "lives_s, used_s",
    [
        pytest.param(None, 10200.0, id="says nothing: three hours, less ten minutes"),
        pytest.param(3600.0, 3240.0, id="an hour, less a tenth"),
        pytest.param(1e9, 10200.0, id="a longer life is not believed"),
    ],
)
async def test_how_long_a_refresh_token_is_used(lives_s: float | None, used_s: float) -> None:
    desk = Desk(Wire(lives_s))
    await desk.access()
    await asyncio.sleep(used_s - 2.0)
    await desk.access()
    assert desk.wire.exchanges == 1
    await asyncio.sleep(3.0)
    await desk.access()
    assert desk.wire.exchanges == 2


async def test_one_that_is_refused_is_exchanged_anew_once() -> None:
    desk = Desk(Wire())
    await desk.access()
    await asyncio.sleep(61.0)
    desk.wire.bad.add("r1")
    assert await desk.access() == 200
    assert desk.wire.exchanges == 2
    assert len(desk.wire.asked) == 5


async def test_a_young_one_that_is_refused_is_not_exchanged_again() -> None:
    desk = Desk(Wire())
    desk.wire.all_bad = True
    for _ in range(10):
        assert await desk.access() == 401
    assert desk.wire.exchanges == 1


async def test_a_registry_that_refuses_everything_for_an_hour_costs_an_exchange_a_minute() -> None:
    desk = Desk(Wire())
    desk.wire.all_bad = True
    for _ in range(720):
        assert await desk.access() == 401
        await asyncio.sleep(5.0)
    assert desk.wire.exchanges <= 61


async def test_what_was_exchanged_meanwhile_stays() -> None:
    desk = Desk(Wire())
    await desk.access()
    await asyncio.sleep(61.0)
    desk.wire.bad.add("r1")
    assert await asyncio.gather(*(desk.access(f"team/{n}") for n in range(20))) == [200] * 20
    assert desk.wire.exchanges == 2


async def test_an_access_token_refused_early_casts_doubt_on_its_refresh_token() -> None:
    desk = Desk(Wire())
    await desk.access()
    assert not desk.tokens.drop(desk.place)
    await asyncio.sleep(61.0)
    assert desk.tokens.drop(desk.place)
    await desk.access()
    assert desk.wire.exchanges == 2


async def test_no_token_is_read_by_accident() -> None:
    desk = Desk(Wire())
    await desk.access()
    assert "r1" not in repr(list(desk.tokens._known.values()))
    assert "entra" not in repr(desk.exchange) + repr(desk.credential)
