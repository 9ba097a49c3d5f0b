"""A real containerd for the tests here: its own root, state and sockets in a temporary folder, and no pods. Needs root.

The native snapshotter needs no mounts and lies on any file system. One containerd serves a session; each test finds it
without images.
"""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tidegate.cri import Containerd, CriError, CriImages
from tidegate.testing.registry import RegistryDouble

pytest.register_assert_rewrite(
    "tidegate.testing.runtime_conformance", "tidegate.testing.runtime_conformance_containerd"
)

BED = Path(os.environ.get("TIDEGATE_TESTBED", Path.home() / ".cache/tidegate-testbed"))
BUILD = Path(__file__).parents[2] / "testbed/build"
HOST = "registry.test"
BUILD_S = 1200
START_S = 30.0
STOP_S = 10.0

CONFIG = """\
version = 4
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
]
[plugins."io.containerd.server.v1.grpc"]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{folder}/ttrpc.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{folder}/certs.d"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "native"
[plugins."io.containerd.cri.v1.runtime"]
  cdi_spec_dirs = []
  restrict_oom_score_adj = true
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{folder}/cni"]
    conf_dir = "{folder}/cni"
"""


@dataclass
class Daemon:
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return f"unix://{self.folder}/containerd.sock"

    def pull_from(self, base: str) -> None:
        """Where references to HOST lead from now on; containerd reads it at each pull."""
        hosts = self.folder / "certs.d" / HOST
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(f'server = "{base}"\n')

    def start(self) -> None:
        path = f"{BED / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [BED / "bin/containerd", "--config", self.folder / "config.toml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": path}, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)

    def restart(self) -> None:
        self.stop()
        self.start()


@dataclass
class RealNode:
    images: CriImages
    containerd: Containerd
    replica: RegistryDouble
    host: str = HOST


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before any test's clock runs, if a test will want it."""
    wanted = any("containerd" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not (BED / "bin/containerd").exists():
        subprocess.run([BUILD, "containerd"], check=False, timeout=BUILD_S)


@pytest.fixture(scope="session")
def containerd() -> Iterator[Daemon]:
    assert os.geteuid() == 0, "containerd needs root"
    folder = Path(tempfile.mkdtemp(prefix="containerd-", dir="/tmp"))  # short: a socket's path has 107 bytes at most
    (folder / "certs.d").mkdir()
    (folder / "config.toml").write_text(CONFIG.format(folder=folder))
    daemon = Daemon(folder)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    assert not mounts, f"containerd left mounts: {mounts}"
    shutil.rmtree(folder)


@pytest.fixture
async def node(containerd: Daemon) -> AsyncIterator[RealNode]:
    async with (
        RegistryDouble() as replica,
        CriImages(containerd.socket) as images,
        Containerd(containerd.socket) as own,
    ):
        await until_ready(images, containerd)
        containerd.pull_from(replica.url)
        for image in await images.images():
            await images.remove(image.id)
        yield RealNode(images, own, replica)


async def until_ready(images: CriImages, containerd: Daemon) -> None:
    try:
        async with asyncio.timeout(START_S):
            while True:
                try:
                    if await images.ready():
                        return
                except CriError:
                    pass
                await asyncio.sleep(0.05)
    except TimeoutError:
        log = await asyncio.to_thread((containerd.folder / "log").read_text)
        pytest.fail(f"containerd did not start within {START_S:g} s:\n{log[-3000:]}")
