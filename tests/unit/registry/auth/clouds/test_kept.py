"""How long a cloud's secret is used, how often a cloud is asked, and what happens when it does not answer."""

import asyncio

import pytest

from tidegate.registry.auth.cloud import CloudSource, Given, Kept
from tidegate.registry.auth.source import NoCredential


class Scripted:
    """An identity that gives, refuses or hangs as told."""

    def __init__(self, *says: Given | Exception | None) -> None:
        self.says = list(says)
        self.asked = 0
        self.closed = False

    async def fetch(self) -> Given:
        self.asked += 1
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if said is None:
            await asyncio.Event().wait()
        if isinstance(said, Given):
            return said
        assert isinstance(said, Exception)
        raise said

    async def aclose(self) -> None:
        self.closed = True


def kept(identity: Scripted) -> Kept:
    return Kept(identity, label="cloud", clock=asyncio.get_running_loop().time, patience_s=5.0)


async def after(seconds: float) -> None:
    await asyncio.sleep(seconds)


pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    "lives_s, asked_again_after",
    [
        pytest.param(3600.0, 3360.0, id="an hour: four minutes early"),
        pytest.param(43200.0, 42960.0, id="half a day: four minutes early"),
        pytest.param(1000.0, 900.0, id="a tenth of it early"),
        pytest.param(0.001, 1.0, id="hardly anything: once a second at most"),
        pytest.param(1e12, 86160.0, id="a day at most"),
        pytest.param(float("inf"), 86160.0, id="not for ever"),
    ],
)
async def test_a_secret_is_renewed_shortly_before_it_ends(lives_s: float, asked_again_after: float) -> None:
    identity = Scripted(Given("one", lives_s), Given("two", lives_s))
    held = kept(identity)
    assert await held.get() == "one"
    await after(min(asked_again_after - 0.5, lives_s / 2))
    assert await held.get() == "one"
    await after(asked_again_after)
    assert await held.get() == "two"
    assert identity.asked == 2
    await held.aclose()


async def test_a_hundred_who_ask_at_once_are_one_fetch() -> None:
    identity = Scripted(Given("one", 3600.0))
    held = kept(identity)
    assert set(await asyncio.gather(*(held.get() for _ in range(100)))) == {"one"}
    assert identity.asked == 1
    await held.aclose()


@pytest.mark.parametrize(
    "said, words",
    [
        (NoCredential("no"), "^no$"),
        (ValueError("SECRET"), r"^failed \(ValueError\)$"),
        (Given("t", 0.0), "expired already"),
        (Given("t", -5.0), "expired already"),
        (Given("t", float("nan")), "expired already"),
        (Given("", 60.0), "no token"),
        (Given("with space", 60.0), "no token"),
        (Given("with\r\nX-Header: y", 60.0), "no token"),
        (Given("ünicode", 60.0), "no token"),
        (Given("x" * 20_000, 60.0), "no token"),
        (Given(12345, 60.0), "no token"),  # type: ignore[arg-type]
        (Given(None, 60.0), "no token"),  # type: ignore[arg-type]
    ],
)
async def test_what_is_no_secret_is_not_asked_for_again_at_once(said: Given | Exception, words: str) -> None:
    identity = Scripted(said)
    held = kept(identity)
    for _ in range(50):
        with pytest.raises(NoCredential, match=words) as caught:
            await held.get()
        assert "SECRET" not in str(caught.value)
    assert identity.asked == 1
    await after(5.0)
    with pytest.raises(NoCredential, match=words):
        await held.get()
    assert identity.asked == 2
    await held.aclose()


async def test_the_old_secret_serves_while_no_new_one_can_be_had() -> None:
    identity = Scripted(Given("one", 1000.0), NoCredential("down"))
    held = kept(identity)
    assert await held.get() == "one"
    await after(950.0)
    assert await held.get() == "one"
    assert identity.asked == 2
    await after(60.0)
    with pytest.raises(NoCredential, match="down"):
        await held.get()
    await held.aclose()


async def test_a_silent_cloud_is_waited_for_a_moment_and_left_after_half_a_minute() -> None:
    identity = Scripted(None)
    held = kept(identity)
    now = asyncio.get_running_loop().time
    began = now()
    with pytest.raises(NoCredential, match="has not answered in 5 s"):
        await held.get()
    assert now() - began == pytest.approx(5.0)
    await after(25.1)
    with pytest.raises(NoCredential, match="no answer within 30 s"):
        await held.get()
    assert identity.asked == 1
    await held.aclose()


async def test_who_gives_up_does_not_take_it_from_the_others() -> None:
    identity = Scripted(None)
    held = kept(identity)
    first = asyncio.create_task(held.get())
    await after(1.0)
    first.cancel()
    with pytest.raises(NoCredential):
        await held.get()
    assert identity.asked == 1
    await held.aclose()
    assert identity.closed


async def test_the_secret_is_the_password_of_a_fixed_user_and_nobody_reads_it_by_accident() -> None:
    held = kept(Scripted(Given("s3cret", 3600.0)))
    source = CloudSource(place=2, label="ecr", username="AWS", kept=held)
    [credential] = await source.credentials("r.example/team/app")
    assert (credential.place, credential.username, credential.password, credential.label) == (2, "AWS", "s3cret", "ecr")
    assert "s3cret" not in repr(credential) + repr(Given("s3cret", 1.0)) + repr(held.__dict__)
    await source.aclose()
