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
            "loose": Settings(mode=Mode.ENFORCE, tags=Tags.ALLOW, unlisted=Unlisted.ALLOW, exempt_annotation=True),
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
ROBOT = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "static-robot"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "robot"}],
}  # fmt: skip
SPACES = {"static-base": "", **{f"static-{name}": name for name in ("loose", "listed", "mild", "pin", "warn")}}


@pytest.fixture(scope="module")
def static(api_server: Any) -> Iterator[Any]:
    """The API server with the policies in force, and the namespaces."""
    documents = [*policies(POLICY, HOSTS, own="tidegate"), *map(space, SPACES), ROBOT]
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


TAGGED, PINNED, BAD = "r.example/app:1", f"r.example/app:1@{DIGEST}", "UPPER"
EXEMPT, BLANK = {"tidegate.dev/exempt": "INC-1"}, {"tidegate.dev/exempt": " "}
MIRROR = {"kubernetes.io/config.mirror": "x"}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
KINDS = {
    "pods": ("v1", "Pod", ""), "podtemplates": ("v1", "PodTemplate", "template"),
    "replicationcontrollers": ("v1", "ReplicationController", "spec.template"),
    "deployments": ("apps/v1", "Deployment", "spec.template"),
    "replicasets": ("apps/v1", "ReplicaSet", "spec.template"),
    "statefulsets": ("apps/v1", "StatefulSet", "spec.template"),
    "daemonsets": ("apps/v1", "DaemonSet", "spec.template"), "jobs": ("batch/v1", "Job", "spec.template"),
    "cronjobs": ("batch/v1", "CronJob", "spec.jobTemplate.spec.template"),
}  # fmt: skip


def built(plural: str, spec: Mapping[str, Any], *, labels: Mapping[str, str], **metadata: Any) -> dict[str, Any]:
    """An object of that kind with a pod spec, complete enough for the API server."""
    version, kind, where = KINDS[plural]
    policy = "Never" if "Job" in kind else "Always"
    made: Any = {"metadata": {"labels": {"app": "x", **labels}}, "spec": {"restartPolicy": policy, **spec}}
    for key in reversed(where.split(".") if where else ()):
        made = {key: made}
    if where.startswith("spec.template") and kind != "Job":
        made["spec"]["selector"] = {"app": "x"} if version == "v1" else {"matchLabels": {"app": "x"}}
    if kind == "CronJob":
        made["spec"]["schedule"] = "0 0 * * *"
    head = {"apiVersion": version, "kind": kind, "metadata": {**made.get("metadata", {}), "name": "x", **metadata}}
    return {**made, **head}


async def told(
    api: Any,
    namespace: str,
    plural: str,
    *images: str,
    user: str = "",
    spec: Any = None,
    labels: Any = None,
    **more: Any,
) -> Any:
    """What a dry creation is answered."""
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images or (PINNED,))]
    document = built(plural, {"containers": containers, **(spec or {})}, labels=labels or {}, **more)
    group = document["apiVersion"]
    path = f"/{'api' if group == 'v1' else 'apis'}/{group}/namespaces/{namespace}/{plural}"
    return await api("POST", path, document, dry=True, user=user)


@pytest.mark.parametrize("plural", KINDS)
async def test_every_kind_and_every_place_is_looked_at(static: Any, api: Any, plural: str) -> None:
    del static
    good = await told(api, "static-base", plural)
    assert good.status == 201, good
    for spec in (
        {"containers": [{"name": "a", "image": TAGGED}]},
        {"initContainers": [{"name": "a", "image": TAGGED, "restartPolicy": "Always"}]},
        {"volumes": [{"name": "a", "image": {"reference": TAGGED}}]},
    ):
        refused = await told(api, "static-base", plural, spec=spec)
        assert refused.status == 403, (spec, refused)
        assert "not-pinned: r.example/app:1 is not pinned by digest" in refused.message


