"""The shipped webhook before kube-apiserver, with the shipped roles: what it patches is taken, and taken once."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tidegate.admission import webhook_configurations
from tidegate.availability import name_of, spec_of
from tidegate.findings import Mode
from tidegate.reference import ImageReference
from tidegate.testing.certificates import issue
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).parents[3]
CONFIG = """
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - {{host: r.example, local: west, replicas: {{home: {{endpoint: "{home}"}}, west: {{endpoint: "{west}"}}}}}}
policy: {{mode: enforce, tags: pin}}
"""


class Cluster:
    """kubectl, without blocking the loop that the registries live on."""

    def __init__(self, server: Any) -> None:
        self.server = server

    async def kubectl(self, *arguments: str, text: str = "") -> str:
        said: str = await asyncio.to_thread(self.server.kubectl, *arguments, text=text)
        return said

    async def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        made = await self.kubectl("apply", "-f", "-", "-o", "json", text=json.dumps(document))
        result: dict[str, Any] = json.loads(made)
        return result

    async def refused(self, document: dict[str, Any]) -> str:
        with pytest.raises(AssertionError) as refusal:
            await self.apply(document)
        return str(refusal.value)


def spec(*images: str, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(images)], **more}


def pod(name: str, *images: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(*images, **more)}


def deployment(name: str, *images: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec(*images)},
        },
    }  # fmt: skip


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[RegistryDouble, RegistryDouble]]:
    async with RegistryDouble() as home, RegistryDouble() as west:
        yield home, west


@pytest.fixture
async def cluster(api_server: Any, tmp_path: Path, replicas: tuple[Any, Any]) -> AsyncIterator[Cluster]:
    """Armed: both configurations of the stories, but by URL, and the program under its own account."""
    running = Cluster(api_server)
    names = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("tidegate", "shop")]
    for name in names:
        await running.apply(name)
    await running.kubectl("apply", "-f", str(CHECKOUT / "manifests/rbac.yaml"))
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tidegate-decision", "namespace": "tidegate"},
        "data": {"0001": base64.b64encode(b"k" * 32).decode()},
    }  # fmt: skip
    await running.apply(secret)
    pair, port = issue("127.0.0.1"), free_port()
    process = await start(running, tmp_path, pair, port, replicas)
    authority = base64.b64encode(pair.authority).decode()
    gates = webhook_configurations(Mode.ENFORCE, own="tidegate", authority=authority)
    for gate in gates:
        for webhook in gate["webhooks"]:
            service = webhook["clientConfig"].pop("service")
            webhook["clientConfig"]["url"] = f"https://127.0.0.1:{port}{service['path']}"
    try:
        await ready(port, process, tmp_path)
        for gate in gates:
            await running.apply(gate)
        yield running
    finally:
        for gate in gates:
            await running.kubectl("delete", gate["kind"], "tidegate", "--ignore-not-found")
        process.kill()
        await process.wait()
        await running.kubectl("delete", "pods,deployments", "--all", "-n", "shop", "--force", "--grace-period=0")


async def start(
    running: Cluster, folder: Path, pair: Any, port: int, replicas: tuple[Any, Any]
) -> asyncio.subprocess.Process:
    token = (await running.kubectl("create", "token", "tidegate-webhook", "-n", "tidegate")).strip()
    kubeconfig = yaml.safe_load(running.server.kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    home, west = replicas
    for name, content in {
        "kubeconfig": yaml.safe_dump(kubeconfig).encode(), "tls.crt": pair.certificate, "tls.key": pair.key,
        "config.yaml": CONFIG.format(home=home.url, west=west.url).encode(),
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "webhook", "--config", folder / "config.yaml", "--tls-cert", folder / "tls.crt",
            "--tls-key", folder / "tls.key", "--port", str(port), "--metrics-port", str(free_port()),
            "--kubeconfig", folder / "kubeconfig", cwd=CHECKOUT, stdout=log, stderr=log,
        )  # fmt: skip


async def ready(port: int, process: asyncio.subprocess.Process, folder: Path) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        while True:
            assert process.returncode is None, (folder / "log").read_text()
            try:
                async with session.get(f"https://127.0.0.1:{port}/readyz", ssl=False) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


def images(document: dict[str, Any]) -> list[str]:
    of = document["spec"]["template"]["spec"] if "template" in document["spec"] else document["spec"]
    return [container["image"] for container in of["containers"]]


async def test_pins_holds_and_agrees(cluster: Cluster, replicas: tuple[Any, Any], tmp_path: Path) -> None:
    home, west = replicas
    web, new = build_image(seed="web"), build_image(seed="new")
    home.put("web", web, tag="1")
    west.put("web", web, tag="1")
    home.put("new", new, tag="1")
    pinned = f"r.example/web:1@{web.digest}"

    made = await cluster.apply(deployment("web", "r.example/web:1"))
    assert images(made) == [pinned]
    again = await cluster.apply(deployment("web", "r.example/web:1", touched="yes"))
    assert images(again) == [pinned]
    assert again["spec"] == made["spec"], "applied again with its tag, it must not roll out"

    run = await cluster.apply(pod("runs", "r.example/web:1"))
    assert images(run) == [pinned]
    assert "schedulingGates" not in run["spec"]
    assert "tidegate.dev/decision" in run["metadata"]["annotations"]
    assert images(await cluster.apply(pod("runs", "r.example/web:1"))) == [pinned]

    waits = await cluster.apply(pod("waits", "r.example/new:1", schedulingGates=[{"name": "example.com/other"}]))
    assert images(waits) == [f"r.example/new:1@{new.digest}"]
    assert [gate["name"] for gate in waits["spec"]["schedulingGates"]] == ["example.com/other", "tidegate.dev/replica"]
    rolls = await cluster.apply(deployment("new", "r.example/new:1"))
    assert images(rolls) == [f"r.example/new:1@{new.digest}"]

    assert "is not on west yet" in await cluster.refused(pod("here", "r.example/new:1", nodeName="n"))
    gone = await cluster.refused(pod("gone", "r.example/gone:1"))
    assert "not-pinned" in gone
    assert "absent" in gone
    log = (tmp_path / "log").read_text()
    assert "kube.watch_failed" not in log, "its Role is too small"
    assert "review.failed" not in log


async def test_it_may_read_one_secret(cluster: Cluster) -> None:
    account = "--as=system:serviceaccount:tidegate:tidegate-webhook"
    for verb, what, says in (
        ("list", "secrets/tidegate-decision", "yes"), ("watch", "secrets/tidegate-decision", "yes"),
        ("get", "secrets/other", "no"), ("list", "secrets", "no"), ("update", "secrets/tidegate-decision", "no"),
    ):  # fmt: skip
        try:
            said = await cluster.kubectl("auth", "can-i", verb, what, "-n", "tidegate", account)
        except AssertionError:  # kubectl ends with 1 for a no
            said = "no"
        assert said.strip() == says, (verb, what)


async def test_a_namespace_and_what_is_in_it_come_in_one_apply(cluster: Cluster) -> None:
    """The watch of namespaces is slower than kubectl; the mode is the namespace's own all the same."""
    for number in range(8):
        for mode, admitted in (("audit", True), ("enforce", False), ("", False)):
            name = f"at-once-{mode or 'none'}-{number}"
            labels = {"tidegate.dev/mode": mode} if mode else {}
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            work = deployment("web", "UPPER")
            work["metadata"]["namespace"] = name
            both = {"apiVersion": "v1", "kind": "List", "items": [space, work]}
            if admitted:
                await cluster.apply(both)
            else:
                assert "malformed: UPPER" in await cluster.refused(both)


