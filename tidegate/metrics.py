"""Every metric, once. Labels never carry image names or digests, so their number is bounded by the configuration."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from tidegate import __version__

_REVIEW_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PULL_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """The metrics of one process, registered in the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry, *, program: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter brings a series that nobody reads
        self.registry = registry
        self.config_valid = Gauge(
            "tidegate_config_valid", "1 while the file on disk is what runs, 0 while it is refused.", registry=registry
        )
        build = Gauge("tidegate_build_info", "Always 1.", ["version", "program"], registry=registry)
        build.labels(__version__, program).set(1)
        self._of_reviews(registry)
        self._of_replicas(registry)
        self._of_pulls(registry)
        self._of_holds(registry)

    def _of_reviews(self, registry: CollectorRegistry) -> None:
        self.reviews = Counter(
            "tidegate_reviews", "Reviews answered.", ["webhook", "mode", "verdict"], registry=registry
        )
        self.findings = Counter(
            "tidegate_findings", "Findings on images of reviews.", ["registry", "finding"], registry=registry
        )
        self.review_duration = Histogram(
            "tidegate_review_duration_seconds", "Seconds from a review's body to its answer.", ["webhook"],
            buckets=_REVIEW_SECONDS, registry=registry,
        )  # fmt: skip
        self.fail_open = Counter(
            "tidegate_fail_open", "Images let through because nothing could be learned.", ["finding"], registry=registry
        )
        self.grandfathered = Counter(
            "tidegate_grandfathered", "Images let through because they ran in their namespace before.", ["finding"],
            registry=registry,
        )  # fmt: skip

    def _of_replicas(self, registry: CollectorRegistry) -> None:
        self.registry_requests = Counter(
            "tidegate_registry_requests", "Requests to replicas, by status code or `error`.",
            ["registry", "replica", "method", "code"], registry=registry,
        )  # fmt: skip
        self.registry_request_duration = Histogram(
            "tidegate_registry_request_duration_seconds", "Seconds of one request to a replica, limits not counted.",
            ["registry", "replica"], buckets=_REQUEST_SECONDS, registry=registry,
        )  # fmt: skip
        self.replica_up = Gauge(
            "tidegate_replica_up", "1 while the replica answers, 0 while its circuit is open.",
            ["registry", "replica"], registry=registry,
        )  # fmt: skip
        self.throttled = Counter(
            "tidegate_throttled", "Answers 429 to `tidegate` (this program) or an `agent` (as the controller heard).",
            ["registry", "caller"], registry=registry,
        )  # fmt: skip

    def _of_pulls(self, registry: CollectorRegistry) -> None:
        self.pull_budget = Gauge(
            "tidegate_pull_budget", "The budget now, in `in_flight` pulls or `requests_per_second`.",
            ["registry", "unit"], registry=registry,
        )  # fmt: skip
        self.pulls_in_flight = Gauge("tidegate_pulls_in_flight", "Grants outstanding.", ["registry"], registry=registry)
        self.pulls = Counter(
            "tidegate_pulls",
            "Grants that ended, by result; the controller counts.",
            ["registry", "result"],
            registry=registry,
        )
        self.pull_duration = Histogram(
            "tidegate_pull_duration_seconds", "Seconds of a clean pull.", ["registry"],
            buckets=_PULL_SECONDS, registry=registry,
        )  # fmt: skip
        self.pull_bytes = Counter(
            "tidegate_pull_bytes",
            "Compressed bytes of clean pulls, from the manifest.",
            ["registry"],
            registry=registry,
        )
        self.grant_wait = Histogram(
            "tidegate_grant_wait_seconds", "Seconds from an image being wanted on a node to its grant.",
            buckets=_PULL_SECONDS, registry=registry,
        )  # fmt: skip
        self.nodes = Gauge(
            "tidegate_nodes", "Nodes by how they stand: warm, warming, or stranded (tainted past the deadline).",
            ["state"], registry=registry,
        )  # fmt: skip

    def _of_holds(self, registry: CollectorRegistry) -> None:
        self.held_pods = Gauge("tidegate_held_pods", "Pods that carry tidegate's replica gate.", registry=registry)
        self.held_pods_overdue = Gauge(
            "tidegate_held_pods_overdue", "Of those, Pods held for longer than policy's deadline.", registry=registry
        )
        self.hold_duration = Histogram(
            "tidegate_hold_duration_seconds", "Seconds from a held Pod's creation to its release.",
            buckets=_PULL_SECONDS, registry=registry,
        )  # fmt: skip
        self.replica_lag = Histogram(
            "tidegate_replica_lag_seconds", "Seconds from an image first seen at home to complete on the replica.",
            ["registry", "replica"], buckets=_PULL_SECONDS, registry=registry,
        )  # fmt: skip
        self.images_unavailable = Gauge(
            "tidegate_images_unavailable", "Images in use that the replica has not, or not whole.",
            ["registry", "replica"], registry=registry,
        )  # fmt: skip
