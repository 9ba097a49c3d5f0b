"""Brings a real distribution to the registry tests: found or built once, started for each session on a free port."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tidegate.testing.registry import RegistryDouble

BED = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
BUILD = Path(__file__).parents[1] / "testbed/build"
BUILD_S = 1200
START_S = 20
STOP_S = 5
HOW_TO_GET_IT = (
    "these tests need a real distribution: install Go and run tests/testbed/build registry "
    "(three minutes, once), or apt install docker-registry"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A registry under test."""

    url: str
    real: bool


def find_distribution() -> Path | None:
    """The pinned one of the test bed; else Debian's."""
    debian = shutil.which("docker-registry")
    built = BED / "bin/registry"
    if built.exists():
        return built
    return Path(debian) if debian is not None else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds distribution before any test's clock runs, if one of them will want it and it is not there."""
    wanted = any("distribution_at" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly or (BED / "bin/registry").exists():
        return
    if shutil.which("go") is not None:
        reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line("building distribution, once: about three minutes on two cores")
        subprocess.run([BUILD, "registry"], check=False, timeout=BUILD_S)


Distribution = Callable[[Path, dict[str, Any]], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def distribution_at() -> Distribution:
    """`with distribution_at(FOLDER, AUTH) as url`: a distribution with its storage there and this `auth` section."""
    binary = find_distribution()
    if binary is None:
        pytest.fail(HOW_TO_GET_IT)
    return partial(running, binary)


@contextmanager
def running(binary: Path, folder: Path, auth: dict[str, Any]) -> Iterator[str]:
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "made up"},
        "validation": {"manifests": {"urls": {"allow": ["^http://localhost"]}}},
    }
    if auth:
        config["auth"] = auth
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "serve", folder / "config.yaml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={"OTEL_TRACES_EXPORTER": "none", "PATH": os.environ["PATH"]},
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{listening_port(process, folder / 'log')}"
    finally:
        end(process)


def listening_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the system gave it, from its own words."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if said := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text()):
            return int(said.group(1))
        time.sleep(0.02)
    pytest.fail(f"distribution did not come up:\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


@pytest.fixture(scope="session")
def distribution(distribution_at: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a distribution that lets everybody do everything; tests keep apart by their repositories."""
    with distribution_at(tmp_path_factory.mktemp("distribution"), {}) as url:
        yield url


@pytest.fixture
async def double() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble() as double:
        yield double


@pytest.fixture(params=["double", "distribution"])
def registry(request: pytest.FixtureRequest) -> Target:
    """The registry under test: what holds for one holds for the other."""
    if request.param == "double":
        return Target(request.getfixturevalue("double").url, real=False)
    return Target(request.getfixturevalue("distribution"), real=True)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return "team/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
