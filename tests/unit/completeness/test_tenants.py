"""Who may be told what a replica holds, where namespaces bring pull secrets: one's right opens no other's door."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tidegate.completeness import Checker, Memory
from tidegate.config import parse
from tidegate.findings import Finding, ImageFinding
from tidegate.metrics import Metrics
from tidegate.reference import ImageReference
from tidegate.registry.auth.credentials import Credential
from tidegate.registry.auth.docker_config import docker_config_entries
from tidegate.registry.auth.readers import EVER_S, READ_S, Readers
from tidegate.registry.auth.tenants import (
    MOST_CREDENTIALS,
    NO_ASKER,
    NOBODY,
    Asker,
    PullSecret,
    PullSecretsEntry,
    Tenant,
    asker_of,
    tenant_of,
)
from tidegate.registry.errors import RegistryError
from tidegate.replicas import open_registries
from tidegate.testing.images import build_image
from tidegate.testing.registry import Account, Answer, BasicGuard, BearerGuard, Kind, RegistryDouble, TokenServer

HOST = "r.example"
PATH = "team/app"
IMAGE = build_image(layers=2)
OTHER = build_image(layers=2, seed="other")
PINNED = f"{HOST}/{PATH}@{IMAGE.digest}"
TAGGED = f"{HOST}/{PATH}:v1"


def secret(name: str, auths: dict[str, tuple[str, str]]) -> PullSecret:
    entries = {
        key: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
        for key, (user, password) in auths.items()
    }
    return PullSecret(name, docker_config_entries(json.dumps({"auths": entries}).encode()))


def tenant(namespace: str, user: str, password: str = "made up") -> Tenant:
    return tenant_of(namespace, [secret("regcred", {HOST: (user, password)})])


ADA = tenant("a", "ada")
BOB = tenant("b", "bob")
"""May read, with a credential of his own."""
EVE = tenant("a", "eve")
"""Has a good password, and no right to this repository."""
MAL = tenant("b", "mal", "guessed")
UNLISTED = tenant("c", "ada")
"""Has a good secret in a namespace that is not listed."""
ACCOUNTS = {
    "ada": Account(password="made up", pull=(PATH,)),
    "bob": Account(password="made up", pull=(PATH,)),
    "eve": Account(password="made up", pull=("team/other",)),
    "gate": Account(password="made up", pull=("public/*",)),
}


class Bed:
    """A registry that asks for tokens, and a checker whose `auth` lets pull secrets of two namespaces count."""

    def __init__(self, registry: RegistryDouble, tokens: TokenServer, checker: Checker) -> None:
        self.registry = registry
        self.tokens = tokens
        self.checker = checker

    async def check(self, who: Tenant, image: str = PINNED) -> ImageFinding:
        deadline = asyncio.get_running_loop().time() + 5.0
        return await self.checker.check(image, ImageReference.parse(image), deadline=deadline, tenant=who)

    def recall(self, who: Tenant, image: str = PINNED) -> Finding | None:
        found = self.checker.recall(image, ImageReference.parse(image), tenant=who)
        return found and found.finding

    async def cost(self, who: Tenant, image: str = PINNED) -> tuple[Finding, int]:
        """What a tenant is told, and what that cost the registry (tokens are of another host)."""
        before = self.registry.count(kind=Kind.MANIFEST)
        return (await self.check(who, image)).finding, self.registry.count(kind=Kind.MANIFEST) - before


@asynccontextmanager
async def opened() -> AsyncIterator[Bed]:
    async with AsyncExitStack() as stack:
        tokens = await stack.enter_async_context(TokenServer(ACCOUNTS, anonymous=None))
        registry = await stack.enter_async_context(RegistryDouble(guard=BearerGuard(tokens)))
        for path in (PATH, "team/other", "public/app"):
            registry.put(path, IMAGE, tag="v1")
        text = json.dumps({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "Config",
            "registries": [{
                "host": HOST,
                "replicas": {"west": {"endpoint": registry.url}},
                "auth": [
                    {"pullSecrets": {"namespaces": ["a", "b"]}},
                    {"basic": {"username": "gate", "password": "made up"}},
                ],
                "limits": {"requestsPerSecond": 10000, "burst": 10000},
            }],
        })  # fmt: skip
        metrics = Metrics(CollectorRegistry(), program="test")
        registries = await stack.enter_async_context(open_registries(parse(text), metrics=metrics))
        memory = Memory(timer=asyncio.get_running_loop().time)
        checker = Checker(registries, platforms=["linux/amd64"], metrics=metrics, memory=memory)
        stack.push_async_callback(checker.aclose)
        yield Bed(registry, tokens, checker)


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    async with opened() as bed:
        yield bed


@pytest.mark.parametrize("image", [PINNED, TAGGED], ids=["digest", "tag"])
@pytest.mark.parametrize("wrong", [EVE, MAL, UNLISTED, NOBODY], ids=["no right", "wrong password", "unlisted", "none"])
async def test_what_one_tenant_knows_opens_no_door_for_another(bed: Bed, wrong: Tenant, image: str) -> None:
    assert (await bed.check(ADA, image)).finding is Finding.OK
    assert bed.recall(wrong, image) is None
    found = await bed.check(wrong, image)
    assert (found.finding, found.known_before) == (Finding.UNAUTHORIZED, False)
    assert bed.recall(wrong, image) is None
    assert bed.recall(ADA, image) is Finding.OK, "what another was refused takes nothing from who may read"


async def test_the_wrong_tenant_before_the_right_one_and_after(bed: Bed) -> None:
    for who, finding in [
        (EVE, Finding.UNAUTHORIZED), (ADA, Finding.OK), (EVE, Finding.UNAUTHORIZED), (BOB, Finding.OK),
        (MAL, Finding.UNAUTHORIZED), (ADA, Finding.OK), (NOBODY, Finding.UNAUTHORIZED),
    ]:  # fmt: skip
        assert (await bed.check(who)).finding is finding


async def test_whoever_may_read_pays_one_request_for_what_is_known(bed: Bed) -> None:
    await bed.check(ADA)
    assert await bed.cost(ADA) == (Finding.OK, 0)
    assert await bed.cost(BOB) == (Finding.OK, 1)
    assert await bed.cost(BOB) == (Finding.OK, 0)
    assert bed.recall(BOB) is Finding.OK


async def test_a_refusal_is_not_asked_for_again_at_once(bed: Bed) -> None:
    await bed.check(ADA)
    await bed.check(EVE)
    assert await bed.cost(EVE) == (Finding.UNAUTHORIZED, 0)


async def test_the_same_credential_in_two_namespaces_is_one(bed: Bed) -> None:
    await bed.check(ADA)
    assert bed.recall(tenant("b", "ada")) is Finding.OK


async def test_what_the_configured_credential_may_read_everybody_may(bed: Bed) -> None:
    image = f"{HOST}/public/app@{IMAGE.digest}"
    assert (await bed.check(NOBODY, image)).finding is Finding.OK
    assert [bed.recall(who, image) for who in (ADA, EVE, UNLISTED)] == [Finding.OK] * 3


async def test_a_404_to_who_never_read_is_nobody_elses(bed: Bed) -> None:
    """Some registries hide a repository behind 404: that must not take from others what they know."""
    await bed.check(ADA)
    bed.registry.guard = BasicGuard({"ada": "made up", "eve": "made up", "bob": "made up"})
    bed.registry.lose(PATH, IMAGE.digest)
    assert (await bed.check(EVE)).finding is Finding.ABSENT
    assert bed.recall(ADA) is Finding.OK
    assert bed.recall(EVE) is None


async def test_flights_are_shared_among_equals_only(bed: Bed) -> None:
    answers = await asyncio.gather(*(bed.check(who) for who in [ADA, EVE, ADA, BOB, tenant("a", "ada"), MAL, ADA]))
    assert [answer.finding for answer in answers] == [
        Finding.OK, Finding.UNAUTHORIZED, Finding.OK, Finding.OK, Finding.OK, Finding.UNAUTHORIZED, Finding.OK,
    ]  # fmt: skip
    manifests = [r for r in bed.registry.requests if "/manifests/" in r.path and r.status == 200]
    assert len(manifests) == 2, "one walk for each credential that may read"


@pytest.mark.parametrize(
    "who, excused",
    [pytest.param(ADA, True, id="who read it before"), pytest.param(BOB, False, id="who never did"),
     pytest.param(EVE, False, id="who may not"), pytest.param(NOBODY, False, id="nobody")],
)  # fmt: skip
async def test_an_outage_is_excused_by_what_the_tenant_itself_was_told_before(
    bed: Bed, *, who: Tenant, excused: bool
) -> None:
    bed.registry.put(PATH, OTHER, tag="v1")
    moved = f"{HOST}/{PATH}:v1"
    assert (await bed.check(ADA, moved)).finding is Finding.OK
    bed.registry.fault(answers=(Answer(status=503),))
    bed.checker.doubt((HOST, "west", PATH, OTHER.digest))
    found = await bed.check(who, moved)
    assert (found.finding, found.known_before) == (Finding.UNREACHABLE, excused)


async def test_resolving_a_tag_is_reading(bed: Bed) -> None:
    reference = ImageReference.parse(TAGGED)
    deadline = asyncio.get_running_loop().time() + 5.0
    assert await bed.checker.asked_by(ADA).resolve(reference, deadline=deadline) == IMAGE.digest
    with pytest.raises(RegistryError) as told:
        await bed.checker.asked_by(EVE).resolve(reference, deadline=deadline)
    assert told.value.finding is Finding.UNAUTHORIZED


async def test_a_right_that_is_taken_away_ends_with_the_next_request(bed: Bed) -> None:
    await bed.check(ADA)
    bed.tokens.accounts["ada"] = Account(password="rotated", pull=(PATH,))
    bed.tokens.revoke()
    assert (await bed.check(ADA)).finding is Finding.OK, f"believed for at most {READ_S:.0f} s"
    bed.registry.put(PATH, OTHER)
    other = f"{HOST}/{PATH}@{OTHER.digest}"
    assert (await bed.check(ADA, other)).finding is Finding.UNAUTHORIZED
    assert bed.recall(ADA) is None, "the refusal ended what was believed"
    assert (await bed.check(ADA)).finding is Finding.UNAUTHORIZED
    assert (await bed.check(tenant("a", "ada", "rotated"))).finding is Finding.OK


async def test_nothing_of_a_secret_is_in_a_repr_or_a_detail(bed: Bed) -> None:
    found = await bed.check(MAL)
    asker = asker_of(MAL, [PullSecretsEntry(0, frozenset("b"))], f"{HOST}/{PATH}")
    assert asker.credentials
    told = f"{MAL!r} {asker!r} {found!r} {(('r', 'w', 'p', 'd'), asker)}"
    assert "guessed" not in told
    assert asker.credentials[0].key.fingerprint.hex() not in told
    assert "pullSecret regcred" in found.detail


# In any order, together or one after the other

PEOPLE = {"ada": ADA, "bob": BOB, "eve": EVE, "mal": MAL, "unlisted": UNLISTED, "nobody": NOBODY}
PATHS = [PATH, "team/other", "public/app"]


def may_read(who: str, path: str) -> bool:
    """By what the token server grants."""
    mine = () if who in {"mal", "unlisted", "nobody"} else ACCOUNTS[who].pull
    return path in mine or path.startswith("public/")


Question = tuple[str, str, bool]
questions = st.tuples(st.sampled_from(sorted(PEOPLE)), st.sampled_from(PATHS), st.booleans())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(questions, min_size=1, max_size=6), min_size=1, max_size=6))
def test_nobody_is_told_ok_whose_credentials_the_registry_refuses(rounds: list[list[Question]]) -> None:
    async def ask(bed: Bed, question: Question) -> None:
        who, path, tagged = question
        image = f"{HOST}/{path}:v1" if tagged else f"{HOST}/{path}@{IMAGE.digest}"
        expected = Finding.OK if may_read(who, path) else Finding.UNAUTHORIZED
        assert bed.recall(PEOPLE[who], image) in {None, expected}
        assert (await bed.check(PEOPLE[who], image)).finding is expected, question
        assert bed.recall(PEOPLE[who], image) in {None, expected}

    async def story() -> None:
        async with opened() as bed:
            for together in rounds:
                async with asyncio.TaskGroup() as tasks:
                    for question in together:
                        tasks.create_task(ask(bed, question))

    asyncio.run(story())


# Which of a tenant's credentials count for an image


ENTRIES = [PullSecretsEntry(1, frozenset({"a"})), PullSecretsEntry(3, frozenset({"a", "b"}))]


@pytest.mark.parametrize(
    "namespace, image, expected",
    [
        pytest.param(
            "a", "r.example/team/app", [(1, "deep"), (1, "wide"), (3, "deep"), (3, "wide")], id="longest first"
        ),
        pytest.param("b", "r.example/team/app", [(3, "deep"), (3, "wide")], id="the entry that lists it"),
        pytest.param("b", "r.example/x", [(3, "wide")], id="path prefix"),
        pytest.param("b", "docker.io/library/redis", [(3, "hub")], id="Docker Hub, when nothing else matches"),
        pytest.param("b", "q.example/x", [], id="another host"),
        pytest.param("c", "r.example/team/app", [], id="a namespace that is not listed"),
    ],
)  # fmt: skip
def test_all_secrets_make_one_keyring(namespace: str, image: str, expected: list[tuple[int, str]]) -> None:
    who = tenant_of(namespace, [
        secret("first", {"r.example": ("wide", "1"), "https://index.docker.io/v1/": ("hub", "1")}),
        secret("second", {"r.example/team": ("deep", "1")}),
    ])  # fmt: skip
    found = asker_of(who, ENTRIES, image).credentials
    assert [(credential.place, credential.username) for credential in found] == expected


def test_a_tenant_with_a_thousand_credentials_has_sixteen_tries() -> None:
    many = [secret(f"s{number}", {HOST: (f"u{number}", "x")}) for number in range(1000)]
    found = asker_of(tenant_of("b", many), ENTRIES, f"{HOST}/{PATH}").credentials
    assert [credential.username for credential in found] == [f"u{number}" for number in range(MOST_CREDENTIALS)]


def test_nobody_asks_for_nothing() -> None:
    assert asker_of(NOBODY, ENTRIES, f"{HOST}/{PATH}") is NO_ASKER


# What is remembered of rights


def test_a_right_is_believed_for_a_while_and_remembered_for_longer() -> None:
    clock = [0.0]
    readers = Readers(lambda: clock[0])
    own = Credential(0, "ada", "x")
    readers.learn(PATH, own)
    asker, other = Asker((own,)), Asker((Credential(0, "ada", "y"),))
    assert (readers.may(PATH, asker), readers.may(PATH, other), readers.may("team/other", asker)) == (
        True,
        False,
        False,
    )
    clock[0] = READ_S
    assert (readers.may(PATH, asker), readers.did(PATH, asker)) == (False, True)
    clock[0] = EVER_S
    assert not readers.did(PATH, asker)


def test_rights_are_bounded() -> None:
    readers = Readers(lambda: 0.0)
    for number in range(20_000):
        readers.learn(f"team/{number}", Credential(0, "ada", "x"))
    known = [readers.may(f"team/{number}", Asker((Credential(0, "ada", "x"),))) for number in range(20_000)]
    assert sum(known) == 16384
