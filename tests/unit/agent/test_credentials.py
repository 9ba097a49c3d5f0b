"""As whom a pull is made: in which order, how often, and what is said when nobody may."""

import asyncio

import pytest

from agent.credentials import MOST_TRIES, REFUSED_S, Authenticated, Found, Hosts, NoCredential
from tidegate.config import Config
from tidegate.cri import Credential, PullError
from tidegate.kube.own import Reason

pytestmark = pytest.mark.looptime

IMAGE = "registry.test/app:1"
DENIED = "failed to resolve image: pull access denied"
BOB, EVE, ZOE = (Credential(name, f"secret of {name}", "https://registry.test") for name in ("bob", "eve", "zoe"))


class Runtime:
    """Lets in whom it knows; each pull takes a second."""

    def __init__(self, *lets_in: Credential | None, reason: Reason = Reason.UNAUTHORIZED) -> None:
        self.lets_in = lets_in
        self.reason = reason
        self.tried: list[Credential | None] = []
        self.timeouts: list[float] = []

    async def present(self, image: str) -> bool:
        return image == IMAGE

    async def pull(self, image: str, auth: Credential | None = None, *, timeout: float) -> str:  # noqa: ASYNC109 - the port's
        assert image == IMAGE
        self.tried.append(auth)
        self.timeouts.append(timeout)
        await asyncio.sleep(1)
        if auth in self.lets_in:
            return "sha256:ref"
        raise PullError(self.reason, DENIED)


class Listed:
    """A source."""

    def __init__(self, *credentials: Credential, fault: str = "") -> None:
        self.found = credentials
        self.fault = fault
        self.asked = 0

    async def credentials(self, image: str) -> tuple[Found, ...]:
        assert image == IMAGE
        self.asked += 1
        if self.fault:
            raise NoCredential(self.fault)
        return tuple(Found(credential, "a test") for credential in self.found)


@pytest.mark.parametrize(
    "lets_in, sources, tried",
    [
        pytest.param((None,), [], [None], id="no-source"),
        pytest.param((None,), [Listed(), Listed()], [None], id="nobody-has-anything"),
        pytest.param((BOB,), [Listed(BOB, EVE)], [BOB], id="the-first-does"),
        pytest.param((EVE,), [Listed(BOB, EVE)], [BOB, EVE], id="the-second-of-one-source"),
        pytest.param((EVE,), [Listed(BOB), Listed(EVE)], [BOB, EVE], id="of-the-next-source"),
        pytest.param((EVE,), [Listed(BOB), Listed(BOB, EVE)], [BOB, EVE], id="each-once"),
        pytest.param((EVE,), [Listed(fault="out of order"), Listed(EVE)], [EVE], id="a-source-that-fails"),
        pytest.param((None,), [Listed(fault="out of order")], [None], id="the-only-source-fails"),
    ],
)
async def test_the_first_who_is_let_in_pulls(
    lets_in: tuple[Credential | None, ...], sources: list[Listed], tried: list[Credential | None]
) -> None:
    runtime = Runtime(*lets_in)
    assert await Authenticated(runtime, sources).pull(IMAGE, timeout=60) == "sha256:ref"
    assert runtime.tried == tried


async def test_a_later_source_is_not_asked_when_an_earlier_one_did() -> None:
    first, second = Listed(BOB), Listed(EVE)
    await Authenticated(Runtime(BOB), [first, second]).pull(IMAGE, timeout=60)
    assert (first.asked, second.asked) == (1, 0)


async def test_it_ends_after_three_refusals_and_never_without_a_credential() -> None:
    more = [Credential(f"user {n}", "x") for n in range(9)]
    runtime, last = Runtime(None), Listed(EVE)
    with pytest.raises(PullError, match="credentials refused: 3") as caught:
        await Authenticated(runtime, [Listed(*more), last]).pull(IMAGE, timeout=60)
    assert caught.value.reason is Reason.UNAUTHORIZED
    assert runtime.tried == more[:MOST_TRIES]
    assert last.asked == 0


@pytest.mark.parametrize("reason", [each for each in Reason if each not in {Reason.NONE, Reason.UNAUTHORIZED}])
async def test_only_a_refusal_is_followed_by_another_try(reason: Reason) -> None:
    runtime = Runtime(reason=reason)
    with pytest.raises(PullError) as caught:
        await Authenticated(runtime, [Listed(BOB, EVE)]).pull(IMAGE, timeout=60)
    assert (caught.value.reason, caught.value.message) == (reason, DENIED)
    assert runtime.tried == [BOB]


async def test_who_was_refused_goes_last_for_a_while() -> None:
    runtime, first, second = Runtime(EVE), Listed(BOB, ZOE), Listed(EVE)
    store = Authenticated(runtime, [first, second])
    await store.pull(IMAGE, timeout=60)
    assert runtime.tried == [BOB, ZOE, EVE]
    await store.pull(IMAGE, timeout=60)
    assert runtime.tried[3:] == [EVE]
    runtime.lets_in = (ZOE,)
    await store.pull(IMAGE, timeout=60)
    assert runtime.tried[4:] == [EVE, BOB, ZOE], "all of them are tried in the end"
    await asyncio.sleep(REFUSED_S)
    await store.pull(IMAGE, timeout=60)
    assert runtime.tried[7:] == [BOB, ZOE], "and in their own order after a while"


async def test_what_hindered_a_source_is_said_with_the_refusal() -> None:
    with pytest.raises(PullError) as caught:
        await Authenticated(Runtime(), [Listed(fault="acr ended with code 3")]).pull(IMAGE, timeout=60)
    assert caught.value.message == f"{DENIED} (no credential; acr ended with code 3)"


async def test_all_tries_share_one_bound() -> None:
    runtime = Runtime(ZOE)
    await Authenticated(runtime, [Listed(BOB, EVE, ZOE)]).pull(IMAGE, timeout=2.5)
    assert runtime.timeouts == pytest.approx([2.5, 1.5, 0.5])


async def test_presence_needs_nobody() -> None:
    source = Listed(BOB)
    assert await Authenticated(Runtime(), [source]).present(IMAGE)
    assert source.asked == 0


@pytest.mark.parametrize(
    "endpoint, server",
    [
        pytest.param("https://registry.test", "https://registry.test", id="the-images-own-host"),
        pytest.param("https://west.registry.test", "", id="a-replica-elsewhere"),
        pytest.param("https://registry.test:5000", "", id="another-port"),
    ],
)
def test_a_credential_is_for_the_images_host_alone_unless_the_registry_has_endpoints_elsewhere(
    endpoint: str, server: str
) -> None:
    hosts = Hosts(config(endpoint))
    assert hosts.server("registry.test") == server
    assert hosts.server("other.test") == "https://other.test"
    hosts.take(config("https://registry.test"))
    assert hosts.server("registry.test") == "https://registry.test", "a changed file counts"


def config(endpoint: str) -> Config:
    return Config.model_validate(
        {
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "Config",
            "registries": [{"host": "registry.test", "replicas": {"one": {"endpoint": endpoint}}}],
        }
    )