async def test_twenty_pods_that_ran_come_back_and_a_twenty_first_does_not(cluster: Cluster, tmp_path: Path) -> None:
    """By tags that home does not even know: what an owner makes anew is let in where it ran, and nothing else is."""
    texts = [f"r.example/app{number}:1" for number in range(20)]
    for text in texts:
        await runs_in_shop(cluster, text)
    back = [await cluster.apply(owned(f"back{number}", text)) for number, text in enumerate(texts)]
    assert [images(made) for made in back] == [[text] for text in texts]
    assert not any("schedulingGates" in made["spec"] for made in back)
    assert "not-pinned" in await cluster.refused(owned("more", "r.example/app20:1"))
    assert "not-pinned" in await cluster.refused(pod("alone", texts[0]))
    assert "not-pinned" in await cluster.refused(deployment("copy", texts[0]))
    assert "kube.watch_failed" not in (tmp_path / "log").read_text(), "its Role is too small"


def owned(name: str, *images: str) -> dict[str, Any]:
    """A Pod as a ReplicaSet makes it."""
    made = pod(name, *images)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "0000", "controller": True}
    return {**made, "metadata": {**made["metadata"], "ownerReferences": [owner]}}


async def runs_in_shop(cluster: Cluster, text: str) -> None:
    """What the controller writes of an image that runs there."""
    of = spec_of(ImageReference.parse(text), text)
    document = {
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "ImageAvailability", "metadata": {"name": name_of(of)},
        "spec": {"registry": of.registry, "repository": of.repository, "tag": of.tag, "image": of.image},
    }  # fmt: skip
    await cluster.apply(document)
    status = {"status": {"namespaces": [{"name": "shop", "since": "2026-11-24T12:00:00Z"}]}}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
    await cluster.kubectl("patch", "imageavailabilities", name_of(of), *patch)
