"""The queue for one registry."""

from hypothesis import given
from hypothesis import strategies as st

from controller.plan import Order
from controller.waiting import Place, Waiting

FIRST, SECOND = ((0, "2026", "default/x", place) for place in (0, 1))


def served(queue: Waiting[str], place_of: dict[str, Place]) -> list[str]:
    order = []
    while (who := queue.head()) is not None:
        order.append(who)
        queue.discard(place_of[who], who)
    return order


def test_an_image_is_begun_everywhere_before_the_next_and_parts_of_it_go_first() -> None:
    places: dict[str, Place] = {
        "second-on-n": (SECOND, True), "first-on-m": (FIRST, True), "first-on-n": (FIRST, True),
        "second-in-part": (SECOND, False), "first-in-part": (FIRST, False),
    }  # fmt: skip
    queue: Waiting[str] = Waiting()
    for who, place in places.items():
        queue.add(place, who)
        queue.add(place, who)
    assert len(queue) == len(places)
    assert served(queue, places) == ["first-in-part", "first-on-m", "first-on-n", "second-in-part", "second-on-n"]
    queue.discard((FIRST, True), "stranger")
    assert queue.head() is None


ORDERS = st.tuples(st.integers(-1, 1), st.sampled_from(["a", "b"]), st.just(""), st.integers(0, 1))


@given(st.lists(st.tuples(ORDERS, st.booleans(), st.integers(0, 30)), unique_by=lambda entry: entry[2], max_size=20))
def test_it_is_a_stable_sort(entries: list[tuple[Order, bool, int]]) -> None:
    queue: Waiting[str] = Waiting()
    places = {f"{number}": (order, fresh) for order, fresh, number in entries}
    for who, place in places.items():
        queue.add(place, who)
    assert served(queue, places) == sorted(places, key=places.__getitem__)
