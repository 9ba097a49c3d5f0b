"""`python -m webhook`: admission, nothing else. The composition root.

Environment, files and the clock are read here and passed in. Without `--kubeconfig` and outside a Pod everything that
needs the Kubernetes API is off. Ends with 0 after SIGTERM or SIGINT, with 2 when the call or the configuration is
wrong, and with a traceback when a root task ended by itself.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry, make_asgi_app

from tidegate import __version__
from tidegate.config import Config, ConfigError, load
from tidegate.kube.client import KubeClient
from tidegate.kube.connection import Connection, ConnectionConfigError
from tidegate.kube.own import DECISION_SECRET
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES, NAMESPACES, NODE_METADATA, SECRETS
from tidegate.metrics import Metrics
from tidegate.process import calls, files, logs
from tidegate.process.cluster import connection, has_service_account
from tidegate.process.platforms import ClusterPlatforms
from tidegate.process.roots import forever
from tidegate.process.tls import ServingCertificate, TlsError
from tidegate.pull_secrets import PullSecrets
from webhook.app import Health, create_app
from webhook.facts import Facts, NoFacts
from webhook.gate import Gate
from webhook.keys import NoKeys, WatchedKeys
from webhook.live import LiveConfig, check
from webhook.namespaces import Standalone, Watched
from webhook.rules import KeySource, Namespaces, NoTenants
from webhook.serve import serving

log = structlog.get_logger()

FACTS_S = 5.0
"""How long the start waits for what runs already, once namespaces are known."""
DRAIN_S = 3.0
"""After SIGTERM in a cluster: reviews still come until every API server knows that this endpoint is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says."""

    config: Path
    tls_cert: Path
    tls_key: Path
    port: int
    metrics_port: int
    kubeconfig: Path | None
    namespace: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the gate learns from the API server."""

    namespaces: Namespaces
    keys: KeySource
    facts: Facts | NoFacts
    tenants: PullSecrets | NoTenants
    synced: Callable[[], Coroutine[Any, Any, None]]
    """Returns when reviews can be judged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the webhook until it is told to stop."""
    arguments = _parse(argv)
    logs.configure()
    files.allow_many()
    in_cluster = arguments.kubeconfig is not None or has_service_account(os.environ)
    try:
        config = load(arguments.config)
        check(config, standalone=not in_cluster)
        certificate = ServingCertificate(arguments.tls_cert, arguments.tls_key)
        cluster = connection(arguments.kubeconfig, os.environ) if in_cluster else None
    except (ConfigError, ConnectionConfigError, TlsError) as exc:
        return calls.wrong(exc)
    return calls.run(_until_told(arguments, config, certificate, cluster), runner=uvloop.run)


async def _until_told(
    arguments: Arguments, config: Config, certificate: ServingCertificate, cluster: Connection | None
) -> None:
    """Serve until a signal comes or a root task ends; then go on for as long as reviews may still come."""
    stopping, health = asyncio.Event(), Health()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_serve(arguments, config, certificate, cluster, health), name="serve")
        await stopping.wait()
        log.info("webhook.stopping")
        health.draining = True
        if cluster is not None:
            await asyncio.sleep(DRAIN_S)
        running.cancel()
    log.info("webhook.stopped")


async def _serve(
    arguments: Arguments, config: Config, certificate: ServingCertificate, cluster: Connection | None, health: Health
) -> None:
    metrics = Metrics(CollectorRegistry(), program="webhook")
    live = LiveConfig(arguments.config, config, metrics=metrics, health=health, standalone=cluster is None)
    async with AsyncExitStack() as stack:
        rules = await stack.enter_async_context(live.opened())
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        known = await _known(cluster, arguments.namespace, stack, tasks, live.platforms)
        known.facts.teach(rules.checker)
        gate = Gate(
            rules, namespaces=known.namespaces, metrics=metrics, keys=known.keys, running=known.facts,
            holds=cluster is not None, tenants=known.tenants,
        )  # fmt: skip
        tasks.create_task(forever("follow configuration", live.follow(gate, known.facts)))
        tenants = known.tenants.run(lambda: gate.rules.pull_secret_namespaces)
        tasks.create_task(forever("watch pull secrets", tenants))
        tasks.create_task(forever("follow certificate", certificate.follow()))
        scraped = make_asgi_app(metrics.registry)
        await stack.enter_async_context(serving(scraped, port=arguments.metrics_port))
        app = create_app(gate, health=health, metrics=metrics)
        await stack.enter_async_context(serving(app, port=arguments.port, tls=certificate.context))
        log.info("webhook.started", version=__version__, port=arguments.port, registries=sorted(rules.hosts))
        await known.synced()
        await live.settled()
        health.ready.set()
        log.info("webhook.ready")
        await asyncio.Event().wait()


async def _known(
    cluster: Connection | None, own: str, stack: AsyncExitStack, tasks: asyncio.TaskGroup, platforms: ClusterPlatforms
) -> Known:
    """Outside a cluster nothing; inside, what two watches keep current. Keys are not waited for: nobody needs any."""
    if cluster is None:
        return Known(Standalone(), NoKeys(), NoFacts(), NoTenants(), synced=_at_once)
    client = await stack.enter_async_context(KubeClient(cluster))
    namespaces = Reflector(client, NAMESPACES)
    secrets = Reflector(client, SECRETS, namespace=own, field_selector=f"metadata.name={DECISION_SECRET}")
    availabilities = Reflector(client, IMAGEAVAILABILITIES)
    nodes = Reflector(client, NODE_METADATA)
    platforms.follow(nodes)
    facts = Facts(availabilities, clock=asyncio.get_running_loop().time)
    tasks.create_task(forever("watch nodes", nodes.run()))
    tasks.create_task(forever("watch facts", availabilities.run()))
    tasks.create_task(forever("doubt old facts", facts.doubting()))
    tasks.create_task(forever("watch namespaces", namespaces.run()))
    tasks.create_task(forever("watch keys", secrets.run()))

    pull_secrets = PullSecrets(client)

    async def synced() -> None:
        await namespaces.synced.wait()
        with suppress(TimeoutError):  # a definition that is not installed keeps nobody from starting
            async with asyncio.timeout(FACTS_S):
                await availabilities.synced.wait()
                await nodes.synced.wait()
        await pull_secrets.synced()

    return Known(Watched(namespaces), WatchedKeys(secrets, namespace=own), facts, pull_secrets, synced=synced)


async def _at_once() -> None:
    pass


def _parse(argv: Sequence[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="webhook", description="Judge admission reviews by what the replica holds.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument("--tls-cert", type=Path, required=True, metavar="FILE", help="PEM chain to serve")
    parser.add_argument("--tls-key", type=Path, required=True, metavar="FILE", help="its private key")
    parser.add_argument(
        "--port", type=calls.port, default=8443, metavar="N", help="reviews, probes; default: %(default)s"
    )
    parser.add_argument(
        "--metrics-port", type=calls.port, default=8080, metavar="N", help="metrics; default: %(default)s"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: the Pod's own service account, if any"
    )
    parser.add_argument(
        "--namespace", default=os.environ.get("POD_NAMESPACE") or "tidegate", metavar="NAME",
        help="tidegate's own namespace; default: POD_NAMESPACE, else tidegate",
    )  # fmt: skip
    return Arguments(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
