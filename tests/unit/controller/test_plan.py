"""What is wanted where, change by change; and that any history of changes ends where a fresh plan would begin."""

from hypothesis import given
from hypothesis import strategies as st

from controller.placement import ANYWHERE, Demands, NodeFacts
from controller.plan import Ask, Places, Plan, Progress, host_of

HOST = "registry.test"
A, B, C = (f"{HOST}/{name}:1" for name in "abc")


def node(name: str, uid: str = "u1", **labels: str) -> NodeFacts:
    return NodeFacts(name=name, uid=uid, labels=labels, taints=(), usable=True, platform="")


def plan(*names: str) -> Plan:
    made = Plan(listed=[HOST])
    for name in names:
        made.put_node(name, node(name))
    made.take_changed_nodes()
    return made


def images(made: Plan, name: str) -> list[str]:
    return [want.image for want in made.wants(name)]


def test_higher_priority_first_then_the_older_then_the_askers_order() -> None:
    made = plan("n")
    made.put_ask("default/young", Ask((C,), ANYWHERE, created="2026-02-02T00:00:00Z"))
    made.put_ask("default/old", Ask((B, A), ANYWHERE, created="2026-01-01T00:00:00Z"))
    assert images(made, "n") == [B, A, C]
    made.put_ask("default/urgent", Ask((C,), ANYWHERE, priority=1, created="2026-03-03T00:00:00Z"))
    assert images(made, "n") == [C, B, A]


def test_an_image_that_several_ask_for_is_wanted_once() -> None:
    made = plan("n")
    made.put_ask("default/x", Ask((A, B), ANYWHERE))
    made.put_ask("default/y", Ask((B,), ANYWHERE))
    made.put_ask("default/x", None)
    assert images(made, "n") == [B]


def test_only_listed_registries_and_only_references() -> None:
    made = plan("n")
    made.put_ask("default/x", Ask((A, "elsewhere.test/a:1", "nginx", "no reference", ""), ANYWHERE))
    assert images(made, "n") == [A]
    assert made.progress("default/x") == Progress(1, 0, ("elsewhere.test/a:1", "nginx", "no reference", ""))
    assert host_of("nginx") == "docker.io"


def test_an_ask_is_ready_where_all_its_images_are() -> None:
    made = plan("n", "m")
    made.put_ask("default/x", Ask((A, B), ANYWHERE))
    made.put_present("n", [A])
    assert made.progress("default/x") == Progress(2, 0, ())
    made.put_present("n", [A, B, C])
    assert made.progress("default/x") == Progress(2, 1, ())
    assert made.places("default/x") == Places(nodes=frozenset({"n", "m"}), ready=frozenset({"n"}))
    assert made.places("default/y") == Places()
    made.put_present("n", [B])
    assert made.progress("default/x") == Progress(2, 0, ())


def test_a_node_made_anew_under_its_name_has_nothing() -> None:
    made = plan("n")
    made.put_ask("default/x", Ask((A,), ANYWHERE))
    made.put_present("n", [A])
    made.put_node("n", node("n", uid="u2"))
    assert made.progress("default/x") == Progress(1, 0, ())


def test_changes_are_told_once_and_only_where_something_changed() -> None:
    made = plan("n", "m")
    made.put_node("gpu", node("gpu", gpu="yes"))
    assert made.take_changed_nodes() == {"gpu"}
    made.put_ask("default/x", Ask((A,), Demands(node_selector={"gpu": "yes"})))
    assert (made.take_changed_nodes(), made.take_changed_asks()) == ({"gpu"}, {"default/x"})
    made.put_ask("default/x", Ask((A,), Demands(node_selector={"gpu": "yes"})))
    made.put_node("n", node("n"))
    made.put_present("n", [B])
    made.put_node("stranger", None)
    assert (made.take_changed_nodes(), made.take_changed_asks()) == (set(), set())
    made.put_node("gpu", None)
    assert (made.take_changed_nodes(), made.take_changed_asks()) == ({"gpu"}, {"default/x"})
    assert made.progress("default/x") == Progress(0, 0, ())
    assert made.progress("default/none") is None


