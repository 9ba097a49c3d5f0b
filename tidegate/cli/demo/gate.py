"""The first half of the story: a rollout whose image has not come in yet, and the shipped webhook in its way."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tidegate.cli.demo.programs import Program, program
from tidegate.cli.demo.result import GateResult
from tidegate.cli.demo.scene import HOST
from tidegate.findings import Finding
from tidegate.kube.own import GROUP
from tidegate.testing.certificates import issue
from tidegate.testing.images import Image, build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import Lag, RegistryDouble, Replication

REPOSITORY = "shop/web"
START_S = 30.0
LAG_S = 3.0
AGAIN_S = 0.5
GIVE_UP_S = 30.0
_REQUEST_S = 15.0

Told = Callable[[str, str], None]
"""`told(kind, text)`: how the story reaches a screen; kinds are `step`, `denied` and `allowed`."""


@dataclass(slots=True)
class GatedCluster:
    """Home, a lagging replica, and the webhook over TLS."""

    home: RegistryDouble
    replica: RegistryDouble
    lagging: Replication
    webhook: Program
    url: str
    trust: ssl.SSLContext
    session: aiohttp.ClientSession

    async def ready(self) -> None:
        """Wait until the webhook says so itself."""
        await self.webhook.until("the webhook is ready", self._is_ready, within_s=START_S)

    async def roll_out(self, told: Told) -> GateResult:
        """Push, apply, be refused; the replica catches up; apply again until it enters."""
        image = build_image(layers=4, layer_bytes=1 << 18, seed="web")
        told("step", f"a pipeline pushes {REPOSITORY}:1 to eastus (home); westeurope has its manifest and some blobs")
        self.home.put(REPOSITORY, image, tag="1")
        self.replica.put(REPOSITORY, image, only={image.config, image.layers[0]})
        told("step", "kubectl apply -f web.yaml, in the cluster that pulls from westeurope")
        before, text = await self._apply(image)
        told("denied", text)
        refused_at = time.monotonic()
        told("step", f"{LAG_S:g} s later the replica has caught up")
        await asyncio.sleep(LAG_S)
        self.lagging.catch_up()
        after, text = await self._apply(image)
        while after is not Finding.OK and time.monotonic() - refused_at < GIVE_UP_S:
            await asyncio.sleep(AGAIN_S)
            after, text = await self._apply(image)
        held_s = round(time.monotonic() - refused_at, 2)
        told(
            "allowed" if after is Finding.OK else "denied",
            text or f"deployment.apps/web created, {held_s} s after the refusal",
        )
        return GateResult(before=before, after=after, held_s=held_s)

    async def _apply(self, image: Image) -> tuple[Finding, str]:
        """Ask as the API server does; the finding, and the denial as kubectl would print it."""
        review = _review(f"{HOST}/{REPOSITORY}:1@{image.digest}")
        async with self.session.post(f"{self.url}/validate?timeout=10s", json=review, ssl=self.trust) as answer:
            answer.raise_for_status()
            response = (await answer.json())["response"]
        finding = Finding(response["auditAnnotations"]["finding"])
        if response["allowed"]:
            return finding, ""
        return finding, (
            'Error from server (Forbidden): error when creating "web.yaml": admission webhook "validate.tidegate.dev" '
            f"denied the request: {response['status']['message']}"
        )

    async def _is_ready(self) -> bool:
        try:
            async with self.session.get(f"{self.url}/readyz", ssl=self.trust) as answer:
                return answer.ok
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def open_gate(folder: Path) -> AsyncIterator[GatedCluster]:
    """Two replicas and the webhook; the lagging one gets blobs only when told."""
    certificate = issue("localhost", "127.0.0.1")
    (folder / "tls.crt").write_bytes(certificate.certificate)
    key = folder / "tls.key"
    key.touch(mode=0o600)
    key.write_bytes(certificate.key)
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(RegistryDouble())
        replica = await stack.enter_async_context(RegistryDouble())
        lagging = replica.replicate_from(home, lag=Lag(blobs_s=None))
        config = folder / "gate.yaml"
        config.write_text(yaml.safe_dump(_config(home.url, replica.url)), encoding="utf-8")
        port = free_port()
        webhook = await stack.enter_async_context(
            program("webhook", "--config", str(config), "--tls-cert", str(folder / "tls.crt"), "--tls-key", str(key),
                    "--port", str(port), "--metrics-port", str(free_port()), name="webhook", folder=folder)
        )  # fmt: skip
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REQUEST_S), cookie_jar=aiohttp.DummyCookieJar())
        )
        trust = ssl.create_default_context(cadata=certificate.authority.decode())
        yield GatedCluster(home, replica, lagging, webhook, f"https://127.0.0.1:{port}", trust, session)


def _config(home: str, replica: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "Config",
        "registries": [
            {
                "host": HOST,
                "home": "eastus",
                "local": "westeurope",
                "replicas": {"eastus": {"endpoint": home}, "westeurope": {"endpoint": replica}},
            }
        ],
        "policy": {"mode": "enforce"},
    }


def _review(image: str) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
            "name": "web",
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "pipeline", "groups": ["system:authenticated"]},
            "object": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {"containers": [{"name": "web", "image": image}]},
                    },
                },
            },
        },
    }
