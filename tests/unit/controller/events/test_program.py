"""The shipped programs: how the receiver is called and ends, and a held Pod that an event lets go."""

import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.events.__main__ import main
from tidegate.testing.apiserver import ApiServerDouble
from tidegate.testing.certificates import issue
from tidegate.testing.images import build_image
from tidegate.testing.ports import free_port
from tidegate.testing.push import push_image
from tidegate.testing.registry import RegistryDouble

SECRET = "what registries know"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    tls = issue("localhost", "127.0.0.1")
    (tmp_path / "ca.pem").write_bytes(tls.authority)
    (tmp_path / "tls.crt").write_bytes(tls.certificate)
    (tmp_path / "tls.key").write_bytes(tls.key)
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path


def call(files: Path, port: int, **changed: Path) -> list[str]:
    named = {"tls-cert": "tls.crt", "tls-key": "tls.key", "secret-file": "secret"}
    given = {key: files / name for key, name in named.items()} | {
        key.replace("_", "-"): path for key, path in changed.items()
    }
    return ["--port", str(port), *(word for key, path in given.items() for word in (f"--{key}", str(path)))]


async def program(module: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", "")}, cwd=Path(__file__).parents[4],
    )  # fmt: skip


async def lines_until(process: asyncio.subprocess.Process, event: str) -> list[str]:
    seen: list[str] = []
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while not any(f'"event":"{event}"' in line for line in seen):
            line = await process.stderr.readline()
            assert line, "\n".join(seen)
            seen.append(line.decode())
    return seen


@pytest.mark.parametrize(
    "option, content, complaint",
    [
        pytest.param("secret_file", "too short", "at least 16 printable ASCII characters", id="short-secret"),
        pytest.param("secret_file", None, "No such file", id="no-secret"),
        pytest.param("reader_secret_file", "", "at least 16 printable ASCII characters", id="no-reader's-secret"),
        pytest.param("tls_key", "nonsense", "give a PEM chain", id="no-key"),
    ],
)
def test_a_wrong_call_ends_with_two_and_says_why(
    files: Path, capsys: pytest.CaptureFixture[str], option: str, content: str | None, complaint: str
) -> None:
    if content is not None:
        (files / "given").write_text(content)
    assert main(call(files, free_port(), **{option: files / "given"})) == 2
    assert complaint in capsys.readouterr().err


async def test_it_serves_over_tls_says_no_secret_and_leaves_when_it_is_told_to(files: Path) -> None:
    port = free_port()
    process = await program("controller.events", *call(files, port))
    lines = await lines_until(process, "events.started")
    trusting = ssl.create_default_context(cafile=files / "ca.pem")
    url = f"https://localhost:{port}/events/acr"
    async with aiohttp.ClientSession() as http:
        for secret, status in ((SECRET, 400), ("a guess that is wrong", 401)):
            headers = {"Authorization": f"Bearer {secret}"}
            async with http.post(url, json={}, headers=headers, ssl=trusting) as response:
                assert response.status == status
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.post(url, json={}, ssl=ssl.create_default_context())
    process.send_signal(signal.SIGTERM)
    lines += await lines_until(process, "events.stopped")
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert not any(SECRET in line or "a guess" in line for line in lines)


async def test_a_held_pod_is_let_go_by_an_event(files: Path, receiver: Any, eventually: Any) -> None:
    image = build_image(seed="arrives")
    (files / "read").write_text("what the leader knows")
    async with RegistryDouble() as registry, ApiServerDouble() as api, aiohttp.ClientSession() as http:
        (files / "config.yaml").write_text(
            "{apiVersion: tidegate.dev/v1alpha1, kind: Config, policy: {mode: enforce}, "
            f"registries: [{{host: registry.test, replicas: {{a: {{endpoint: '{registry.url}'}}}}}}]}}"
        )
        held = {
            "containers": [{"name": "c", "image": f"registry.test/app@{image.digest}"}],
            "schedulingGates": [{"name": "tidegate.dev/replica"}],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": held}
        api.put(pod, plural="pods")
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidegate"}}, plural="namespaces")
        process = await program(
            "controller", "--config", str(files / "config.yaml"), "--kubeconfig", str(api.kubeconfig(files / "kube")),
            "--events-url", receiver.url, "--events-secret-file", str(files / "read"),
        )  # fmt: skip
        await eventually(lambda: any("app" in seen.path for seen in registry.requests), within_s=30)
        await push_image(http, registry.url, "app", image)
        event = {
            "action": "push", "request": {"host": registry.url.removeprefix("http://")},
            "target": {"repository": "app", "digest": image.digest, "mediaType": image.media_type},
        }  # fmt: skip
        await receiver.post("distribution", json.dumps({"events": [event]}).encode())
        (read,) = (line for line in await lines_until(process, "events.read") if "events.read" in line)
        assert '"sooner":2' in read, "for who waits for it, and for whom it is written down"
        await eventually(lambda: not api.objects("", "pods")[0]["spec"].get("schedulingGates"))
        process.send_signal(signal.SIGTERM)
        await lines_until(process, "controller.stopped")
        assert await asyncio.wait_for(process.wait(), 10) == 0
