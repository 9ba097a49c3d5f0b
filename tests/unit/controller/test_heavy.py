"""Which images are large enough to be pulled unasked; and that any history ends where a fresh start would begin."""

from hypothesis import given
from hypothesis import strategies as st

from controller.derive import Derived
from controller.granted import Cost
from controller.heavy import Heavy
from controller.placement import ANYWHERE
from tidegate.kube.own import PrePullSpec
from tidegate.kube.shapes import OwnerReference

LIMIT = 1000
LIGHT, HEAVY = Cost(requests=3, bytes=LIMIT), Cost(requests=3, bytes=LIMIT + 1)


def silent(*images: str) -> Derived:
    return Derived("shop", "web", OwnerReference(), PrePullSpec(images=[*images]), ANYWHERE, silent=True)


def asked(heavy: Heavy, key: str) -> list[str]:
    found = heavy.asks(key)
    return found.spec.images if found is not None else []


def test_a_workload_asks_for_what_is_larger_in_its_own_order() -> None:
    heavy = Heavy(LIMIT)
    heavy.put("shop/web", silent("b", "small", "a"))
    assert (heavy.take_unknown(), asked(heavy, "shop/web")) == ({"a", "b", "small"}, [])
    assert len([*heavy.undecided()]) == 1
    heavy.price("a", HEAVY)
    assert heavy.price("b", HEAVY) == {"shop/web"}
    assert asked(heavy, "shop/web") == ["b", "a"]
    heavy.price("small", LIGHT)
    assert [*heavy.undecided()] == []
    assert asked(heavy, "shop/web") == ["b", "a"]


def test_a_size_is_found_once_and_kept_while_somebody_uses_the_image() -> None:
    heavy = Heavy(LIMIT)
    heavy.put("shop/one", silent("a"))
    heavy.put("shop/two", silent("a"))
    assert heavy.take_unknown() == {"a"}
    assert heavy.price("a", HEAVY) == {"shop/one", "shop/two"}
    heavy.put("shop/one", None)
    heavy.put("shop/three", silent("a"))
    assert (heavy.take_unknown(), asked(heavy, "shop/three"), heavy.cost("a")) == (set(), ["a"], HEAVY)
    heavy.put("shop/two", None)
    heavy.put("shop/three", silent("b"))
    assert (heavy.cost("a"), heavy.is_wanted("a"), heavy.take_unknown()) == (None, False, {"b"})


def test_what_nobody_can_tell_is_not_waited_for_but_counts_when_it_is_told() -> None:
    heavy = Heavy(LIMIT)
    heavy.put("shop/web", silent("a"))
    heavy.price("a", None)
    assert ([*heavy.undecided()], asked(heavy, "shop/web"), heavy.is_wanted("a")) == ([], [], True)
    heavy.price("a", HEAVY)
    assert asked(heavy, "shop/web") == ["a"]


lists = st.lists(st.sampled_from("abcd"), unique=True, max_size=3)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("xyz"), st.one_of(st.none(), lists)),
        st.tuples(st.just("price"), st.sampled_from("abcd"), st.sampled_from([LIGHT, HEAVY, None])),
    ),
    max_size=30,
)


@given(changes)
def test_any_history_ends_where_a_fresh_start_would_begin(changes: list[tuple[str, str, object]]) -> None:
    heavy, now = Heavy(LIMIT), dict[str, list[str]]()
    for kind, what, value in changes:
        if kind == "price":
            heavy.price(what, value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            now[what] = value
            heavy.put(what, silent(*value))
        else:
            now.pop(what, None)
            heavy.put(what, None)
    fresh = Heavy(LIMIT)
    for key, images in now.items():
        fresh.put(key, silent(*images))
    for image in {image for images in now.values() for image in images}:
        if (cost := heavy.cost(image)) is not None:
            fresh.price(image, cost)
    for key in "xyz":
        assert asked(heavy, key) == asked(fresh, key)
    assert all(heavy.cost(image) is None for image in "abcd" if not any(image in images for images in now.values()))
