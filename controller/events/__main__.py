"""`python -m controller.events`: takes registries' notifications for the leader to read. The composition root.

It speaks to nobody: no Kubernetes API, no registry. Environment, files and the clock are read here and passed in. Ends
with 0 after SIGTERM or SIGINT, with 2 when the call is wrong, and with a traceback when a root task ended by itself.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import structlog

from controller.events.app import Receiver, create_app
from controller.events.backlog import Backlog
from controller.events.connections import receiving
from controller.events.secret import Secrets
from controller.events.tally import Tally
from tidegate import __version__
from tidegate.config import ConfigError
from tidegate.process import calls, files, logs
from tidegate.process.roots import forever
from tidegate.process.tls import ServingCertificate, TlsError

log = structlog.get_logger()

_TELL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says."""

    tls_cert: Path
    tls_key: Path
    port: int
    secret_file: Path
    reader_secret_file: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the receiver until it is told to stop."""
    arguments = _parse(argv)
    logs.configure()
    files.allow_many()
    try:
        certificate = ServingCertificate(arguments.tls_cert, arguments.tls_key)
        senders = Secrets(arguments.secret_file)
        readers = Secrets(arguments.reader_secret_file) if arguments.reader_secret_file else senders
    except (ConfigError, TlsError) as exc:
        return calls.wrong(exc)
    return calls.run(_until_told(arguments.port, certificate, senders, readers))


async def _until_told(port: int, certificate: ServingCertificate, senders: Secrets, readers: Secrets) -> None:
    """Serve until a signal comes or a root task ends."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve(port, certificate, senders, readers), name="serve")
        await stopping.wait()
        log.info("events.stopping")
        serving.cancel()
    log.info("events.stopped")


async def _serve(port: int, certificate: ServingCertificate, senders: Secrets, readers: Secrets) -> None:
    backlog, tally = Backlog(first=time.time_ns() // 1_000_000), Tally()
    receiver = Receiver(backlog, senders=senders, readers=readers, tally=tally, clock=asyncio.get_running_loop().time)
    async with receiving(create_app(receiver), port=port, tls=certificate.context), asyncio.TaskGroup() as tasks:
        tasks.create_task(forever("follow certificate", certificate.follow()))
        for secrets in {senders, readers}:
            tasks.create_task(forever("follow secret", secrets.follow()))
        tasks.create_task(forever("tell", _tell(tally, backlog)))
        log.info("events.started", version=__version__, port=port)


async def _tell(tally: Tally, backlog: Backlog) -> Never:
    while True:
        await asyncio.sleep(_TELL_S)
        tally.tell(dropped=backlog.dropped)


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(
        prog="controller.events", description="Take registries' notifications, so that checks come sooner."
    )
    parser.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="PEM chain to serve")
    parser.add_argument("--tls-key", type=Path, required=True, metavar="FILE", help="its private key")
    parser.add_argument(
        "--secret-file", type=Path, required=True, metavar="FILE", help="what registries send; one secret a line"
    )
    parser.add_argument(
        "--reader-secret-file", type=Path, metavar="FILE", help="what the controller sends; default: --secret-file"
    )
    parser.add_argument("--port", type=calls.port, default=8444, metavar="N", help="default: %(default)s")
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
