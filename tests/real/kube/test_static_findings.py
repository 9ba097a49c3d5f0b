"""The policies generated from a configuration, before kube-apiserver: CEL says what `tidegate.policy` says."""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tidegate.admission import policies
from tidegate.findings import Finding, Mode, Verdict
from tidegate.policy import (
    NAME_LABEL,
    Exemption,
    ImagePattern,
    Policy,
    Rule,
    Selector,
    Settings,
    Subject,
    Tags,
    Unlisted,
    static_finding,
    verdict_of,
)
from tidegate.policy.listing import listed_as
from tidegate.reference import ImageReference, InvalidReference

pytestmark = pytest.mark.real

CORPUS = Path(__file__).parents[2] / "unit/reference/corpus.json"
DIGEST = "sha256:" + "a" * 64
HOSTS = ("r.example", "docker.io", "ports.example:5000", "secure.example:443", "localhost:5000")
ACTIVE_S = 20.0
ENFORCE = Settings(mode=Mode.ENFORCE)
POLICY = Policy(
    base=ENFORCE,
    rules=tuple(
        Rule(Selector({"static": name}), settings)
        for name, settings in {
            "loose": Settings(mode=Mode.ENFORCE, tags=Tags.ALLOW, unlisted=Unlisted.ALLOW),
            "listed": Settings(mode=Mode.ENFORCE, unlisted=Unlisted.DENY),
            "mild": Settings(mode=Mode.ENFORCE, verdicts={Finding.NOT_PINNED: Verdict.WARN}, grandfather=False),
            "pin": Settings(mode=Mode.ENFORCE, tags=Tags.PIN),
            "warn": Settings(mode=Mode.WARN),
        }.items()
    ),
    exemptions=(
        Exemption(images=tuple(map(ImagePattern.parse, ("mcr.example/*", "*.wild.example/a*/b"))), reason="platform"),
        Exemption(images=(ImagePattern.parse("docker.io/library/free"),), reason="one of the hub"),
        Exemption(images=(ImagePattern.parse("*.example:443/x/*"),), namespaces=frozenset({"static-base"}), reason="x"),
        Exemption(users=frozenset({"robot"}), reason="it knows"),
        Exemption(labels=Selector({"exempt": "yes"}), namespaces=frozenset({"static-base"}), reason="by label"),
    ),
)
SPACES = {"static-base": "", **{f"static-{name}": name for name in ("loose", "listed", "mild", "pin", "warn")}}


@pytest.fixture(scope="module")
def static(api_server: Any) -> Iterator[Any]:
    """The API server with the policies in force, and the namespaces."""
    documents = [*policies(POLICY, HOSTS, own="tidegate"), *map(space, SPACES)]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    api_server.kubectl("apply", "-f", "-", text=given)
    end = time.monotonic() + ACTIVE_S
    for name in SPACES:
        while not refused_by(api_server, name) and name != "static-warn":
            assert time.monotonic() < end, "the policies never came into force"
            time.sleep(0.2)
    yield api_server
    api_server.kubectl("delete", "--wait=false", "-f", "-", text=given)  # nobody here finalizes namespaces


def refused_by(api_server: Any, namespace: str) -> bool:
    try:
        api_server.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(template(namespace, "UPPER")))
    except AssertionError as exc:
        return "malformed" in str(exc)
    return False


