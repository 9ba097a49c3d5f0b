"""When a group of Pods has enough warm nodes, and which nodes it does not wait for."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.plan import Places
from controller.warm.standing import Outcome, at_once, is_hopeless, is_unheard, present, stand
from tidegate.kube.own import NodePull
from tidegate.kube.shapes import ReplicaSet, Workload

APP = "r.example/app@sha256:" + "a" * 64
OTHER = "r.example/other:1"
WHOLE = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def places(nodes: str, ready: str = "") -> Places:
    return Places(frozenset(nodes), frozenset(ready))


@pytest.mark.parametrize(
    "nodes, ready, lost, held, wanted, outcome, needed",
    [
        pytest.param("abc", "", "", 1, 1, Outcome.WAITS, 1, id="nowhere-yet"),
        pytest.param("abc", "a", "", 1, 1, Outcome.WARM, 1, id="one-node-for-one-pod"),
        pytest.param("abc", "a", "", 2, 1, Outcome.WAITS, 2, id="one-node-is-not-two"),
        pytest.param("abc", "abc", "", 9, 1, Outcome.WARM, 3, id="more-pods-than-nodes"),
        pytest.param("abc", "a", "", 1, 3, Outcome.WAITS, 3, id="a-rollout-has-three-by-now"),
        pytest.param("abc", "ab", "c", 3, 3, Outcome.WARM, 2, id="the-third-will-not-have-it"),
        pytest.param("abc", "a", "a", 1, 1, Outcome.WARM, 1, id="what-is-there-is-not-lost"),
        pytest.param("", "", "", 1, 1, Outcome.IMPOSSIBLE, 0, id="no-such-node"),
        pytest.param("ab", "", "ab", 1, 1, Outcome.IMPOSSIBLE, 0, id="none-will-have-it"),
    ],
)
def test_enough_is_one_node_for_each_pod_as_far_as_there_are_nodes(
    *, nodes: str, ready: str, lost: str, held: int, wanted: int, outcome: Outcome, needed: int
) -> None:
    standing = stand(places(nodes, ready), lost=set(lost), held=held, at_once=wanted)
    assert (standing.outcome, standing.needed) == (outcome, needed)
    assert (standing.why == "") == (outcome is not Outcome.IMPOSSIBLE)


SETS = st.sets(st.sampled_from("abcdef"))


@given(
    nodes=SETS, ready=SETS, lost=SETS, held=st.integers(1, 9), wanted=st.integers(1, 9), one=st.sampled_from("abcdef")
)
def test_needed_is_bounded_and_good_news_makes_nobody_wait(
    *, nodes: set[str], ready: set[str], lost: set[str], held: int, wanted: int, one: str
) -> None:
    warm = ready & nodes
    given_now = Places(frozenset(nodes), frozenset(warm))
    standing = stand(given_now, lost=lost & nodes, held=held, at_once=wanted)
    assert standing.needed <= max(held, wanted)
    assert standing.needed <= len(nodes)
    assert (standing.outcome is Outcome.IMPOSSIBLE) == (not nodes - (lost - warm))
    if standing.outcome is Outcome.WAITS:
        assert len(warm) < standing.needed
        assert nodes - warm - lost, "there is a node to wait for"
    if one in nodes:
        more = stand(Places(frozenset(nodes), frozenset(warm | {one})), lost=lost & nodes, held=held, at_once=wanted)
        fewer = stand(given_now, lost=(lost | {one}) & nodes, held=held, at_once=wanted)
        if standing.outcome is not Outcome.WAITS:
            assert more.outcome is not Outcome.WAITS
            assert fewer.outcome is not Outcome.WAITS


def nodepull(*entries: dict[str, Any], asked: tuple[str, ...] = (APP,), uid: str = "u1", agent: str = "a1") -> NodePull:
    return msgspec.convert(
        {
            "metadata": {"name": "n"},
            "spec": {"nodeUid": "u1", "images": [{"image": image} for image in asked]},
            "status": {"nodeUid": uid, "agent": agent, "images": [{"image": APP, **entry} for entry in entries]},
        },
        NodePull,
    )


FAILED = {"phase": "Failed", "reason": "NotFound", "attempts": 3, "finishedAt": "2026-11-25T11:59:00Z"}


@pytest.mark.parametrize(
    "entry, hopeless",
    [
        pytest.param({"phase": "Pending"}, False, id="pending"),
        pytest.param({"phase": "Pulling", "attempts": 7}, False, id="trying-again"),
        pytest.param({"phase": "Failed", "attempts": 2}, False, id="failed-twice"),
        pytest.param(FAILED, True, id="failed-again-and-again"),
        pytest.param({**FAILED, "throttled": True}, False, id="a-throttle-passes"),
        pytest.param({"phase": "Skipped", "reason": "NoSpace"}, True, id="no-room"),
        pytest.param({"phase": "Present"}, False, id="there"),
        pytest.param({"image": OTHER, "phase": "Skipped"}, False, id="another-image"),
    ],
)
def test_a_node_that_will_not_have_the_image_is_not_waited_for(entry: dict[str, Any], *, hopeless: bool) -> None:
    assert is_hopeless(nodepull(entry), "u1", {APP}) is hopeless


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(None, id="no-nodepull"),
        pytest.param(nodepull({"phase": "Present"}, agent=""), id="no-agent-yet"),
        pytest.param(nodepull({"phase": "Skipped"}, uid="u0"), id="of-another-node"),
        pytest.param(nodepull(), id="its-agent-has-not-looked"),
        pytest.param(nodepull({"phase": "Pending"}, asked=(OTHER,)), id="not-asked-to-pull-it"),
    ],
)
def test_nothing_is_heard_of_some_nodes(silent: NodePull | None) -> None:
    assert is_unheard(silent, "u1", {APP})
    assert not is_hopeless(silent, "u1", {APP})
    assert present(silent, "u1") == []


def test_something_is_heard_of_the_others() -> None:
    assert not is_unheard(nodepull({"phase": "Pending"}), "u1", {APP})
    assert is_unheard(nodepull({"phase": "Pending"}), "u1", {APP, OTHER})
    assert present(nodepull({"phase": "Present"}), "u1") == [APP]


def test_failures_while_the_image_was_on_its_way_say_nothing() -> None:
    assert not is_hopeless(nodepull(FAILED), "u1", {APP}, whole_since=WHOLE)
    again = {**FAILED, "finishedAt": "2026-11-25T12:01:00Z"}
    assert is_hopeless(nodepull(again), "u1", {APP}, whole_since=WHOLE)


def deployment(generation: int = 2, **status: int) -> Workload:
    return msgspec.convert({"metadata": {"generation": generation}, "status": status}, Workload)


def statefulset(**status: int) -> Workload:
    return msgspec.convert({"metadata": {"generation": 1}, "spec": {"replicas": 3}, "status": status}, Workload)


SIX = msgspec.convert({"spec": {"replicas": 6}}, ReplicaSet)


@pytest.mark.parametrize(
    "owner, above, expected",
    [
        pytest.param(None, None, 1, id="a-pod-by-itself"),
        pytest.param(SIX, None, 1, id="a-replicaset-by-itself"),
        pytest.param(SIX, deployment(observedGeneration=2, replicas=8, updatedReplicas=3), 6, id="rolling"),
        pytest.param(SIX, deployment(observedGeneration=2, replicas=8), 6, id="rolling-with-none-yet"),
        pytest.param(SIX, deployment(observedGeneration=1, replicas=6, updatedReplicas=6), 6, id="about-to-roll"),
        pytest.param(SIX, deployment(observedGeneration=2, replicas=6, updatedReplicas=6), 1, id="rolled-out"),
        pytest.param(SIX, deployment(1), 1, id="new"),
        pytest.param(statefulset(observedGeneration=1, updatedReplicas=2), None, 2, id="a-statefulset-rolls"),
        pytest.param(statefulset(observedGeneration=1, updatedReplicas=3), None, 1, id="a-statefulset-is-there"),
        pytest.param(msgspec.convert({"status": {"active": 4}}, Workload), None, 1, id="a-job"),
    ],
)
def test_a_rollout_counts_the_pods_that_it_has_by_now(
    owner: ReplicaSet | Workload | None, above: Workload | None, expected: int
) -> None:
    assert at_once(owner, above) == expected
