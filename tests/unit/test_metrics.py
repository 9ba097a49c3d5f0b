"""Metric names are promised: dashboards and alerts outside this repository hang on them."""

from prometheus_client import CollectorRegistry, generate_latest

from tidegate.metrics import Metrics

PROMISED = {
    "tidegate_build_info", "tidegate_config_valid", "tidegate_fail_open", "tidegate_findings",
    "tidegate_grandfathered", "tidegate_grant_wait_seconds", "tidegate_held_pods", "tidegate_held_pods_overdue",
    "tidegate_hold_duration_seconds", "tidegate_images_unavailable",
    "tidegate_pull_budget", "tidegate_pull_bytes", "tidegate_pull_duration_seconds",
    "tidegate_pulls", "tidegate_pulls_in_flight", "tidegate_registry_request_duration_seconds",
    "tidegate_registry_requests", "tidegate_replica_lag_seconds", "tidegate_replica_up",
    "tidegate_review_duration_seconds", "tidegate_reviews", "tidegate_throttled",
}  # fmt: skip


def test_every_metric_has_its_promised_name() -> None:
    registry = CollectorRegistry()
    Metrics(registry, program="test")
    assert {family.name.removesuffix("_info") for family in registry.collect()} >= {
        name.removesuffix("_info") for name in PROMISED
    }


def test_a_counter_brings_one_series() -> None:
    registry = CollectorRegistry()
    Metrics(registry, program="test").reviews.labels("validate", "enforce", "deny").inc()
    shown = generate_latest(registry).decode()
    assert 'tidegate_reviews_total{mode="enforce",verdict="deny",webhook="validate"} 1.0' in shown
    assert "_created" not in shown
