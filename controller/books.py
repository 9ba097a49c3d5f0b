"""What the pre-puller did, for people: one log line and a few metrics for each grant."""

from collections.abc import Mapping

import structlog

from controller.budget import Budget
from controller.granted import THROTTLED, Ended, Granted
from tidegate.metrics import Metrics

log = structlog.get_logger()

_CALLER = "agent"


class Books:
    """See the module."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._steps: dict[str, tuple[int, float]] = {}

    def granted(self, granted: Granted) -> None:
        """A pull may begin."""
        self._metrics.grant_wait.observe(granted.waited_s)
        log.info(
            "pull.granted", grant=granted.id, node=granted.node, image=granted.image,
            waited_s=round(granted.waited_s, 3), seconds=round(granted.seconds),
        )  # fmt: skip

    def ended(self, ended: Ended) -> None:
        """A grant is over."""
        granted = ended.granted
        self._metrics.pulls.labels(granted.host, ended.result).inc()
        if ended.result == THROTTLED:
            self._metrics.throttled.labels(granted.host, _CALLER).inc()
        log.info(
            "pull.ended", grant=granted.id, node=granted.node, image=granted.image, result=ended.result,
            seconds=round(ended.seconds, 3),
        )  # fmt: skip

    def budgets(self, budgets: Mapping[str, Budget]) -> None:
        """How the budgets stand."""
        for host, budget in budgets.items():
            self._metrics.pulls_in_flight.labels(host).set(budget.in_flight)
            step = (budget.limit, budget.rate)
            before = self._steps.get(host)
            if step == before:
                continue
            self._steps[host] = step
            self._metrics.pull_budget.labels(host, "in_flight").set(budget.limit)
            self._metrics.pull_budget.labels(host, "requests_per_second").set(budget.rate)
            if before is not None:
                log.info("budget.moved", registry=host, in_flight=budget.limit, requests_per_second=budget.rate)
