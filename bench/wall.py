"""A registry that throttles: nginx before the bed's first registry, with a request limit, and a log that is read."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bed import TESTBED, run

PORT = 5003
HOST = f"registry.test:{PORT}"
_NODES = f"{os.environ.get('TIDEGATE_TESTBED_NET', '10.213')}.0."
"""Where nodes' addresses begin; pods have others."""
_CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  log_format seen '$msec $request_time $remote_addr $status $request_method $uri';
  access_log {folder}/seen.log seen;
  limit_req_zone $server_name zone=all:1m rate={rate}r/s;
  limit_req_status 429;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 0.0.0.0:{port};
    server_name registry.test;
    client_max_body_size 0;
    location / {{
      limit_req zone=all burst={burst} nodelay;
      proxy_pass http://127.0.0.1:5001;
      proxy_set_header Host $http_host;
      proxy_buffering on;
    }}
  }}
}}
"""
_HOSTS = 'server = "http://{host}"\n[host."http://{host}"]\n  capabilities = ["pull", "resolve"]\n'


@dataclass(frozen=True, slots=True)
class Seen:
    """One request in the wall's log; times in seconds since 1970."""

    began: float
    ended: float
    peer: str
    status: int


class Wall:
    """What stands before the registry."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def forget(self) -> None:
        """Count from now on."""
        self._log.write_text("")

    def seen(self) -> Sequence[Seen]:
        """What came since."""
        return [_seen(line) for line in self._log.read_text().splitlines() if line]

    @staticmethod
    def peak(seen: Sequence[Seen]) -> int:
        """The most nodes that were between their first and their last request at once."""
        spans: dict[str, tuple[float, float]] = {}
        for one in seen:
            if one.status < 400 and one.peer.startswith(_NODES):
                first, last = spans.get(one.peer, (one.began, one.ended))
                spans[one.peer] = min(first, one.began), max(last, one.ended)
        return max((sum(a <= at < b for a, b in spans.values()) for at, _ in spans.values()), default=0)

    @staticmethod
    def busy(seen: Sequence[Seen], *, apart_s: float = 0.5) -> int:
        """The most nodes that had a request on its way at once; pauses of one node below `apart_s` are no pauses."""
        spans: dict[str, list[list[float]]] = {}
        for one in sorted((one for one in seen if one.peer.startswith(_NODES)), key=lambda one: one.began):
            mine = spans.setdefault(one.peer, [])
            if mine and one.began <= mine[-1][1] + apart_s:
                mine[-1][1] = max(mine[-1][1], one.ended)
            else:
                mine.append([one.began, one.ended])
        starts = [span[0] for mine in spans.values() for span in mine]
        return max((sum(any(a <= at <= b for a, b in mine) for mine in spans.values()) for at in starts), default=0)


@contextmanager
def walled(nodes: int, *, rate: int, burst: int) -> Iterator[Wall]:
    """Up while the block runs; the nodes reach it as `HOST`."""
    if not shutil.which("nginx") and not Path("/usr/sbin/nginx").exists():
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nginx-light"],
            check=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    for number in range(1, nodes + 1):
        hosts = _HOSTS.format(host=HOST)
        folder = f"/etc/containerd/certs.d/{HOST}"
        told = run(
            [str(TESTBED / "in"), f"node-{number}", "sh", "-c", f"mkdir -p {folder}; cat > {folder}/hosts.toml"],
            text=hosts,
        )
        if told.code:
            raise RuntimeError(told.err)
    with TemporaryDirectory(prefix="tidegate-wall-") as name:
        folder = Path(name)
        config = folder / "nginx.conf"
        folder.chmod(0o755)
        config.write_text(_CONFIG.format(folder=folder, rate=rate, burst=burst, port=PORT))
        (folder / "seen.log").touch()
        (folder / "seen.log").chmod(0o666)
        process = subprocess.Popen([str(TESTBED / "in"), "/usr/sbin/nginx", "-c", str(config)])
        try:
            time.sleep(1.0)
            if process.poll() is not None:
                raise RuntimeError((folder / "error.log").read_text()[-2000:])
            yield Wall(folder / "seen.log")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def _seen(line: str) -> Seen:
    ended, took, peer, status, *_ = line.split()
    return Seen(float(ended) - float(took), float(ended), peer, int(status))
