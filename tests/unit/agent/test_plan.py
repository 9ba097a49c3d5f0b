"""Which grant is used next, and what a status looks like on the wire."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.plan import Queue, as_patch, inherited, is_usable, registry_of, summary
from tidegate.kube.own import Grant, NodeImage, NodeImageStatus, NodePullStatus, Phase, Reason

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def image(name: str, grant: str | None, *, expires_at: str = "2026-11-24T12:01:00Z", seconds: float = 60) -> NodeImage:
    return NodeImage(image=name, grant=Grant(id=grant, expires_at=expires_at, seconds=seconds) if grant else None)


@pytest.mark.parametrize(
    "expires_at, seconds, usable",
    [
        pytest.param("2026-11-24T12:00:01Z", 60, True, id="in-time"),
        pytest.param("2026-11-24T12:00:01.250Z", 60, True, id="milliseconds"),
        pytest.param("2026-11-24T13:00:01+01:00", 60, True, id="offset"),
        pytest.param("2026-11-24T12:00:00Z", 60, False, id="just-over"),
        pytest.param("2026-11-24T11:00:00Z", 60, False, id="long-over"),
        pytest.param("2026-11-24T12:00:01", 60, False, id="no-offset"),
        pytest.param("", 60, False, id="empty"),
        pytest.param("soon", 60, False, id="words"),
        pytest.param("2026-11-24T12:00:01Z", 0, False, id="no-seconds"),
        pytest.param("2026-11-24T12:00:01Z", -1, False, id="negative"),
        pytest.param("2026-11-24T12:00:01Z", float("nan"), False, id="nan"),
        pytest.param("2026-11-24T12:00:01Z", float("inf"), False, id="infinite"),
    ],
)
def test_is_usable(expires_at: str, seconds: float, usable: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_usable(Grant(id="g", expires_at=expires_at, seconds=seconds), now=NOW) is usable


@given(st.text(max_size=40), st.floats())
def test_any_grant_is_usable_or_not_and_nothing_worse(expires_at: str, seconds: float) -> None:
    assert is_usable(Grant(id="g", expires_at=expires_at, seconds=seconds), now=NOW) in {True, False}


def picked(
    queue: Queue, images: list[NodeImage], *, answered: dict[str, str] | None = None, running: tuple[str, ...] = ()
) -> str | None:
    queue.see(images)
    found = queue.next(images, answered=answered or {}, running=running, now=NOW)
    return found[0].image if found else None


def test_without_a_grant_nothing_is_pulled() -> None:
    assert picked(Queue(), [image("a", None)]) is None


def test_grants_seen_together_are_used_in_the_order_of_the_plan() -> None:
    assert picked(Queue(), [image("a", None), image("b", "2"), image("c", "1")]) == "b"


def test_the_grant_that_was_seen_first_is_used_first() -> None:
    queue = Queue()
    queue.see([image("a", None), image("b", "1")])
    assert picked(queue, [image("a", "2"), image("b", "1")]) == "b"


def test_a_grant_that_was_taken_back_loses_its_place() -> None:
    queue = Queue()
    queue.see([image("b", "1")])
    queue.see([])
    assert picked(queue, [image("a", "2"), image("b", "1")]) == "a"


@pytest.mark.parametrize(
    "images, answered, running, expected",
    [
        pytest.param([image("a", "1")], {"a": "1"}, (), None, id="used"),
        pytest.param([image("a", "2")], {"a": "1"}, (), "a", id="another"),
        pytest.param([image("a", "2")], {}, ("a",), None, id="running"),
        pytest.param([image("a", "1", expires_at="2026-11-24T11:00:00Z"), image("b", "2")], {}, (), "b", id="over"),
    ],
)
def test_what_is_passed_over(
    images: list[NodeImage], answered: dict[str, str], running: tuple[str, ...], expected: str | None
) -> None:
    assert picked(Queue(), images, answered=answered, running=running) == expected


@pytest.mark.parametrize(
    "text, registry",
    [
        pytest.param("registry.test/app:1", "registry.test", id="host"),
        pytest.param("registry.test:5001/app", "registry.test:5001", id="port"),
        pytest.param("nginx", "docker.io", id="hub"),
        pytest.param("registry.test/App", None, id="malformed"),
        pytest.param("", None, id="empty"),
    ],
)
def test_registry_of(text: str, registry: str | None) -> None:
    assert registry_of(text) == registry


def test_an_agent_inherits_what_was_said_on_this_very_node() -> None:
    said = NodePullStatus(
        node_uid="u1",
        images=[
            NodeImageStatus(image="a", phase=Phase.PULLING, grant="1", attempts=2),
            NodeImageStatus(image="b", phase=Phase.FAILED, grant="2", reason=Reason.THROTTLED, throttled=True),
        ],
    )
    mine = inherited(said, node_uid="u1")
    assert (mine["a"].phase, mine["a"].reason, mine["a"].grant) == (Phase.FAILED, Reason.CANCELED, "1")
    assert mine["a"].attempts == 2
    assert mine["b"] == said.images[1]
    assert inherited(said, node_uid="u2") == {}


def test_a_summary_counts() -> None:
    images = [
        NodeImageStatus(image="a", phase=Phase.PRESENT),
        NodeImageStatus(image="b", phase=Phase.PULLING),
        NodeImageStatus(image="c"),
    ]
    status = summary(images, node_uid="u", agent="n", observed_generation=3)
    assert (status.wanted, status.present, status.pulling) == (3, 1, "b")


def test_a_patch_spells_out_what_went_back_to_its_default() -> None:
    status = summary([NodeImageStatus(image="a")], node_uid="u", agent="n", observed_generation=3)
    assert as_patch(status) == {
        "status": {
            "nodeUid": "u",
            "agent": "n",
            "observedGeneration": 3,
            "wanted": 1,
            "present": 0,
            "pulling": "",
            "images": [{"image": "a", "phase": "Pending"}],
            "addresses": [],
            "advice": [],
        }
    }


@given(st.lists(st.sampled_from(list(Phase)), max_size=5))
def test_a_patch_decodes_to_the_status_it_was_made_of(phases: list[Phase]) -> None:
    images = [NodeImageStatus(image=f"i{number}", phase=phase) for number, phase in enumerate(phases)]
    status = summary(images, node_uid="u", agent="n", observed_generation=1)
    wire = msgspec.json.encode(as_patch(status)["status"])
    assert msgspec.json.decode(wire, type=NodePullStatus) == status


def test_expiry_follows_the_wall_clock() -> None:
    grant = Grant(id="g", expires_at="2026-11-24T12:01:00Z", seconds=60)
    assert is_usable(grant, now=NOW)
    assert not is_usable(grant, now=NOW + timedelta(minutes=1))
