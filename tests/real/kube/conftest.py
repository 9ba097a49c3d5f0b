"""A real API server for the tests here: etcd and kube-apiserver on loopback ports, no namespaces, no root needed.

`api_server` gives both processes (start, freeze, compact); its `.kubeconfig` is an administrator's.
"""

import base64
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import trustme
import yaml

from tidegate.kube.connection import from_kubeconfig
from tidegate.testing.ports import free_port

pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance")
pytest.register_assert_rewrite("tidegate.testing.apiserver_conformance_lists")

CHECKOUT = Path(__file__).parents[3]
BED = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
BUILD = CHECKOUT / "tests/testbed/build"
CRDS = CHECKOUT / "manifests/crds"
BUILD_S = 1800
START_S = 60
NEEDED = ("etcd", "etcdctl", "kube-apiserver", "kubectl")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before any test's clock runs, if a test will want it."""
    wanted = any("api_server" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not all((BED / "bin" / name).exists() for name in NEEDED):
        subprocess.run([BUILD, "etcd", "kubernetes"], check=False, timeout=BUILD_S)


class ApiServer:
    """etcd and kube-apiserver of one session, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = BED / "bin"
        self.kubeconfig = folder / "kubeconfig"
        self._etcd_port, self._port = free_port(), free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._pki()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> None:
        """Start what does not run, and wait until it is ready."""
        if self._etcd is None:
            self._etcd = self._spawn("etcd", self._etcd_arguments())
            self._until("etcd", lambda: self.etcdctl("endpoint", "health"))
        if self._server is None:
            self._server = self._spawn("kube-apiserver", self._server_arguments())
            self._until("kube-apiserver", lambda: self._get("/readyz"))

    def kill_server(self) -> None:
        """End the API server as a crash does; etcd and all it holds stay."""
        self._server = self._end(self._server)

    def freeze(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._server = self._end(self._server)
        self._etcd = self._end(self._etcd)

    def etcdctl(self, *arguments: str) -> str:
        ran = subprocess.run(
            [self.bin / "etcdctl", f"--endpoints=http://127.0.0.1:{self._etcd_port}", *arguments],
            check=True, capture_output=True, timeout=10, text=True,
        )  # fmt: skip
        return ran.stdout

    def compact(self) -> None:
        """Make etcd forget every revision before the latest."""
        status = json.loads(self.etcdctl("endpoint", "status", "--write-out=json"))
        self.etcdctl("compact", str(status[0]["Status"]["header"]["revision"]))

    def kubectl(self, *arguments: str, text: str = "") -> str:
        ran = subprocess.run(
            [self.bin / "kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder}/cache", *arguments],
            check=False, capture_output=True, timeout=30, text=True, input=text,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def _pki(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.crt")
        server = authority.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc")
        server.private_key_pem.write_to_path(self.folder / "server.key")
        for part in server.cert_chain_pems:
            part.write_to_path(self.folder / "server.crt", append=True)
        # kube-apiserver takes the user from CN and the groups from O
        admin = authority.issue_cert("admin.test", common_name="admin", organization_name="system:masters")
        (self.folder / "admin.pem").write_bytes(admin.private_key_and_cert_chain_pem.bytes())
        chain = b"".join(part.bytes() for part in admin.cert_chain_pems)
        key = admin.private_key_pem.bytes()
        cluster = {"server": self.url, "certificate-authority-data": _inline(authority.cert_pem.bytes())}
        user = {"client-certificate-data": _inline(chain), "client-key-data": _inline(key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def _etcd_arguments(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        return [
            f"--data-dir={self.folder}/etcd", "--unsafe-no-fsync", "--logger=zap", "--log-level=warn", "--name=real",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=real={peer}",
        ]  # fmt: skip

    def _server_arguments(self) -> list[str]:
        folder = self.folder
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}", "--bind-address=127.0.0.1",
            f"--secure-port={self._port}", "--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1",
            f"--tls-cert-file={folder}/server.crt", f"--tls-private-key-file={folder}/server.key",
            f"--client-ca-file={folder}/ca.crt", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/server.key",
            f"--service-account-signing-key-file={folder}/server.key",
            "--service-cluster-ip-range=10.213.240.0/24", "--authorization-mode=RBAC", "--profiling=false",
            "--disable-admission-plugins=ServiceAccount",  # nobody here makes the accounts that Pods would need
            f"--cert-dir={folder}/run",
        ]  # fmt: skip

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([self.bin / name, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            process.kill()  # an API server with watchers takes a minute to end when it is asked politely
            process.wait(timeout=10)

    def _get(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.load_cert_chain(self.folder / "admin.pem")
        with urllib.request.urlopen(self.url + path, timeout=5, context=context) as answer:
            body: bytes = answer.read()
            return body

    def _until(self, name: str, ready: Callable[[], Any]) -> None:
        end = time.monotonic() + START_S
        while True:
            try:
                ready()
            except (OSError, subprocess.SubprocessError) as exc:
                if time.monotonic() > end:
                    log = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                    pytest.fail(f"{name} is not ready after {START_S} s: {exc}\n{log}")
                time.sleep(0.1)
            else:
                return


def _inline(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """kube-apiserver with our CRDs established."""
    missing = [name for name in NEEDED if not (BED / "bin" / name).exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} could not be built: see {BUILD} (needs Go), or set TIDEGATE_TESTBED")
    server = ApiServer(tmp_path_factory.mktemp("api-server"))
    try:
        server.start()
        server.kubectl("apply", "-f", str(CRDS))
        server.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
        yield server
    finally:
        server.stop()


class Said(NamedTuple):
    """What the API server answered."""

    status: int
    body: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Api:
    """The API server as it is on the wire, for what no client of ours has: dry runs, impersonation, warnings."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def __call__(self, method: str, path: str, body: Any = None, *, dry: bool = False, user: str = "") -> Said:
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if user:
            headers["Impersonate-User"] = user
        async with self._session.request(
            method, self._base + path, json=body, headers=headers, params={"dryRun": "All"} if dry else {}
        ) as answer:
            warnings = tuple(text.split('"', 1)[1][:-1] for text in answer.headers.getall("Warning", ()))
            return Said(answer.status, await answer.json(), warnings)


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    connection = from_kubeconfig(api_server.kubeconfig)
    connector = aiohttp.TCPConnector(ssl=connection.ssl or True, limit=16)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Api(session, connection.base_url)
