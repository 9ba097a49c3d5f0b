"""Which Pods are held, what opens their gate, and when their own deadline lets them go."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.holding.gates import Held, held_of, hold_limit_s
from controller.holding.judge import Rules
from tidegate.findings import Finding, ImageFinding, Mode, Verdict
from tidegate.kube.own import REPLICA_GATE
from tidegate.kube.shapes import Pod, Workload
from tidegate.policy import Policy, Settings

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OURS = [{"name": REPLICA_GATE}]


def held(metadata: dict[str, Any] | None = None, **spec: Any) -> Held | None:
    document = {"metadata": {"name": "p", "namespace": "shop", **(metadata or {})}, "spec": spec}
    return held_of(msgspec.json.decode(msgspec.json.encode(document), type=Pod), now=NOON)


@pytest.mark.parametrize(
    "metadata,spec,is_held",
    [
        pytest.param({}, {"schedulingGates": OURS}, True, id="our gate"),
        pytest.param({}, {"schedulingGates": [{"name": "other"}, *OURS]}, True, id="among others"),
        pytest.param({}, {"schedulingGates": [{"name": "other"}]}, False, id="another gate"),
        pytest.param({}, {}, False, id="no gate"),
        pytest.param({}, {"schedulingGates": OURS, "nodeName": "n"}, False, id="placed"),
        pytest.param({"deletionTimestamp": "2026-11-24T12:00:00Z"}, {"schedulingGates": OURS}, False, id="leaving"),
    ],
)
def test_who_is_held(metadata: dict[str, Any], spec: dict[str, Any], is_held: bool) -> None:  # noqa: FBT001  a table
    assert (held(metadata, **spec) is not None) is is_held


def test_every_image_counts_once_wherever_it_stands() -> None:
    seen = held(
        schedulingGates=OURS,
        containers=[{"image": "a"}, {"image": "b"}],
        initContainers=[{"image": "c"}, {"image": "a"}],
        volumes=[{"name": "v"}, {"image": {"reference": "d"}}],
    )
    assert seen is not None
    assert sorted(seen.images) == ["a", "b", "c", "d"]
    assert seen.created == NOON, "no creation time was given"


@given(st.lists(st.sampled_from(["example.com/a", "example.com/b", "example.com/c"]), unique=True), st.data())
def test_opening_ours_leaves_all_others_in_their_order(others: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(others)))
    gates = [{"name": name} for name in [*others[:place], REPLICA_GATE, *others[place:]]]
    seen = held(schedulingGates=gates)
    assert seen is not None
    assert seen.without_gate() == {"spec": {"schedulingGates": [{"name": name} for name in others] or None}}


@pytest.mark.parametrize(
    "job, limit",
    [
        pytest.param(None, None, id="none"),
        pytest.param({"activeDeadlineSeconds": 20}, 10.0, id="half"),
        pytest.param({}, None, id="a Job without"),
        pytest.param({"activeDeadlineSeconds": "x"}, None, id="nonsense"),
        pytest.param({"activeDeadlineSeconds": 0}, None, id="zero"),
    ],
)
def test_a_jobs_deadline_is_halved(job: dict[str, Any] | None, limit: float | None) -> None:
    assert hold_limit_s(None if job is None else Workload(spec=job)) == limit


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(Finding), max_size=3))
def test_nobody_is_let_through_before_all_images_are_known_and_none_has_to_wait(known: dict[str, Finding]) -> None:
    images = {name: f"r.example/{name}@sha256:{'a' * 64}" for name in ("a", "b", "c")}
    seen = held(schedulingGates=OURS, containers=[{"image": image} for image in images.values()])
    assert seen is not None
    findings = {images[name]: ImageFinding(images[name], finding) for name, finding in known.items()}
    judged = Rules(Policy(Settings(mode=Mode.ENFORCE)), frozenset({"r.example"})).judge(seen, {}, findings)
    if len(known) < len(images):
        assert judged.decision is None
    else:
        assert judged.decision is not None
        passes = judged.decision.verdict in {Verdict.ALLOW, Verdict.WARN}
        assert passes == (set(known.values()) <= {Finding.OK, Finding.EXEMPT, Finding.UNCHANGED})


def test_a_registry_is_known_by_any_spelling_of_its_host() -> None:
    rules = Rules(Policy(), frozenset({"r.example"}))
    reference = rules.reference("R.example:443/app:1")
    assert reference is not None
    assert reference.domain == "r.example"
    assert rules.reference("other.example/app:1") is None
    assert rules.reference("no reference") is None
