"""How a wrong call of a program ends: one sentence, code 2, no traceback."""

import argparse
import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config import ConfigError
from tidegate.process import calls

CONFIG = """\
apiVersion: tidegate.dev/v1alpha1
kind: Config
registries:
  - host: registry.test
    replicas: {west: {endpoint: "http://127.0.0.1:1", caFile: /none/ca.pem}}
"""
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield server.getsockname()[1]


async def ends(*arguments: str | Path) -> tuple[int | None, list[str]]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    lines = said.decode().splitlines()
    return process.returncode, [line for line in lines if not line.startswith("{")]


@pytest.mark.parametrize("program", [["controller"], ["agent", "--node", "node-1"]], ids=["controller", "agent"])
async def test_a_port_that_is_taken(folder: Path, taken: int, program: list[str]) -> None:
    code, said = await ends(
        *program, "--config", folder / "config.yaml", "--kubeconfig", folder / "kubeconfig",
        "--metrics-port", str(taken),
    )  # fmt: skip
    assert (code, said) == (2, [f"port {taken} cannot be listened on: Address already in use"])


async def test_a_bundle_that_is_not_there(folder: Path) -> None:
    code, said = await ends(
        "controller", "--config", folder / "config.yaml", "--kubeconfig", folder / "kubeconfig"
    )  # fmt: skip
    assert code == 2
    assert said == ["registries[0].replicas.west.caFile: No such file or directory; give a readable PEM bundle"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        pytest.param(["controller", "--metrics-port", "70000"], "'70000' is no port", id="controller: port"),
        pytest.param(["agent", "--node", "n", "--metrics-port", "x"], "'x' is no port", id="agent: port"),
        pytest.param(
            ["agent", "--node", "n", "--cri-socket", "/run/c.sock"], "write it like unix://", id="agent: socket"
        ),
        pytest.param(["agent", "--node", "n", "--at-once", "0"], "at least 1", id="agent: none at once"),
    ],
)
async def test_wrong_arguments(folder: Path, arguments: list[str], words: str) -> None:
    code, said = await ends(*arguments, "--config", folder / "config.yaml")
    assert code == 2
    assert words in said[-1]


def test_a_fault_is_no_wrong_call() -> None:
    async def program() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())

    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        calls.run(program())
    assert caught.group_contains(ZeroDivisionError)


def test_what_is_wrong_is_found_in_any_group(capsys: pytest.CaptureFixture[str]) -> None:
    async def program() -> None:
        inner = ExceptionGroup("of one task", [ConfigError("config.yaml: no")])
        outer = ExceptionGroup("of all tasks", [inner])
        raise outer

    assert calls.run(program()) == 2
    assert capsys.readouterr().err == "config.yaml: no\n"


@pytest.mark.parametrize("text", ["0", "-1", "65536", "8080 ", "٣", "9" * 5000, ""])
def test_no_port(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        calls.port(text)


@pytest.mark.parametrize("text", ["1", "65535"])
def test_a_port(text: str) -> None:
    assert calls.port(text) == int(text)
