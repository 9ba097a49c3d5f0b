"""What a real containerd does with the credentials that it is given, and what a refused one costs the registry."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from agent.credentials import Authenticated, Found
from tidegate.cri import Credential, PullError
from tidegate.kube.own import Reason
from tidegate.testing.images import build_image
from tidegate.testing.registry import Account, Authorization, BasicGuard, BearerGuard, TokenServer

pytestmark = pytest.mark.real

IMAGE = "registry.test/app:1"
SECRET = "s3same-open"
WRONG = "an-old-s3same"


@dataclass
class Listed:
    """A source."""

    found: tuple[Credential, ...]

    async def credentials(self, image: str) -> tuple[Found, ...]:
        assert image == IMAGE
        return tuple(Found(credential, "a test") for credential in self.found)


async def pull(node: Any, *credentials: Credential) -> str:
    return await Authenticated(node.images, [Listed(credentials)]).pull(IMAGE, timeout=60)


def told(node: Any) -> list[str]:
    """What the registry was asked, and answered."""
    return [
        f"{each.method} {each.path.split('/')[-2]} {each.status} {each.authorization}" for each in node.replica.requests
    ]


@pytest.fixture(params=["basic", "bearer"])
async def guarded(node: Any, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    node.replica.put("app", build_image(layers=2), tag="1")
    async with TokenServer({"ada": Account(password=SECRET)}, anonymous=None) as tokens:
        basic = request.param == "basic"
        node.replica.guard = BasicGuard({"ada": SECRET}) if basic else BearerGuard(tokens)
        yield node


async def test_the_right_one_pulls(guarded: Any) -> None:
    await pull(guarded, Credential("ada", SECRET))
    assert await guarded.images.present(IMAGE)


async def test_it_is_shown_to_the_host_that_it_is_for(guarded: Any) -> None:
    await pull(guarded, Credential("ada", SECRET, guarded.replica.url))
    assert await guarded.images.present(IMAGE)


async def test_it_is_shown_to_no_other_host(guarded: Any) -> None:
    with pytest.raises(PullError) as caught:
        await pull(guarded, Credential("ada", SECRET, "https://registry.test"))
    assert caught.value.reason is Reason.UNAUTHORIZED
    assert {each.authorization for each in guarded.replica.requests} == {Authorization.NONE}


async def test_the_next_one_after_a_refusal(guarded: Any) -> None:
    await pull(guarded, Credential("ada", WRONG), Credential("eve", WRONG), Credential("ada", SECRET))
    assert await guarded.images.present(IMAGE)
    print("\n" + "\n".join(told(guarded)))


async def test_what_refusals_cost(guarded: Any) -> None:
    """One request each where tokens are given; with Basic containerd asks five times, all of which is bounded here."""
    wrong = [Credential(f"user-{number}", WRONG) for number in range(5)]
    with pytest.raises(PullError, match="credentials refused: 3") as caught:
        await pull(guarded, *wrong)
    assert caught.value.reason is Reason.UNAUTHORIZED
    assert WRONG not in str(caught.value)
    asked = told(guarded)
    print("\n" + "\n".join([caught.value.message, *asked]))
    assert len(asked) == (3 if isinstance(guarded.replica.guard, BearerGuard) else 15)
