"""Hands for the cluster stories: kubectl, the two registries, and what a red test leaves behind as evidence."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
TESTBED = CHECKOUT / "tests" / "testbed"

HOME = "http://127.0.0.1:5001"
LOCAL = "http://127.0.0.1:5002"
PULLED_FROM = "registry.test:5002"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster by its kubectl."""

    kubeconfig: str

    def kubectl(self, *arguments: str, text: str = "", check: bool = True, timeout_s: float = 60) -> Ran:
        ran = run([str(TESTBED / "in"), "kubectl", *arguments], text=text, timeout_s=timeout_s)
        assert ran.code == 0 or not check, f"kubectl {' '.join(arguments)}\n{ran.out}{ran.err}"
        return ran

    def apply(self, manifest: str, *, check: bool = True) -> Ran:
        return self.kubectl("apply", "-f", "-", text=manifest, check=check)

    def get(self, *arguments: str) -> dict:
        return json.loads(self.kubectl("get", *arguments, "-o", "json").out)

    def until(self, what: str, holds: Callable[[], bool], *, within_s: float) -> None:
        """Wait for a condition of the cluster, and fail with its name."""
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, f"not after {within_s:g} s: {what}"
            time.sleep(0.2)

    def namespace(self, name: str, **labels: str) -> None:
        """Make a namespace; `story` chooses its rule in manifests/config.yaml."""
        pairs = ", ".join(f"{key}: {value!r}" for key, value in labels.items())
        self.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{pairs}}}}}\n")

    def gates(self, namespace: str, selector: str = "") -> dict[str, list[str]]:
        """The scheduling gates of each Pod by its name."""
        pods = self.get("pods", "-n", namespace, *(("-l", selector) if selector else ()))["items"]
        return {
            pod["metadata"]["name"]: [gate["name"] for gate in pod["spec"].get("schedulingGates", [])] for pod in pods
        }

    def events(self, namespace: str) -> str:
        """What was said, as `kubectl get events` prints it."""
        return self.kubectl("get", "events", "-n", namespace, "--no-headers").out

    def evidence(self) -> str:
        """What one wants to read when a story is red."""
        parts = []
        for arguments in (
            ("get", "pods", "-A", "-o", "wide"),
            ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            ("get", "prepulls,nodepulls", "-A", "-o", "yaml"),
            ("logs", "-n", "tidegate", "-l", "app=tidegate-webhook", "--tail=40", "--prefix"),
            ("logs", "-n", "tidegate", "-l", "app=tidegate-controller", "--tail=40"),
            ("logs", "-n", "tidegate", "-l", "app=tidegate-agent", "--tail=40", "--prefix"),
        ):
            ran = self.kubectl(*arguments, check=False)
            parts.append(f"$ kubectl {' '.join(arguments)}\n{(ran.out + ran.err)[-6000:]}")
        return "\n".join(parts)


def run(command: list[str], *, text: str = "", timeout_s: float = 60, **environment: str) -> Ran:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def frozen(name: str) -> Iterator[None]:
    """A part of the bed (`registry-2`) takes connections and answers nothing, while the block runs."""
    bed = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
    pid = int((bed / "run" / f"{name}.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def push(url: str, *, random: str = "1K") -> str:
    """Push a small image that serves HTTP from busybox; returns its digest."""
    ran = run([str(TESTBED / "push"), url, "--file", "/bin/busybox:/bin/busybox", "--link", "busybox:/bin/sh",
               "--random", random, "--", "/bin/busybox", "sleep", "3600"])  # fmt: skip
    assert ran.code == 0, ran.err
    return ran.out.strip()


def call(
    method: str, url: str, body: bytes | None = None, *, kind: str = "application/octet-stream"
) -> tuple[int, bytes, str]:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind, "Accept": MANIFEST})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers.get("Location", "")
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read(), ""


def put_blob(registry: str, repository: str, digest: str, data: bytes) -> None:
    status, _, location = call("POST", f"{registry}/v2/{repository}/blobs/uploads/", b"")
    assert status == 202, status
    glue = "&" if "?" in location else "?"
    location = location if location.startswith("http") else registry + location
    status, _, _ = call("PUT", f"{location}{glue}digest={digest}", data)
    assert status == 201, status


def replicate(repository: str, digest: str, tag: str) -> list[tuple[str, bytes]]:
    """Copy an image from home to local; returns its layers, so that a story can lose one."""
    status, manifest, _ = call("GET", f"{HOME}/v2/{repository}/manifests/{digest}")
    assert status == 200, status
    parsed = json.loads(manifest)
    layers = []
    for descriptor in (parsed["config"], *parsed["layers"]):
        status, data, _ = call("GET", f"{HOME}/v2/{repository}/blobs/{descriptor['digest']}")
        assert status == 200, status
        put_blob(LOCAL, repository, descriptor["digest"], data)
        layers.append((descriptor["digest"], data))
    status, _, _ = call("PUT", f"{LOCAL}/v2/{repository}/manifests/{tag}", manifest, kind=MANIFEST)
    assert status == 201, status
    return layers[1:]


def lose(repository: str, digest: str) -> None:
    """Take one blob away from local, as if it were still on its way."""
    status, _, _ = call("DELETE", f"{LOCAL}/v2/{repository}/blobs/{digest}")
    assert status == 202, status
