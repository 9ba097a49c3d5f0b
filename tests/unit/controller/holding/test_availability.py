"""What is written down about images that somebody waits for."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.holding.availability import Availability, status_of
from tidegate.findings import Finding, Missing, ReplicaFinding
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import ImageAvailabilityStatus

DIGEST = "sha256:" + "a" * 64
APP = f"r.example/app@{DIGEST}"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
Until = Callable[..., Awaitable[None]]


def test_a_status_changes_only_when_a_replica_does() -> None:
    missing = Missing(blobs=3, of_blobs=12, bytes=7)
    lacking = (ReplicaFinding("west", Finding.INCOMPLETE, missing=missing), ReplicaFinding("east", Finding.OK))
    first = status_of(ImageAvailabilityStatus(), lacking, first_seen=NOON, now=NOON)
    east, west = first.replicas
    assert (east.name, east.complete, east.lag_seconds) == ("east", True, 0.0)
    assert (west.complete, west.missing.blobs, west.since) == (False, 3, "2026-11-24T12:00:00Z")

    later = NOON + timedelta(seconds=43)
    assert status_of(first, lacking, first_seen=NOON, now=later) is first
    whole = status_of(first, (ReplicaFinding("west", Finding.OK),), first_seen=NOON, now=later)
    assert whole.replicas[0] == east, "one that was not asked stays as it was"
    west = whole.replicas[1]
    assert (west.complete, west.complete_since, west.lag_seconds) == (True, "2026-11-24T12:00:43Z", 43.0)
    assert whole.observed_at == west.since == "2026-11-24T12:00:43Z"

    again = status_of(whole, (ReplicaFinding("west", Finding.OK),), first_seen=NOON, now=later + timedelta(hours=1))
    assert again is whole


async def test_the_object_follows_the_replica_and_is_written_only_when_something_changed(
    held: Any, eventually: Until
) -> None:
    def state() -> list[tuple[bool, int]]:
        objects = held.api.objects("tidegate.dev", "imageavailabilities")
        entries = [entry for obj in objects for entry in obj.get("status", {}).get("replicas", ())]
        return [(entry.get("complete", False), entry.get("missing", {}).get("blobs", 0)) for entry in entries]

    def writes() -> int:
        return sum("imageavailabilities" in seen.path and seen.method != "GET" for seen in held.api.requests)

    held.replicas.findings["app"] = Finding.INCOMPLETE
    held.pod("a", APP)
    async with held.controlled():
        await eventually(lambda: state() == [(False, 3)])
        await eventually(lambda: held.replicas.asked["app"] >= 3)
        assert writes() == 2, "made, and its status once"
        held.replicas.findings["app"] = Finding.OK
        await eventually(lambda: state() == [(True, 0)])
        await eventually(lambda: not held.held())
    (obj,) = held.api.objects("tidegate.dev", "imageavailabilities")
    assert obj["spec"] == {"registry": "r.example", "repository": "app", "digest": DIGEST, "image": APP}
    assert "lagSeconds" in obj["status"]["replicas"][0]
    assert held.metric("tidegate_replica_lag_seconds_count", registry="r.example", replica="westeurope") == 1


@pytest.mark.parametrize(
    "age,left", [pytest.param(timedelta(hours=23), 1, id="of today"), pytest.param(timedelta(hours=25), 0, id="old")]
)
async def test_what_nobody_waits_for_goes_after_a_day(held: Any, age: timedelta, left: int) -> None:
    wall = datetime.now(UTC)
    held.api.put(
        {
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "ImageAvailability", "metadata": {"name": "img-1"},
            "spec": {}, "status": {"observedAt": (wall - age).strftime("%Y-%m-%dT%H:%M:%SZ")},
        },
        plural="imageavailabilities",
    )  # fmt: skip
    observed = Reflector(held.client, IMAGEAVAILABILITIES)
    watching = asyncio.create_task(observed.run())
    await observed.synced.wait()
    availability = Availability(
        held.client,
        observed=observed,
        metrics=held.metrics,
        wall=lambda: wall,
        chance=random.Random(0),  # noqa: S311
    )
    await availability.sweep()
    watching.cancel()
    await asyncio.wait([watching])
    assert len(held.api.objects("tidegate.dev", "imageavailabilities")) == left
