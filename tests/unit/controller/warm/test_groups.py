"""Any history of changes ends where groups that were told only its end would begin."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from controller.placement import NodeFacts
from controller.warm.groups import UNASKED_S, Groups
from controller.warm.pods import Waiting, waiting_of
from controller.warm.standing import LATE_S, Standing
from tidegate.kube.own import NodePull, PrePull
from tidegate.kube.shapes import Pod

HOST = "registry.test"
IMAGES = [f"{HOST}/{name}:1" for name in "ab"]
NODES, PODS = ["n1", "n2", "n3"], ["p1", "p2", "p3"]
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


class World:
    """What there is, and the groups that are told of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodepulls: dict[str, NodePull] = {}
        self.nodes: dict[str, NodeFacts] = {}
        self.pods: dict[str, Waiting] = {}
        self.prepull: PrePull | None = None
        self.groups = self.fresh()

    def fresh(self) -> Groups:
        return Groups(
            listed={HOST}, platforms=(), nodepulls=self.nodepulls, at_once=lambda _: 1, owners=lambda _: (),
            clock=lambda: self.now,
        )  # fmt: skip

    def node(self, name: str, uid: str | None, *, usable: bool) -> None:
        facts = None if uid is None else NodeFacts(name, uid, labels={}, taints=(), usable=usable, platform="")
        self.nodes.pop(name, None)
        if facts is not None:
            self.nodes[name] = facts
        self.groups.put_node(name, facts)

    def report(self, name: str, uid: str, phases: list[str]) -> None:
        entries = [{"image": i, "phase": p, "attempts": 3} for i, p in zip(IMAGES, phases, strict=False)]
        spec = {"nodeUid": uid, "images": [{"image": image} for image in IMAGES]}
        status = {"nodeUid": uid, "agent": "a1", "images": entries}
        told = {"metadata": {"name": name}, "spec": spec, "status": status}
        self.nodepulls[name] = msgspec.convert(told, NodePull)
        self.groups.put_nodepull(name)

    def pod(self, name: str, images: list[str] | None) -> None:
        before = self.pods.pop(name, None)
        if images:
            self.pods[name] = waiting(name, images)
        self.groups.put_pod(before, self.pods.get(name))

    def ask(self, images: list[str]) -> None:
        new = msgspec.convert({"metadata": {"name": "p"}, "spec": {"images": images}}, PrePull)
        self.groups.put_prepull(self.prepull, new)
        self.prepull = new

    def standings(self, groups: Groups) -> dict[str, Standing | None]:
        found = {}
        for key in {one.group for one in self.pods.values()}:
            list(groups.reckon(key))
            group = groups.get(key)
            assert group is not None
            found[key] = group.standing
        return found

    def told_at_once(self) -> Groups:
        groups = self.fresh()
        for name, facts in self.nodes.items():
            groups.put_node(name, facts)
        if self.prepull is not None:
            groups.put_prepull(None, self.prepull)
        for one in self.pods.values():
            groups.put_pod(None, one)
        return groups


def waiting(name: str, images: list[str]) -> Waiting:
    owner = {"kind": "ReplicaSet", "name": "r", "uid": "rs", "controller": True}
    metadata = {"name": name, "namespace": "shop", "uid": name, "ownerReferences": [owner]}
    gates = [{"name": "tidegate.dev/pre-pull"}]
    spec: dict[str, Any] = {"containers": [{"image": image} for image in images], "schedulingGates": gates}
    made = waiting_of(msgspec.convert({"metadata": metadata, "spec": spec}, Pod), listed={HOST}, now=NOW)
    assert made is not None
    return made


UIDS = st.sampled_from(["u1", "u2"])
CHANGES = st.one_of(
    st.tuples(st.just("node"), st.sampled_from(NODES), st.none() | UIDS, st.booleans()),
    st.tuples(
        st.just("report"), st.sampled_from(NODES), UIDS,
        st.lists(st.sampled_from(["Present", "Pulling", "Failed", "Skipped"]), max_size=2),
    ),
    st.tuples(st.just("pod"), st.sampled_from(PODS), st.none() | st.sampled_from([IMAGES[:1], IMAGES])),
    st.tuples(st.just("ask"), st.sampled_from([[], IMAGES[:1], IMAGES])),
)  # fmt: skip


@given(changes=st.lists(CHANGES, max_size=24), passed_s=st.sampled_from([0.0, UNASKED_S, LATE_S]))
def test_a_history_of_changes_ends_where_its_end_begins(changes: list[tuple[Any, ...]], passed_s: float) -> None:
    world = World()
    for kind, *more in changes:
        match kind:
            case "node":
                world.node(more[0], more[1], usable=more[2])
            case "report":
                world.report(*more)
            case "pod":
                world.pod(*more)
            case _:
                world.ask(*more)
    begun = world.told_at_once()
    world.now = passed_s
    assert world.standings(world.groups) == world.standings(begun)


@given(changes=st.lists(CHANGES, max_size=24))
def test_whatever_moves_a_group_is_told(changes: list[tuple[Any, ...]]) -> None:
    world = World()
    stood: dict[str, Standing | None] = {}
    for kind, *more in changes:
        if kind == "node":
            world.node(more[0], more[1], usable=more[2])
        else:
            {"report": world.report, "pod": world.pod, "ask": world.ask}[kind](*more)
        moved = world.groups.take_moved()
        now = world.standings(world.groups)
        for key, standing in now.items():
            assert stood.get(key) == standing or key in moved
        world.groups.take_moved()
        stood = now
