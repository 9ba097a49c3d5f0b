"""What an object says after what was learned."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.images.inventory import Count
from controller.images.status import MOST_NAMESPACES, Known, is_due, is_over, status_after
from tidegate.findings import FAILURES, Finding, Missing, ReplicaFinding
from tidegate.kube.own import ImageAvailabilityStatus, NamespaceUse, ReplicaAvailability

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EMPTY = ImageAvailabilityStatus()
USED = {"": Count(uses=1)}
LACKING = ReplicaFinding(
    "west", Finding.INCOMPLETE, missing=Missing(manifests=1, blobs=3, bytes=7, of_blobs=12), lacking=("sha256:a",)
)


def ok(replica: str) -> ReplicaFinding:
    return ReplicaFinding(replica, Finding.OK)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def step(
    before: ImageAvailabilityStatus,
    *answers: ReplicaFinding,
    after_s: float = 0.0,
    uses: Mapping[str, Count] = USED,
    replicas: Sequence[str] = ("home", "west"),
) -> ImageAvailabilityStatus:
    known = Known(
        answers={answer.replica: answer for answer in answers},
        uses=uses,
        home="home",
        replicas=replicas,
        first_seen=NOON,
    )
    return status_after(before, known, now=at(after_s))


def entries(status: ImageAvailabilityStatus) -> dict[str, ReplicaAvailability]:
    return {entry.name: entry for entry in status.replicas}


def test_an_image_arrives() -> None:
    lacking = step(EMPTY, ok("home"), LACKING, after_s=1)
    home, west = lacking.replicas
    assert (home.complete, home.lag_seconds, home.complete_since) == (True, 0.0, "2026-11-24T12:00:01Z")
    assert (west.complete, west.finding, west.since) == (False, "incomplete", "2026-11-24T12:00:01Z")
    assert msgspec.to_builtins(west.missing) == {"manifests": 1, "blobs": 3, "bytes": 7, "first": ["sha256:a"]}
    assert (lacking.complete_on, lacking.missing_on, lacking.observed_at) == ("home", "west", "2026-11-24T12:00:01Z")

    assert step(lacking, ok("home"), LACKING, after_s=9) is lacking, "nothing changed"
    whole = step(lacking, ok("west"), after_s=44)
    west = entries(whole)["west"]
    assert (west.complete, west.complete_since, west.lag_seconds) == (True, "2026-11-24T12:00:44Z", 43.0)
    assert entries(whole)["home"] == home, "who was not asked stays"
    assert (whole.complete_on, whole.missing_on) == ("home,west", "")
    assert step(whole, ok("west"), ok("home"), after_s=9999) is whole


def test_lag_is_counted_from_when_home_had_it() -> None:
    absent = ReplicaFinding("home", Finding.ABSENT, missing=Missing(manifests=1))
    waited_for = step(EMPTY, absent, LACKING)
    pushed = step(waited_for, ok("home"), after_s=100)
    assert entries(pushed)["home"].lag_seconds == 0.0, "nothing lags behind itself"
    assert entries(step(pushed, ok("west"), after_s=130))["west"].lag_seconds == 30.0
    both = step(waited_for, ok("home"), ok("west"), after_s=100)
    assert entries(both)["west"].lag_seconds == 0.0


def test_what_was_there_at_the_first_look_never_lagged_and_a_loss_is_no_lag() -> None:
    whole = step(EMPTY, ok("home"), ok("west"), after_s=5000)
    assert entries(whole)["west"].lag_seconds == 0.0
    lost = step(whole, LACKING, after_s=9000)
    west = entries(lost)["west"]
    assert (west.complete, west.complete_since, west.since) == (False, None, "2026-11-24T14:30:00Z")
    assert entries(step(lost, ok("west"), after_s=9999))["west"].lag_seconds == 0.0


@pytest.mark.parametrize("failure", sorted(FAILURES))
def test_a_failure_changes_nothing_that_was_proven(failure: Finding) -> None:
    failed = ReplicaFinding("west", failure, detail="503", retry_after_s=7)
    for proven in (step(EMPTY, ok("west")), step(EMPTY, LACKING)):
        assert step(proven, failed, after_s=60) is proven
    unknown = step(EMPTY, failed)
    (entry,) = unknown.replicas
    assert (entry.complete, entry.finding, unknown.missing_on) == (False, failure.value, "")
    first = step(unknown, ok("west"), after_s=60)
    assert entries(first)["west"].lag_seconds == 0.0, "nobody saw it lag"


def test_replicas_that_are_configured_no_more_go() -> None:
    whole = step(EMPTY, ok("home"), ok("west"))
    assert [entry.name for entry in step(whole, replicas=("home",)).replicas] == ["home"]
    assert step(EMPTY, ok("elsewhere")).replicas == []


DAY = 86400.0
RUNNING = {"shop": Count(uses=3, running=1)}


def test_a_namespace_comes_when_a_node_runs_it_and_goes_a_day_after_the_last_use() -> None:
    pending = step(EMPTY, uses={"shop": Count(uses=3)})
    assert pending.namespaces == []
    running = step(pending, after_s=30, uses=RUNNING | {"mail": Count(uses=1)})
    assert running.namespaces == [NamespaceUse(name="shop", since="2026-11-24T12:00:30Z")]
    scaled = step(running, after_s=60, uses={"shop": Count(uses=1), "mail": Count(uses=1)})
    assert scaled is running, "a template names it still"
    gone = step(running, after_s=60, uses={"mail": Count(uses=1)})
    (entry,) = gone.namespaces
    assert (entry.since, entry.unused_since) == ("2026-11-24T12:00:30Z", "2026-11-24T12:01:00Z")
    assert gone.unused_since is None, "mail wants it"
    assert step(gone, after_s=600, uses=RUNNING).namespaces == running.namespaces
    assert not is_due(gone, now=at(60 + DAY - 1))
    assert is_due(gone, now=at(60 + DAY))
    assert step(gone, after_s=60 + DAY - 1, uses={"mail": Count(uses=1)}).namespaces == [entry]
    assert step(gone, after_s=60 + DAY, uses={"mail": Count(uses=1)}).namespaces == []


def test_an_object_is_over_a_day_after_the_last_use_of_all() -> None:
    used = step(EMPTY, ok("home"), uses=RUNNING)
    unused = step(used, after_s=10, uses={})
    assert unused.unused_since == unused.namespaces[0].unused_since == "2026-11-24T12:00:10Z"
    assert step(unused, after_s=99, uses={}) is unused
    assert [is_over(unused, now=at(after_s)) for after_s in (10, 9 + DAY, 10 + DAY)] == [False, False, True]
    assert step(unused, after_s=99, uses=USED).unused_since is None


def test_namespaces_are_bounded_and_those_that_use_it_stay() -> None:
    many = {f"n{number}": Count(uses=1, running=1) for number in range(MOST_NAMESPACES + 5)}
    full = step(EMPTY, uses=many)
    assert len(full.namespaces) == MOST_NAMESPACES
    left = {name: count for name, count in many.items() if name != "n0"} | {"new": Count(uses=1, running=1)}
    names = {entry.name for entry in step(full, after_s=9, uses=left).namespaces}
    assert (len(names), "n0" in names) == (MOST_NAMESPACES, False)


ANSWERS = st.lists(
    st.builds(
        lambda replica, finding, blobs: ReplicaFinding(replica, finding, missing=Missing(blobs=blobs)),
        st.sampled_from(["home", "west", "gone"]),
        st.sampled_from(list(Finding)),
        st.integers(0, 2),
    ),
    max_size=3,
)
COUNTS = st.dictionaries(st.sampled_from(["", "a", "b"]), st.builds(Count, st.integers(1, 3), st.integers(0, 1)))


@given(st.lists(st.tuples(ANSWERS, COUNTS, st.floats(0, DAY)), max_size=12))
def test_the_same_news_twice_write_nothing_and_what_is_kept_makes_sense(
    steps: list[tuple[list[ReplicaFinding], dict[str, Count], float]],
) -> None:
    status, clock = EMPTY, 0.0
    for answers, uses, later in steps:
        clock += later
        before, status = status, step(status, *answers, after_s=clock, uses=uses)
        assert step(status, *answers, after_s=clock, uses=uses) is status
        assert [entry.name for entry in status.replicas] == sorted({entry.name for entry in status.replicas})
        for entry in status.replicas:
            assert entry.complete is (entry.finding == "ok") is (entry.complete_since is not None)
            assert not entry.complete or entry.lag_seconds is not None
        for name, was in entries(before).items():
            assert (was.lag_seconds is None) or entries(status)[name].lag_seconds == was.lag_seconds
        assert {use.name for use in status.namespaces} >= {name for name, c in uses.items() if name and c.running}
        assert (status.unused_since is None) is bool(uses)
