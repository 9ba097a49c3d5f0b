"""What the objects should say, and what they told before a restart. Pure: no API server here."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from controller.adopt import Outstanding, outstanding
from controller.granted import LATE_S, START_S, Cost, Granted
from controller.nodepulls import MOST_IMAGES, desired, differs
from controller.plan import Progress, Want
from controller.prepulls import status_of
from tidegate.kube.own import NodePull, PrePull
from tidegate.kube.times import milli_time

HOST = "registry.test"
A, B, C = (f"{HOST}/{name}:1" for name in "abc")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def wants(*images: str) -> list[Want]:
    return [Want(image, HOST, (0, "", "", place)) for place, image in enumerate(images)]


def granted(image: str, identity: str = "g1") -> Granted:
    return Granted(identity, "n", image, HOST, seconds=61, at=0, deadline=1, expires_at="2026-01-01T12:01:00Z")


def test_a_spec_lists_the_wants_in_order_with_grants_and_sizes() -> None:
    spec = desired("u1", wants(A, B), {B: granted(B), C: granted(C, "g2")}, {B: Cost(1, 500)}.get)
    assert msgspec.to_builtins(spec) == {
        "nodeUid": "u1",
        "images": [
            {"image": A},
            {"image": B, "bytes": 500, "grant": {"id": "g1", "expiresAt": "2026-01-01T12:01:00Z", "seconds": 61}},
            {"image": C, "grant": {"id": "g2", "expiresAt": "2026-01-01T12:01:00Z", "seconds": 61}},
        ],
    }


def test_a_spec_is_bounded_as_its_crd_is_and_keeps_what_is_being_pulled() -> None:
    spec = desired("u1", wants(*(f"{HOST}/{n}:1" for n in range(400))), {C: granted(C)}, lambda _: None)
    assert len(spec.images) == MOST_IMAGES
    assert (spec.images[0].image, spec.images[-1].image) == (f"{HOST}/0:1", C)


def nodepull(images: list[dict[str, Any]], statuses: list[dict[str, Any]] | None = None, uid: str = "u1") -> NodePull:
    return msgspec.convert(
        {
            "metadata": {"name": "n"},
            "spec": {"nodeUid": "u1", "images": images},
            "status": {"nodeUid": uid, "agent": "a", "images": statuses or []},
        },
        NodePull,
    )


GRANT = {"id": "g1", "expiresAt": "2026-01-01T12:01:00Z", "seconds": 61}


@pytest.mark.parametrize(
    "observed, worth",
    [
        pytest.param(nodepull([{"image": A}]), False, id="the-same"),
        pytest.param(nodepull([{"image": A, "bytes": 7}]), False, id="another-size-alone"),
        pytest.param(nodepull([{"image": B}]), True, id="another-image"),
        pytest.param(nodepull([{"image": A}, {"image": B}]), True, id="one-too-many"),
        pytest.param(nodepull([{"image": A, "grant": GRANT}]), True, id="a-grant-to-take-back"),
        pytest.param(
            nodepull([{"image": A, "grant": GRANT}], [{"image": A, "phase": "Present", "grant": "g1"}]),
            False, id="a-grant-that-did-its-work",
        ),
        pytest.param(
            nodepull([{"image": A, "grant": GRANT}], [{"image": A, "phase": "Failed", "grant": "g1"}]),
            True, id="a-grant-that-failed",
        ),
        pytest.param(
            nodepull([{"image": A, "grant": GRANT}], [{"image": A, "phase": "Present", "grant": "g1"}], uid="u0"),
            True, id="the-word-of-another-node",
        ),
    ],
)  # fmt: skip
def test_only_what_matters_is_written(observed: NodePull, *, worth: bool) -> None:
    assert differs(observed, desired("u1", wants(A), {}, {A: Cost(1, 5)}.get)) is worth


def test_a_new_grant_and_a_new_node_are_worth_a_write() -> None:
    assert differs(nodepull([{"image": A}]), desired("u1", wants(A), {A: granted(A)}, lambda _: None))
    assert differs(nodepull([{"image": A}]), desired("u2", wants(A), {}, lambda _: None))


def at(seconds: float) -> str:
    return milli_time(NOW + timedelta(seconds=seconds))


def before(expires: str, *statuses: dict[str, Any], uid: str = "u1", image: str = A) -> Outstanding:
    grant = {"id": "g1", "expiresAt": expires, "seconds": 100}
    objects = [nodepull([{"image": image, "grant": grant}, {"image": B}], list(statuses), uid=uid)]
    return outstanding(objects, hosts={HOST}, wall=NOW, now=1000.0)


@pytest.mark.parametrize(
    "found, left",
    [
        pytest.param(before(at(30)), 130, id="may-still-begin"),
        pytest.param(before(at(-20)), 80, id="may-still-be-pulling"),
        pytest.param(before(at(-99)), 1, id="nearly-over"),
        pytest.param(before(at(-200)), None, id="over"),
        pytest.param(before(at(9000)), START_S + 100, id="from-a-clock-far-ahead"),
        pytest.param(before("tomorrow"), START_S + 100, id="unreadable"),
        pytest.param(before(at(30), {"image": A, "phase": "Failed", "grant": "g1"}), None, id="failed"),
        pytest.param(before(at(30), {"image": A, "phase": "Failed", "grant": "g0"}), 130, id="another-failed"),
        pytest.param(before(at(30), {"image": A, "phase": "Pulling", "grant": "g1"}), 130, id="pulling"),
        pytest.param(before(at(30), {"image": A, "phase": "Present"}), None, id="there"),
        pytest.param(before(at(30), {"image": A, "phase": "Present"}, uid="u0"), 130, id="there-on-another-node"),
        pytest.param(before(at(30), image="elsewhere.test/a:1"), None, id="of-a-registry-no-longer-listed"),
    ],
)
def test_grants_from_before_a_restart_live_as_long_as_they_can_be_used(found: Outstanding, left: float | None) -> None:
    assert [grant.deadline for grant in found.live] == ([] if left is None else [1000.0 + left + LATE_S])


@pytest.mark.parametrize(
    "found, drained",
    [
        (before(at(59), {"image": A, "phase": "Present"}), True),
        (before(at(-1), {"image": A, "phase": "Present"}), False),
        (before(at(-50)), True),
    ],
)
def test_a_bucket_that_was_used_lately_begins_empty(found: Outstanding, *, drained: bool) -> None:
    assert found.drained == ({HOST} if drained else set())


@pytest.mark.parametrize(
    "progress, status, reason, message",
    [
        (Progress(3, 1, ()), "False", "Pulling", "1 of 3 nodes have all images"),
        (Progress(3, 3, ()), "True", "Present", "all of 3 nodes have all images"),
        (Progress(0, 0, ()), "True", "NoNodes", "no node matches"),
        (
            Progress(3, 3, ("x/a", "x/b", "x/c", "x/d", "x/e")), "False", "NotListed",
            "not of a registry in tidegate's configuration: x/a, x/b, x/c and 2 more",
        ),
    ],
)  # fmt: skip
def test_a_prepull_says_how_far_it_is(progress: Progress, status: str, reason: str, message: str) -> None:
    prepull = msgspec.convert({"metadata": {"generation": 4}}, PrePull)
    told = status_of(prepull, progress, now="2026-01-01T00:00:00Z")
    assert (told.nodes, told.ready, told.observed_generation) == (progress.nodes, progress.ready, 4)
    ready, progressing = told.conditions
    assert (progressing.type, progressing.status) == ("Progressing", "True" if told.ready < told.nodes else "False")
    assert (ready.type, ready.status, ready.reason, ready.message) == ("Ready", status, reason, message)
    assert (ready.observed_generation, ready.last_transition_time) == (4, "2026-01-01T00:00:00Z")


def test_a_condition_keeps_its_time_while_its_status_stays_and_others_stay_as_they_are() -> None:
    conditions = [
        {"type": "Mine", "status": "True"},
        {"type": "Ready", "status": "False", "lastTransitionTime": "2025-01-01T00:00:00Z"},
    ]
    prepull = msgspec.convert({"status": {"conditions": conditions}}, PrePull)
    same = status_of(prepull, Progress(3, 1, ()), now="2026-01-01T00:00:00Z")
    other = status_of(prepull, Progress(3, 3, ()), now="2026-01-01T00:00:00Z")
    assert [c.type for c in same.conditions] == ["Mine", "Ready", "Progressing"]
    assert same.conditions[1].last_transition_time == "2025-01-01T00:00:00Z"
    assert other.conditions[1].last_transition_time == "2026-01-01T00:00:00Z"
