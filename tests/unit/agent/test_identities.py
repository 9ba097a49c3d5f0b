"""`python -m agent` with credentials: from plugins, a docker config and a controller that are all real to it."""

import asyncio
import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tidegate.kube.client import KubeClient
from tidegate.kube.own import NodeImageStatus, Phase, Reason
from tidegate.kube.resources import NODEPULLS
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.certificates import issue
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.registry import BasicGuard, RegistryDouble
from tidegate.testing.runtime import RuntimeDouble

IMAGE = "registry.test/app:1"
SECRET = "s3same-open"
WRONG = "an-old-s3same"
TOKEN = "a.bound.token-of-this-pod"
WITHIN_S = 15.0
CONFIG = """\
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {local: {endpoint: "http://127.0.0.1:1"}}
    auth: [{pullSecrets: {namespaces: [team-a]}}]
"""
PROVIDERS = """\
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - &plugin
    name: one
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: [registry.test]
    defaultCacheDuration: 1m
  - {<<: *plugin, name: gone}
  - <<: *plugin
    name: pods
    tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true, cacheType: Token}
"""
PLUGIN = f"""#!{sys.executable} -ISE
import json, sys
assert json.load(sys.stdin)["image"] == "registry.test/app"
print(json.dumps({{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
    "cacheKeyType": "Registry", "auth": {{"registry.test": {{"username": "ada", "password": "PASSWORD"}}}}}}))
"""


