"""Two nodes with an agent's Pod on each: what programs and tokens do there, and the objects of these tests."""

import asyncio
import base64
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml

from tidegate.testing.certificates import ServerCertificate, issue
from tidegate.testing.ports import free_port
from tidegate.testing.registry import RegistryDouble

CHECKOUT = Path(__file__).parents[3]
AUDIENCE = "tidegate.dev/pull-secrets"
SECRET = "s3same-open"
IMAGE, OTHER = "registry.test/app:1", "registry.test/other:1"
WITHIN_S = 60.0
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY = 200, 401, 403, 404, 429


@dataclass
class Cluster:
    """The API server, a registry that only the workload's pull secret opens, and a controller's certificate."""

    api_server: Any
    folder: Path
    replica: RegistryDouble
    pair: ServerCertificate = field(default_factory=lambda: issue("127.0.0.1"))
    port: int = field(default_factory=free_port)
    log: list[str] = field(default_factory=list)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return str(self.api_server.kubectl(*arguments, **({} if text is None else {"text": text})))

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text="\n---\n".join(json.dumps(one) for one in objects))

    def token(self, pod: str = "", *, audience: str = "", account: str = "tidegate-agent") -> str:
        arguments = ["create", "token", account, "-n", "tidegate"]
        if audience:
            arguments += ["--audience", audience]
        if pod:
            uid = self.kubectl("get", "pod", pod, "-n", "tidegate", "-o", "jsonpath={.metadata.uid}")
            arguments += ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", uid]
        return self.kubectl(*arguments).strip()

    def kubeconfig(self, name: str, token: str) -> str:
        document = yaml.safe_load(self.api_server.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def nodepull(self, name: str) -> dict[str, Any]:
        """Empty while there is none."""
        text = self.kubectl("get", "nodepull", name, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] = json.loads(text) if text.strip() else {}
        return found

    async def grant(self, name: str) -> str:
        """The id of the grant that the controller gave for IMAGE."""

        async def granted() -> list[str]:
            images = self.nodepull(name).get("spec", {}).get("images", [])
            return [each["grant"]["id"] for each in images if each["image"] == IMAGE and "grant" in each]

        return (await until(granted, bool))[0]

    async def ask(self, token: str, image: str = IMAGE, *, port: int = 0) -> tuple[int, Any]:
        """The controller's answer to whoever shows this token."""
        context = ssl.create_default_context(cadata=self.pair.authority.decode())
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.post(
                f"https://127.0.0.1:{port or self.port}/pull-secret",
                json={"image": image}, headers={"Authorization": f"Bearer {token}"},
            ) as answer,
        ):  # fmt: skip
            return answer.status, await answer.json()

    async def write(self, token: str, path: str, body: Any) -> tuple[int, str]:
        """What the API server says to a merge patch by whoever shows this token."""
        context = ssl.create_default_context(cafile=str(self.api_server.folder / "ca.crt"))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        url = f"{self.api_server.url}/apis/tidegate.dev/v1alpha1/nodepulls/{path}"
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.patch(url, json=body, headers=headers) as answer,
        ):
            return answer.status, str((await answer.json()).get("message", ""))

    @asynccontextmanager
    async def controller(self, port: int) -> AsyncIterator[None]:
        folder, token = self.folder, self.token(account="tidegate-controller")
        async with self.program(
            "controller", "--config", str(folder / "config.yaml"), "--namespace", "tidegate",
            "--kubeconfig", self.kubeconfig("controller", token), "--pull-secrets-port", str(port),
            "--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key"),
        ):  # fmt: skip
            yield

    @asynccontextmanager
    async def program(self, name: str, *arguments: str) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", name, *arguments, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(CHECKOUT)},
        )  # fmt: skip
        reading = asyncio.create_task(self._read(process))
        try:
            yield
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)
            await reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.log.append(line.decode())

    async def report(self, token: str, name: str, *, uid: str = "", **image: Any) -> int:
        """What the API server says to a status of IMAGE by whoever shows this token, once the NodePull is there."""
        body = status(uid or self.uid(name), **image)
        said = await until(lambda: self.write(token, f"{name}/status", body), lambda said: said[0] != NOT_FOUND)
        return said[0]

    def uid(self, name: str) -> str:
        return self.kubectl("get", "node", name, "-o", "jsonpath={.metadata.uid}")


def status(uid: str, **image: Any) -> dict[str, Any]:
    return {"status": {"nodeUid": uid, "agent": f"nonce-{uid[:8]}", "images": [{"image": IMAGE, **image}]}}


T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """The first answer of which it holds."""
    async with asyncio.timeout(WITHIN_S):
        while not holds(answer := await ask()):  # noqa: ASYNC110 - what is awaited is in other programs
            await asyncio.sleep(0.1)
    return answer


def nodepull(name: str) -> dict[str, Any]:
    return {"apiVersion": "tidegate.dev/v1alpha1", "kind": "NodePull", "metadata": {"name": name}, "spec": {}}


def node(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"tidegate-test/node": name}}}


def pod(name: str, on: str) -> dict[str, Any]:
    spec = {
        "nodeName": on, "serviceAccountName": "tidegate-agent", "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "agent", "image": "agent.test/agent:1"}],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "tidegate"}, "spec": spec}


def workload(image: str, *, on: str) -> dict[str, Any]:
    """With a pull secret; its Pods run on that node only."""
    labels = {"app": "web"}
    spec = {
        "nodeSelector": {"tidegate-test/node": on},
        "tolerations": [{"operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
        "containers": [{"name": "web", "image": image}],
    }
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "team-id", "annotations": {"tidegate.dev/pre-pull": "true"}},
        "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }  # fmt: skip


def pull_secret() -> dict[str, Any]:
    entries = {
        "registry.test": {"username": "ada", "password": SECRET},
        "else.test": {"username": "x", "password": "y"},
    }
    data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": entries}).encode()).decode()}
    metadata = {"name": "registry", "namespace": "team-id"}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "metadata": metadata,
            "data": data}  # fmt: skip
