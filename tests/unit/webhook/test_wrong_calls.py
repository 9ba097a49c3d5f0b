"""A wrong call ends with code 2 and one clear sentence, never with a traceback."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tidegate.testing.certificates import issue

GOOD = '{host: r.example, replicas: {west: {endpoint: "http://127.0.0.1:9"}}}'


async def ends(programs: Any, folder: Path, *arguments: str) -> tuple[int, str]:
    process = await programs.start(folder, *arguments)
    async with asyncio.timeout(20):
        code = await process.wait()
    return code, (folder / "log").read_text(encoding="utf-8")


@pytest.fixture
def folder(programs: Any, tmp_path: Path) -> Path:
    programs.put(tmp_path / "config.yaml", programs.config(GOOD).encode())
    programs.put_certificate(tmp_path, issue("localhost"))
    return tmp_path


@pytest.mark.parametrize(
    "name, content, words",
    [
        pytest.param("config.yaml", None, "config.yaml: No such file", id="no configuration"),
        pytest.param("config.yaml", b"a: [", "config.yaml: line 1, column", id="broken YAML"),
        pytest.param("config.yaml", b"\xff", "config.yaml: not UTF-8", id="no text"),
        pytest.param("config.yaml", b"kind: Config", "config.yaml: apiVersion: required", id="half a configuration"),
        pytest.param("tls.crt", None, "No such file", id="no certificate"),
        pytest.param("tls.key", None, "No such file", id="no key"),
        pytest.param("tls.crt", b"", "give a PEM chain", id="an empty certificate"),
        pytest.param("tls.key", b"junk", "give a PEM chain", id="a key that is none"),
        pytest.param("tls.key", issue("localhost").key, "KEY_VALUES_MISMATCH", id="another pair's key"),
        pytest.param(
            "tls.key",
            serialization.load_pem_private_key(issue("localhost").key, None).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"x"),
            ),
            "give a PEM chain",
            id="an encrypted key",
        ),
    ],
)
async def test_wrong_files(programs: Any, folder: Path, name: str, content: bytes | None, words: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    code, said = await ends(programs, folder, *programs.command(folder, programs.free_port(), programs.free_port()))
    assert code == 2
    assert words in said
    assert "Traceback" not in said


async def test_a_bundle_that_is_not_there(programs: Any, folder: Path) -> None:
    text = programs.config(GOOD.replace('9"}', '9", caFile: /none/ca.pem}'))
    programs.put(folder / "config.yaml", text.encode())
    code, said = await ends(programs, folder, *programs.command(folder, programs.free_port(), programs.free_port()))
    assert (code, "registries[0].replicas.west.caFile: No such file" in said, "Traceback" in said) == (2, True, False)


async def test_a_rule_that_needs_a_cluster(programs: Any, folder: Path) -> None:
    text = programs.config(GOOD, policy="rules: [{namespaces: {matchLabels: {env: prod}}}]")
    programs.put(folder / "config.yaml", text.encode())
    code, said = await ends(programs, folder, *programs.command(folder, programs.free_port(), programs.free_port()))
    assert (code, "run in a cluster" in said, "Traceback" in said) == (2, True, False)


@pytest.mark.parametrize("taken", ["port", "metrics"])
async def test_a_port_that_is_taken(programs: Any, folder: Path, taken: str) -> None:
    server = await asyncio.start_server(lambda *_: None, "0.0.0.0", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        other = programs.free_port()
        ports = (port, other) if taken == "port" else (other, port)
        code, said = await ends(programs, folder, *programs.command(folder, *ports))
    assert (code, f"port {port} cannot be listened on" in said, "Traceback" in said) == (2, True, False)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--config"),
        (["--port", "0"], "'0' is no port"),
        (["--port", "70000"], "'70000' is no port"),
        (["--port", "-1"], "--port"),
        (["--port", "x"], "'x' is no port"),
        (["--metrics-port", "9" * 5000], "is no port"),
        (["--odd"], "--config"),
    ],
)
async def test_wrong_arguments(programs: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, said = await ends(programs, tmp_path, *arguments)
    assert (code, words in said, "Traceback" in said) == (2, True, False)


async def test_a_kubeconfig_that_is_not_there(programs: Any, folder: Path) -> None:
    command = programs.command(folder, programs.free_port(), programs.free_port())
    code, said = await ends(programs, folder, *command, "--kubeconfig", str(folder / "none"))
    assert (code, "none" in said, "Traceback" in said) == (2, True, False)
