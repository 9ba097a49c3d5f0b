"""What a figure is worth depends on: the machine, the versions, and who ran where."""

import os
import platform
import ssl
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.processes import Cores

_NAMED = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "msgspec", "structlog", "prometheus-client")


def described(cores: Cores) -> list[str]:
    """Lines for the head of a table."""
    placed = (
        "not pinned: this machine or system does not allow it, so the ratios are rough"
        if cores.server is None
        else f"both servers on core {cores.server}, the load and the registry on core {cores.load}"
    )
    load = f"; load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} × {processor()}, {placed}{load}",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, "
        + ", ".join(f"{name} {version(name)}" for name in _NAMED),
    ]


def processor() -> str:
    """Its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