@pytest.mark.parametrize(
    "namespace,plural,image,more,finding",
    [
        pytest.param("static-base", "pods", TAGGED, {"ownerReferences": [OWNER]}, None, id="an owned Pod may have run"),
        pytest.param("static-mild", "pods", BAD, {"ownerReferences": [OWNER]}, Finding.MALFORMED, id="not counted"),
        pytest.param("static-base", "replicasets", TAGGED, {"ownerReferences": [OWNER]}, Finding.NOT_PINNED,
                     id="an owned one, no Pod"),
        pytest.param("static-pin", "replicasets", TAGGED, {"ownerReferences": [OWNER]}, None, id="pinned Pods, owned"),
        pytest.param("static-pin", "deployments", TAGGED, {}, Finding.NOT_PINNED, id="could have been pinned"),
        pytest.param("static-base", "pods", TAGGED, {"user": "robot"}, None, id="an exempt user"),
        pytest.param("static-base", "jobs", BAD, {"labels": {"exempt": "yes"}}, None, id="an exempt label of its Pods"),
        pytest.param("static-loose", "jobs", BAD, {"labels": {"exempt": "yes"}}, Finding.MALFORMED, id="not there"),
        pytest.param("static-loose", "pods", BAD, {"annotations": EXEMPT}, None, id="an author's exemption"),
        pytest.param("static-loose", "jobs", BAD, {"annotations": EXEMPT}, Finding.MALFORMED, id="not of its Pods"),
        pytest.param("static-loose", "pods", BAD, {"annotations": BLANK}, Finding.MALFORMED, id="without a reason"),
        pytest.param("static-base", "pods", BAD, {"annotations": EXEMPT}, Finding.MALFORMED, id="not for authors"),
        pytest.param("static-mild", "pods", TAGGED, {}, None, id="only warned about"),
        pytest.param("static-listed", "pods", f"o.example/x@{DIGEST}", {}, Finding.UNLISTED, id="unlisted"),
        pytest.param("static-base", "pods", TAGGED, {"annotations": MIRROR, "spec": {"nodeName": "n"}},
                     Finding.NOT_PINNED, id="not a node's mirror Pod"),
    ],
)  # fmt: skip
async def test_who_is_judged(
    static: Any, api: Any, namespace: str, plural: str, image: str, *, more: dict[str, Any], finding: Finding | None
) -> None:
    del static
    said = await told(api, namespace, plural, image, **more)
    assert answered(said.message) is finding
    assert said.status == (201 if finding is None else 403), said


async def test_what_is_there_may_be_changed_and_new_images_are_judged(static: Any, api: Any) -> None:
    kept = {"ownerReferences": [OWNER], "finalizers": ["e.io/x"]}  # being owned excuses at creation only
    pod = built("pods", {"containers": [{"name": "a", "image": BAD}]}, labels={}, **kept)
    path = "/api/v1/namespaces/static-base/pods"
    assert (await api("POST", path, pod)).status == 201
    assert (await api("PATCH", f"{path}/x", {"metadata": {"labels": {"team": "a"}}})).status == 200
    other = {"spec": {"containers": [{"name": "a", "image": TAGGED}]}}
    assert answered((await api("PATCH", f"{path}/x", other, dry=True)).message) is Finding.NOT_PINNED
    debug = {"spec": {"ephemeralContainers": [{"name": "d", "image": TAGGED}]}}
    said = await api("PATCH", f"{path}/x/ephemeralcontainers", debug, dry=True)
    assert answered(said.message) is Finding.NOT_PINNED
    static.kubectl("delete", "pod", "x", "-n", "static-base", "--wait=false", "--force", "--grace-period=0")
    assert (await api("PATCH", f"{path}/x", other, dry=True)).status == 200, "it is being deleted"
    await api("PATCH", f"{path}/x", {"metadata": {"finalizers": None}})


@pytest.mark.parametrize(
    "labels,status,warns",
    [
        pytest.param({}, 403, False, id="as the policy's mode"),
        pytest.param({"tidegate.dev/mode": "audit"}, 201, False, id="not labelled yet, and audits"),
        pytest.param({"tidegate.dev/effective-mode": "audit"}, 201, False, id="audits"),
        pytest.param({"tidegate.dev/effective-mode": "warn"}, 201, True, id="warns"),
        pytest.param(
            {"tidegate.dev/effective-mode": "enforce", "tidegate.dev/break-glass": "x"}, 201, False, id="glass"
        ),
    ],
)
async def test_modes(static: Any, api: Any, labels: dict[str, str], *, status: int, warns: bool) -> None:
    del static
    name = "static-mode-" + "-".join([key.rpartition("/")[2] + value for key, value in labels.items()] or ["none"])
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    assert (await api("POST", "/api/v1/namespaces", space)).status == 201
    said = await told(api, name, "deployments", TAGGED)
    assert said.status == status, said
    assert any("not-pinned: r.example/app:1" in text for text in said.warnings) is warns, said.warnings


async def test_an_object_of_many_images_is_not_too_dear(static: Any, api: Any) -> None:
    del static
    sizes = ((200, 60, True), (150, 100, True), (201, 60, False), (200, 900, False), (999, 9, False))
    for count, length, refused in sizes:  # what may be too dear is the webhook's
        images = [f"r.example/{f'{n:04}/'.ljust(length, 'a')}:1" for n in range(count)]
        said = await told(api, "static-base", "jobs", *images)
        assert answered(said.message) is (Finding.NOT_PINNED if refused else None), (count, length, said.message[:300])
        assert said.status == (403 if refused else 201)
