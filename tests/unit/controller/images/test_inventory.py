"""What is used where, by counts alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.images.inventory import Inventory, Use
from controller.images.naming import Image, image_of

HOST = "r.example"


def image(text: str) -> Image:
    found = image_of(f"{HOST}/{text}", {HOST})
    assert found is not None
    return found


APP, WEB = image("app:1"), image("web:1")


def use(namespace: str, *images: Image, ran: Sequence[Image] = ()) -> Use:
    return Use(namespace, images, frozenset(one.name for one in ran))


def counts(inventory: Inventory, of: Image) -> dict[str, tuple[int, int]]:
    return {name: (count.uses, count.running) for name, count in inventory.uses(of.name).items()}


def test_the_first_and_the_last_use_are_news_and_what_is_between_is_not() -> None:
    inventory = Inventory()
    pending, running = use("shop", APP), use("shop", APP, ran=[APP])
    assert inventory.change(None, pending) == {APP.name}
    assert inventory.change(None, pending) == set()
    assert inventory.change(pending, running) == {APP.name}, "it runs now"
    assert inventory.change(pending, running) == set()
    assert counts(inventory, APP) == {"shop": (2, 2)}
    assert inventory.change(None, use("mail", APP)) == {APP.name}, "another namespace"
    assert inventory.change(running, None) == set()
    assert inventory.change(running, None) == {APP.name}
    assert counts(inventory, APP) == {"mail": (1, 0)}
    assert inventory.image(APP.name) == APP
    assert inventory.change(use("mail", APP), None) == {APP.name}
    assert (len(inventory), inventory.image(APP.name)) == (0, None)


def test_a_rollout_changes_the_images_of_one_object() -> None:
    inventory = Inventory()
    inventory.change(None, use("shop", APP))
    assert inventory.change(use("shop", APP), use("shop", WEB)) == {APP.name, WEB.name}
    assert (counts(inventory, APP), counts(inventory, WEB)) == ({}, {"shop": (1, 0)})


@pytest.mark.parametrize(
    "text,same",
    [
        pytest.param("R.example:443/app:1", True, id="another spelling of the listed host"),
        pytest.param("r.example/app:2", False, id="another tag"),
        pytest.param("r.example/app", False, id="the tag that is meant by none"),
        pytest.param("r.example/app:1@sha256:" + "a" * 64, False, id="a digest counts before the tag"),
        pytest.param("s.example/app:1", False, id="another registry"),
    ],
)
def test_which_strings_mean_one_image(text: str, *, same: bool) -> None:
    found = image_of(text, {HOST})
    assert found is not None
    assert (found.name == APP.name) is same


def test_what_is_no_reference_is_no_image() -> None:
    assert image_of("r.example/UPPER", {HOST}) is None


IMAGES = [image(f"i{number}:1") for number in range(4)]
USES = st.builds(
    lambda namespace, images, ran: Use(
        namespace, tuple(images), frozenset(one.name for one in images if one.name in {r.name for r in ran})
    ),
    st.sampled_from(["", "a", "b"]),
    st.lists(st.sampled_from(IMAGES), unique=True, max_size=3),
    st.lists(st.sampled_from(IMAGES), max_size=3),
)


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | USES), max_size=40))
def test_counts_are_those_of_what_is_there_and_news_are_never_missed(steps: list[tuple[int, Use | None]]) -> None:
    inventory, there = Inventory(), dict[int, Use]()
    told: dict[str, set[tuple[str, bool]]] = {}
    for key, new in steps:
        for name in inventory.change(there.get(key), new):
            told[name] = {(ns, count.running > 0) for ns, count in inventory.uses(name).items()}
        there.pop(key, None)
        if new is not None:
            there[key] = new
        for one in IMAGES:
            expected = {
                namespace: (
                    sum(one in u.images for u in there.values() if u.namespace == namespace),
                    sum(one.name in u.ran for u in there.values() if u.namespace == namespace),
                )
                for namespace in {u.namespace for u in there.values() if one in u.images}
            }
            assert counts(inventory, one) == expected
            assert (inventory.image(one.name) is not None) is bool(expected)
            assert told.get(one.name, set()) == {(ns, running > 0) for ns, (_, running) in expected.items()}