def test_many_changed_nodes_are_told_in_portions_each_once() -> None:
    made = plan(*(names := [f"node-{number}" for number in range(7)]))
    made.put_ask("default/x", Ask((A,), ANYWHERE))
    told = []
    while made.has_changed_nodes:
        told.append(made.take_changed_nodes(3))
    assert [len(portion) for portion in told] == [3, 3, 1]
    assert sorted(name for portion in told for name in portion) == names


NAMES = st.sampled_from(["n", "m", "o"])
NODES = st.none() | st.builds(
    NodeFacts,
    name=st.just(""),
    uid=st.sampled_from(["u1", "u2"]),
    labels=st.sampled_from([{}, {"gpu": "yes"}]),
    taints=st.just(()),
    usable=st.booleans(),
    platform=st.just(""),
)
ASKS = st.none() | st.builds(
    Ask,
    images=st.lists(st.sampled_from([A, B, "elsewhere.test/a:1"]), max_size=3, unique=True).map(tuple),
    demands=st.sampled_from([ANYWHERE, Demands(node_selector={"gpu": "yes"})]),
    priority=st.integers(0, 1),
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("node"), NAMES, NODES),
        st.tuples(st.just("ask"), st.sampled_from(["x", "y"]), ASKS),
        st.tuples(st.just("present"), NAMES, st.sets(st.sampled_from([A, B]))),
    ),
    max_size=30,
)


@given(CHANGES)
def test_any_history_ends_where_a_fresh_plan_begins(changes: list[tuple[str, str, object]]) -> None:
    made, nodes, asks, present = Plan(listed=[HOST]), {}, {}, {}
    told: set[str] = set()
    before: dict[str, list[str]] = {}
    for what, name, value in changes:
        if what == "node":
            old = nodes.get(name)
            made.put_node(name, value)  # type: ignore[arg-type]
            nodes[name] = value
            if value is None or (old is not None and old.uid != value.uid):
                present.pop(name, None)
        elif what == "ask":
            made.put_ask(name, value)  # type: ignore[arg-type]
            asks[name] = value
        elif nodes.get(name) is not None:
            made.put_present(name, value)  # type: ignore[arg-type]
            present[name] = value
        told = made.take_changed_nodes()
        now = {name: images(made, name) for name in "nmo"}
        assert {name for name in now if now[name] != before.get(name, [])} <= told, "a change was not told"
        before = now
    fresh = Plan(listed=[HOST])
    for name, value in nodes.items():
        fresh.put_node(name, value)
    for name, value in asks.items():
        fresh.put_ask(name, value)
    for name, value in present.items():
        fresh.put_present(name, value)
    assert {name: made.wants(name) for name in "nmo"} == {name: fresh.wants(name) for name in "nmo"}
    assert {key: made.progress(key) for key in "xy"} == {key: fresh.progress(key) for key in "xy"}


def on(platform: str, name: str) -> NodeFacts:
    return NodeFacts(name=name, uid="u", labels={}, taints=(), usable=True, platform=platform)


def test_an_image_is_wanted_only_where_it_runs() -> None:
    made = Plan(listed=[HOST])
    for name, platform in (("x86", "linux/amd64"), ("arm", "linux/arm64")):
        made.put_node(name, on(platform, name))
    made.put_ask("default/x", Ask((A, B), ANYWHERE))
    made.take_changed_nodes()
    made.put_platforms(A, frozenset({"linux/arm64"}))
    assert made.take_changed_nodes() == {"x86"}
    assert (images(made, "x86"), images(made, "arm")) == ([B], [A, B])
    made.put_platforms(B, frozenset({"linux/arm64"}))
    assert made.progress("default/x") == Progress(1, 0, ()), "nothing of it for the other node"
    made.put_present("arm", [A, B])
    assert (made.progress("default/x"), made.counts("arm"), made.counts("x86")) == (Progress(1, 1, ()), (2, 2), (0, 0))
    made.put_node("new", on("linux/amd64", "new"))
    assert images(made, "new") == []
    made.put_ask("default/x", None)
    made.put_ask("default/y", Ask((A,), ANYWHERE))
    assert images(made, "x86") == [A], "what nobody asked for is forgotten"
    made.put_platforms(A, frozenset())
    assert images(made, "arm") == [], "for none of the cluster's platforms"
