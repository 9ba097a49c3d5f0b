"""A real API server: etcd and kube-apiserver on loopback ports, no namespaces, no root needed.

`.kubeconfig` is an administrator's. The programs come from `tests/testbed/build etcd kubernetes`.
"""

import base64
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme
import yaml

from tidegate.testing.ports import free_port

CHECKOUT = Path(__file__).parents[3]
BED = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
BUILD = CHECKOUT / "tests/testbed/build"
CRDS = CHECKOUT / "manifests/crds"
START_S = 60
_NEEDED = ("etcd", "etcdctl", "kube-apiserver", "kubectl")


class NotReady(Exception):
    """A program did not come up in time; the end of its log is told."""


def missing() -> list[str]:
    """Programs that are not built yet."""
    return [name for name in _NEEDED if not (BED / "bin" / name).exists()]


class ApiServer:
    """etcd and kube-apiserver of one session, in one folder."""

    def __init__(self, folder: Path, *, without: Sequence[str] = (), flags: Sequence[str] = ()) -> None:
        """`without`: admission plugins that are left out; `flags`: for kube-apiserver, after all others."""
        self.folder = folder
        self._without = ("ServiceAccount", *without)  # nobody here makes the accounts that Pods would need
        self._flags = flags
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

    def pids(self) -> dict[str, int]:
        """Of what runs, by name."""
        processes = {"etcd": self._etcd, "kube-apiserver": self._server}
        return {name: process.pid for name, process in processes.items() if process is not None}

    def start(self) -> None:
        """Start what does not run, and wait until it is ready."""
        if self._etcd is None:
            self._etcd = self._spawn("etcd", self._etcd_arguments())
            self._until("etcd", lambda: self.etcdctl("endpoint", "health"))
        if self._server is None:
            self._server = self._spawn("kube-apiserver", self._server_arguments())
            self._until("kube-apiserver", lambda: self.get("/readyz"))

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

    def define(self) -> None:
        """Bring in our CRDs, and wait until they can be used."""
        self.kubectl("apply", "-f", str(CRDS))
        self.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")

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
            f"--disable-admission-plugins={','.join(self._without)}", f"--cert-dir={folder}/run", *self._flags,
        ]  # fmt: skip

    def _spawn(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen([self.bin / name, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            process.kill()  # an API server with watchers takes a minute to end when it is asked politely
            process.wait(timeout=10)

    def get(self, path: str) -> bytes:
        """What an administrator reads there."""
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
                    message = f"{name} is not ready after {START_S} s: {exc}\n{log}"
                    raise NotReady(message) from exc
                time.sleep(0.1)
            else:
                return


def _inline(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
