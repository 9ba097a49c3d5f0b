"""The endpoint, put together. Every replica of the controller serves it, whoever leads."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Never

import structlog

from controller.copies import Copies
from controller.events.connections import receiving
from controller.pullsecrets.app import PullSecretQuestions, create_app
from controller.pullsecrets.claims import Reviews
from controller.pullsecrets.owners import Owners
from tidegate.config import Config, ConfigError
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection
from tidegate.process.tls import ServingCertificate, TlsError

log = structlog.get_logger()

PORT = 8445


@dataclass(frozen=True, slots=True)
class Door:
    """Where it is served, and with what."""

    certificate: ServingCertificate
    port: int

    @property
    def tls(self) -> ssl.SSLContext:
        return self.certificate.context


def door_of(certificate: Path | None, key: Path | None, *, port: int) -> Door | None:
    """From a command line; None where no certificate is given. Raises ConfigError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        message = "--tls-cert and --tls-key go together"
        raise ConfigError(message)
    try:
        return Door(ServingCertificate(certificate, key), port)
    except TlsError as exc:
        raise ConfigError(str(exc)) from exc


async def serve(
    door: Door, *, cluster: Connection, copies: Copies, config: Callable[[], Config], agents: str,
    wall: Callable[[], datetime],
) -> Never:  # fmt: skip
    """`agents`: their ServiceAccount as a user. Reviews have a client of their own, which no lost lead ends.

    Nobody is let in before there is something to tell: an agent that is not answered asks another replica.
    """
    await copies.pulls.synced()
    await copies.pull_secrets.synced()
    async with (
        KubeClient(cluster) as client,
        receiving(create_app(_questions(client, copies, config, agents, wall)), port=door.port, tls=door.tls) as port,
    ):
        log.info("pull_secrets.served", port=port)
        await door.certificate.follow()


def _questions(
    client: KubeClient, copies: Copies, config: Callable[[], Config], agents: str, wall: Callable[[], datetime]
) -> PullSecretQuestions:
    return PullSecretQuestions(
        tokens=Reviews(client, user=agents),
        nodepulls=copies.pulls.nodepulls,
        secrets=Owners(copies.pulls, tenant=copies.pull_secrets.tenant, config=config),
        wall=wall,
        clock=asyncio.get_running_loop().time,
    )
