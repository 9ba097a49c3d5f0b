"""Brings a real distribution to the registry tests: found or built once, started for each session on a free port."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import aiohttp
import pytest
import trustme
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tidegate.testing.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Image
from tidegate.testing.push import push_image
from tidegate.testing.registry import Account, BasicGuard, BearerGuard, Claims, RegistryDouble, TokenServer

BED = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
BUILD = Path(__file__).parents[1] / "testbed/build"
SERVICE = "registry.test"
ISSUER = "tidegate tests"
HTPASSWD = "reader:$2b$04$abcdefghijklmnopqrstuuaOebDsIyR7dGCgwMAw9UmIvs23izEga\n"
"""bcrypt of `made-up`, the only kind that distribution takes."""
DOUBLED_VERSION = 3
"""Whose behaviour the double has."""
EVERYTHING = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
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


def major_version(binary: Path) -> int:
    said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True, timeout=START_S).stdout
    version = re.search(r" v?(\d+)\.\d+\.\d+", said)
    return int(version.group(1)) if version else DOUBLED_VERSION


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "since_distribution_3: what version 2 does otherwise")


def on_distribution(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    return spec is not None and "distribution" in spec.params.values()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Builds distribution before any test's clock runs, where a test will want it and it is not there.

    The double is distribution 3. Where Debian's 2.8 has to stand in, what has changed since is not asked of it.
    """
    wanting = [item for item in items if on_distribution(item)]
    if not wanting or config.option.collectonly:
        return
    if shutil.which("go") is not None and not (BED / "bin/registry").exists():
        reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line("building distribution, once: about three minutes on two cores")
        subprocess.run([BUILD, "registry"], check=False, timeout=BUILD_S)
    binary = find_distribution()
    if binary is not None and major_version(binary) < DOUBLED_VERSION:
        changed = [item for item in wanting if item.get_closest_marker("since_distribution_3")]
        config.hook.pytest_deselected(items=changed)
        items[:] = [item for item in items if item not in changed]


class Distribution(Protocol):
    """Starts one in a folder; `sections` are more of its configuration, `roots` a CA that it trusts besides."""

    def __call__(
        self, folder: Path, auth: dict[str, Any], *, sections: Mapping[str, Any] = ..., roots: Path | None = None
    ) -> AbstractContextManager[str]: ...


@pytest.fixture(scope="session")
def distribution_at() -> Distribution:
    """`with distribution_at(FOLDER, AUTH) as url`: a distribution with its storage there and this `auth` section."""
    binary = find_distribution()
    if binary is None:
        pytest.fail(HOW_TO_GET_IT)
    return partial(running, binary)


@contextmanager
def running(
    binary: Path,
    folder: Path,
    auth: dict[str, Any],
    *,
    sections: Mapping[str, Any] = MappingProxyType({}),
    roots: Path | None = None,
) -> Iterator[str]:
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "secret": "made up"},
        "validation": {"manifests": {"urls": {"allow": ["^http://localhost"]}}},
        **sections,
    }
    if auth:
        config["auth"] = auth
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "serve", folder / "config.yaml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={"OTEL_TRACES_EXPORTER": "none", "PATH": os.environ["PATH"]}
            | ({"SSL_CERT_FILE": str(roots)} if roots else {}),
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


@dataclass(frozen=True, slots=True)
class Guarded:
    """A registry under test that wants tokens, and the server that gives them."""

    url: str
    tokens: TokenServer


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Signer:
    """Tokens as every distribution reads them: JWTs signed by ES256, with a certificate of a CA that it trusts."""

    def __init__(self) -> None:
        authority = trustme.CA()
        leaf = authority.issue_cert("token.test")
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        self.x5c = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
        self.roots = authority.cert_pem.bytes().decode()

    def mint(self, claims: Claims) -> str:
        now = int(time.time())
        says = {
            "iss": ISSUER, "sub": claims.user, "aud": claims.service, "exp": now + int(claims.lives_s),
            "nbf": now, "iat": now, "jti": str(uuid.uuid4()),
            "access": [{"type": "repository", "name": one.repository, "actions": list(one.actions)}
                       for one in claims.access],
        }  # fmt: skip
        head = b64(json.dumps({"alg": "ES256", "typ": "JWT", "x5c": self.x5c}).encode())
        signed = f"{head}.{b64(json.dumps(says).encode())}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.fixture(params=["double", "distribution"])
async def locked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A registry that wants a password."""
    if request.param == "double":
        async with RegistryDouble(guard=BasicGuard({"reader": "made-up"}, realm="tests")) as double:
            yield double.url
        return
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "tests", "path": str(tmp_path / "htpasswd")}}
    with request.getfixturevalue("distribution_at")(tmp_path, auth) as url:
        yield url


@pytest.fixture(params=["double", "distribution"])
async def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Guarded]:
    """A registry that wants tokens, and the server that gives them: `reader` pulls from team, `writer` pushes there."""
    signer = Signer()
    accounts = {
        "reader": Account(password="made-up", pull=("team/*",)),
        "writer": Account(password="made-up-too", push=("team/*",)),
    }
    real = request.param == "distribution"
    async with AsyncExitStack() as stack:
        mint: dict[str, Callable[[Claims], str]] = {"mint": signer.mint} if real else {}
        tokens = await stack.enter_async_context(TokenServer(accounts, anonymous=None, **mint))
        if real:
            (tmp_path / "roots").write_text(signer.roots)
            auth = {
                "token": {
                    "realm": tokens.realm,
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(tmp_path / "roots"),
                }
            }
            url = stack.enter_context(request.getfixturevalue("distribution_at")(tmp_path, auth))
        else:
            guard = BearerGuard(tokens, service=SERVICE)
            url = (await stack.enter_async_context(RegistryDouble(guard=guard))).url
        yield Guarded(url, tokens)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return "team/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


class Answer:
    """What came back, for assertions."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in json.loads(self.body)["errors"]]


class Repository:
    """The few requests that the suite makes, in one repository."""

    def __init__(self, http: aiohttp.ClientSession, url: str, repository: str) -> None:
        self.http, self.url, self.repository = http, url, repository

    async def ask(self, method: str, path: str, *, accept: str = EVERYTHING, **options: Any) -> Answer:
        headers = {"Accept": accept} if accept else {}
        headers |= options.pop("headers", {})
        target = path if path.startswith("http") else f"{self.url}/v2/{self.repository}/{path}"
        async with self.http.request(method, target, headers=headers, allow_redirects=False, **options) as response:
            return Answer(response, await response.read())

    async def push(self, image: Image, **options: Any) -> None:
        await push_image(self.http, self.url, self.repository, image, **options)

    async def manifest(self, reference: str, method: str = "GET", **options: Any) -> Answer:
        return await self.ask(method, f"manifests/{reference}", **options)

    async def blob(self, digest: str, method: str = "GET", **headers: str) -> Answer:
        return await self.ask(method, f"blobs/{digest}", headers=headers)


@pytest.fixture
def there(http: aiohttp.ClientSession, registry: Target, repository: str) -> Repository:
    return Repository(http, registry.url, repository)


@pytest.fixture
def elsewhere(http: aiohttp.ClientSession, registry: Target, repository: str) -> Repository:
    """Another repository of the same registry."""
    return Repository(http, registry.url, f"{repository}/other")