def space(name: str) -> dict[str, Any]:
    labels = {"tidegate.dev/effective-mode": "enforce" if name != "static-warn" else "warn"}
    if SPACES[name]:
        labels["static"] = SPACES[name]
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def template(namespace: str, *images: str, **labels: str) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    return {
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t", "namespace": namespace},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    }  # fmt: skip


def templates(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/podtemplates"


def expected(namespace: str, image: str) -> Finding | None:
    """What `tidegate.policy` denies it for."""
    labels = {"static": SPACES[namespace], NAME_LABEL: namespace}
    settings, subject = POLICY.settings_for(labels), Subject(namespace=namespace, user="admin")
    reference: ImageReference | InvalidReference
    try:
        reference = listed_as(ImageReference.parse(image), HOSTS)
    except InvalidReference as exc:
        reference = exc
    found = static_finding(image, reference, policy=POLICY, settings=settings, subject=subject, listed=HOSTS)
    if found is None or verdict_of(found, settings=settings, subject=subject) is not Verdict.DENY:
        return None
    return found.finding


def answered(message: str) -> Finding | None:
    if (match := re.search(r"denied request: ([a-z-]+): ", message)) is None:
        return None
    return Finding(match[1])


def corpus() -> list[str]:
    """Texts that the grammar's own library was asked about."""
    stored = json.loads(CORPUS.read_text())
    words: Mapping[str, str] = stored["words"]
    shorthand = re.compile("{(" + "|".join(words) + ")}")
    return [shorthand.sub(lambda word: words[word[1]], row[0]) for row in stored["rows"]]


def made_up(count: int, *, seed: int) -> list[str]:
    """Near misses: parts that are right or almost, put together."""
    chance = random.Random(seed)  # noqa: S311 - the same every time
    hosts = (
        "", "", "r.example/", "R.Example/", "r.example:443/", "r.example:5000/", "ports.example:5000/", "docker.io/",
        "index.docker.io/", "secure.example/", "SECURE.example:443/", "mcr.example/", "MCR.example/",
        "a.wild.example/", "a.b.wild.example/", "localhost/", "localhost:5000/", "other.example/", "Upper/",
        "[::1]:5000/", "-bad.example/", "x.example:/", "my_host.example/", "é.example/", "x..example/", "127.0.0.1/",
        "registry-1.docker.io/",
    )  # fmt: skip
    paths = (
        "app", "library/app", "free", "library/free", "a/b", "a/c/b", "abc/b", "ab/c", "a__b", "a___b", "a-.b", "a--b",
        "x/y", "UPPER", "a//b", "/a", "a/", "a" * 247, "a" * 248, "a" * 255, "a" * 256, f"{'a/' * 120}b", "a" * 64, "",
    )  # fmt: skip
    tags = ("", "", ":1", ":v1.0_x-y", f":{'t' * 128}", f":{'t' * 129}", ":.x", ":", ":latest", ": 1")
    digests = (
        "", "", f"@{DIGEST}", f"@{DIGEST[:-1]}", f"@{DIGEST.upper()}", f"@sha512:{'b' * 128}", f"@sha384:{'c' * 96}",
        "@sha256:", f"@md5:{'a' * 64}", f"@{DIGEST}@{DIGEST}", "\n",
    )  # fmt: skip
    made = {"".join(chance.choice(part) for part in (hosts, paths, tags, digests)): None for _ in range(count * 2)}
    odd = ("x" * 1024, "x" * 1025, f"{'a.' * 500}example/app@{DIGEST}", "y" * 400_000, "index.docker.io", "docker.io")
    return [*odd, *list(made)[: count - len(odd)]]


async def compare(api: Any, namespace: str, images: Sequence[str]) -> tuple[int, int, list[Any]]:
    """How many were asked, how many of them refused, and where CEL and Python do not agree."""
    waiting, different, refusals = iter(images), [], 0

    async def some() -> None:
        nonlocal refusals
        for image in waiting:
            said = await api("POST", templates(namespace), template(namespace, image), dry=True)
            finding, ours = answered(said.message), expected(namespace, image)
            refusals += finding is not None
            if finding is not ours or said.status not in {201, 403 if ours else 201}:
                different.append((image[:200], ours, said.status, said.message[:300]))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(12):
            tasks.create_task(some())
    return len(images), refusals, different


@pytest.mark.parametrize("namespace", [name for name in SPACES if name != "static-warn"])
async def test_cel_and_python_agree(static: Any, api: Any, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
    del static
    images = made_up(1000, seed=7)
    if namespace == "static-base":
        images += [text for text in corpus() if text]  # an empty image is none
    asked, refusals, different = await compare(api, namespace, images)
    assert different == []
    with capsys.disabled():
        print(f"\n{namespace}: CEL and Python agree on {asked} references; {refusals} of them refused")
    assert asked >= 1000
    assert 100 < refusals < asked
