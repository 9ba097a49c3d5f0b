"""Light probes: a replica that nobody has asked for a while is asked whether it answers, before somebody needs it.

One GET of /v2/ 20 to 30 s after the last word of real traffic (2 to 3 a minute of a replica that nobody uses, none of
a busy one), every 2 to 3 s after a failure until the circuit opens, and then as the trial that may close it, every 2.5
to 5 s: an open circuit costs no review. A probe waits out a pause, and counts in the limits like any request.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from tidegate.registry.errors import RegistryError
from tidegate.replicas.registries import RegistryReplicas
from tidegate.replicas.replica import Replica

log = structlog.get_logger(__name__)

QUIET_S = 20.0
AGAIN_S = 2.0
"""After a failure."""
FIRST_S = 2.0
"""At most, before the first: processes that start together do not ask together."""
_LEAST_S = 1.0
"""Between two, whatever comes."""
_LOOK_S = 1.0
"""Real traffic may change at any moment when a probe is due."""
_TICK_S = 0.01
"""Differences of clock readings may leave a rest that no clock can measure."""
_SPREAD = 1.5


@asynccontextmanager
async def probed(registries: Mapping[str, RegistryReplicas], *, chance: random.Random) -> AsyncIterator[None]:
    """Probes every replica while the context is open. For programs that stay; a single question needs none."""
    replicas = [replica for registry in registries.values() for replica in registry.every]
    tasks = [asyncio.create_task(_keep_asking(r, chance), name=f"probe {r.registry} {r.name}") for r in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_asking(replica: Replica, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.0, FIRST_S))
    quiet_s, again_s = QUIET_S, AGAIN_S
    while True:
        wait = replica.probe_in_s(quiet_s=quiet_s, again_s=again_s)
        if wait > 0:
            await asyncio.sleep(min(max(wait, _TICK_S), _LOOK_S))
            continue
        try:
            await replica.probe()
        except RegistryError:
            pass  # the replica has taken note
        except Exception as exc:  # noqa: BLE001 - a fault of ours must not leave `tidegate_replica_up` for ever as it is
            log.error("probe.failed", registry=replica.registry, replica=replica.name, error=repr(exc)[:256])  # noqa: TRY400 - often
            await asyncio.sleep(again_s)
        quiet_s, again_s = QUIET_S * chance.uniform(1.0, _SPREAD), AGAIN_S * chance.uniform(1.0, _SPREAD)
        await asyncio.sleep(_LEAST_S)