@dataclass
class Node:
    folder: Path
    api: ApiServerDouble
    client: KubeClient
    replica: RegistryDouble
    socket: str
    said: bytes = b""
    shown: list[bytes] = field(default_factory=list)

    def file(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def plugin(self, password: str) -> list[str]:
        """kubelet's flags."""
        (self.folder / "bin").mkdir()
        script = self.file("bin/one", PLUGIN.replace("PASSWORD", password))
        script.chmod(0o755)
        config = self.file("providers.yaml", PROVIDERS)
        return [
            "--image-credential-provider-config", str(config), "--image-credential-provider-bin-dir", str(script.parent)
        ]  # fmt: skip

    def docker_config(self, password: str) -> list[str]:
        auth = base64.b64encode(f"ada:{password}".encode()).decode()
        text = json.dumps({"auths": {"registry.test": {"auth": auth}}})
        return ["--docker-config", str(self.file("config.json", text))]

    async def pull(self, *flags: str) -> NodeImageStatus:
        """What the agent says of its one grant; its log and its command line are kept."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent", "--config", self.folder / "config.yaml", "--node", "node-1",
            "--kubeconfig", self.folder / "kubeconfig", "--cri-socket", self.socket,
            "--metrics-port", str(port := free_port()), *flags,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    images = (await self.client.get(NODEPULLS, "node-1")).status.images
                    if images and images[0].phase in {Phase.PRESENT, Phase.FAILED}:
                        self.shown.append(await asyncio.to_thread(Path(f"/proc/{process.pid}/cmdline").read_bytes))
                        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/metrics") as metrics:
                            self.shown.append(await metrics.read())
                        return images[0]
                    await asyncio.sleep(0.02)
        finally:
            process.terminate()
            _, self.said = await process.communicate()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with (
        ApiServerDouble() as api,
        KubeClient(api.connection()) as client,
        RegistryDouble(guard=BasicGuard({"ada": SECRET})) as replica,
        RuntimeDouble(registries={"registry.test": replica.url}) as runtime,
    ):
        made = api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}, plural="nodes")
        expires = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
        grant = {"id": "g1", "expiresAt": expires, "seconds": 60}
        api.put(
            {
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "NodePull", "metadata": {"name": "node-1"},
                "spec": {"nodeUid": made["metadata"]["uid"], "images": [{"image": IMAGE, "grant": grant}]},
            },
            plural="nodepulls",
        )  # fmt: skip
        api.kubeconfig(tmp_path / "kubeconfig")
        replica.put("app", build_image(layers=2), tag="1")
        node = Node(tmp_path, api, client, replica, runtime.socket)
        node.file("config.yaml", CONFIG)
        yield node


Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def controller(node: Node, handler: Handler) -> AsyncIterator[list[str]]:
    """Flags for a controller that answers like this."""
    pair = issue("127.0.0.1")
    certificate, key = node.folder / "tls.crt", node.folder / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    ca, token = node.file("ca.crt", pair.authority.decode()), node.file("token", TOKEN + "\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    app.add_routes([web.post("/pull-secret", handler)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield ["--controller-url", url, "--controller-ca-file", str(ca), "--controller-token-file", str(token)]
    finally:
        await runner.cleanup()


def telling(password: str, asked: list[Any]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["Authorization"], await request.json()))
        return web.json_response({"credentials": [{"username": "ada", "password": password}]})

    return answer


@pytest.fixture(autouse=True)
def nothing_secret_is_written(node: Node) -> Any:
    """Neither in the log nor on the command line, in the metrics or in the status, in any of these tests."""
    yield
    shown = [node.said, *node.shown, json.dumps(node.api.objects("tidegate.dev", "nodepulls")).encode()]
    assert node.said, "there is a log to look at"
    for secret in (SECRET, WRONG, TOKEN):
        encoded = base64.b64encode(f"ada:{secret}".encode())
        assert not any(words in text for text in shown for words in (secret.encode(), encoded))


async def test_a_plugin_of_the_nodes_own_configuration(node: Node) -> None:
    assert (await node.pull(*node.plugin(SECRET))).phase is Phase.PRESENT
    passed_over = [json.loads(line)["why"] for line in node.said.splitlines() if b"passed_over" in line]
    assert [each.rpartition("/")[2] for each in passed_over] == [
        "gone: no executable file", "pods: wants a Pod's service account (tokenAttributes)",
    ]  # fmt: skip


async def test_a_docker_config(node: Node) -> None:
    assert (await node.pull(*node.docker_config(SECRET))).phase is Phase.PRESENT


async def test_a_pull_secret_of_the_controller(node: Node) -> None:
    asked: list[Any] = []
    async with controller(node, telling(SECRET, asked)) as flags:
        assert (await node.pull(*flags)).phase is Phase.PRESENT
    assert asked == [(f"Bearer {TOKEN}", {"image": IMAGE})]


async def test_what_is_refused_is_followed_by_the_next_until_three(node: Node) -> None:
    asked: list[Any] = []
    async with controller(node, telling(SECRET, asked)) as flags:
        status = await node.pull(*node.plugin("outdated"), *node.docker_config(WRONG), *flags)
    assert (status.phase, len(asked)) == (Phase.PRESENT, 1)
    origins = [json.loads(line)["origin"] for line in node.said.splitlines() if b"credential.tried" in line]
    assert origins == ["credentialProvider one registry.test", "dockerConfig registry.test", "pull secret"]


async def test_nobody_is_let_in(node: Node) -> None:
    status = await node.pull(*node.docker_config(WRONG))
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.UNAUTHORIZED)
    assert status.message.endswith("(credentials refused: 1)")


async def test_without_flags_the_runtime_has_its_own(node: Node) -> None:
    node.replica.guard = None
    assert (await node.pull()).phase is Phase.PRESENT


@pytest.mark.parametrize(
    "flags, words",
    [
        pytest.param(["--controller-url", "http://c.test"], "--controller-url", id="plain-http"),
        pytest.param(
            ["--controller-url", "https://c.test", "--controller-ca-file", "/nowhere"], "/nowhere", id="no-authority"
        ),
        pytest.param(["--image-credential-provider-config", "/nowhere"], "go together", id="half-of-a-pair"),
        pytest.param(
            ["--image-credential-provider-config", "{config}", "--image-credential-provider-bin-dir", "/"],
            "kind", id="another-file",
        ),
    ],
)  # fmt: skip
async def test_a_wrong_call_is_2_and_says_what_is_wrong(node: Node, flags: list[str], words: str) -> None:
    config = node.folder / "config.yaml"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "--config", config, "--node", "node-1",
        *(flag.format(config=config) for flag in flags), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, node.said = await process.communicate()
    assert process.returncode == 2
    assert words in node.said.decode()
    assert "Traceback" not in node.said.decode()
