"""Differences are merge patches: applied to the old state they give the new one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.kube.own import NodeImage, NodePullSpec, NodePullStatus
from tidegate.kube.patch import difference
from tidegate.testing.apiserver_objects import merged

# A merge patch cannot say null inside an object, so states hold none; lists are opaque and may.
VALUES = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.dictionaries(st.text("abc", max_size=2), inner, max_size=3) | st.lists(inner | st.none(), max_size=3)
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text("abc", max_size=2), VALUES, max_size=4)


@given(old=OBJECTS, new=OBJECTS)
def test_applied_to_the_old_it_gives_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert merged(old, difference(old, new)) == new


@given(state=OBJECTS)
def test_no_difference_is_no_patch(state: dict[str, Any]) -> None:
    assert difference(state, state) == {}


@pytest.mark.parametrize(
    "old,new,patch",
    [
        pytest.param(NodePullStatus(present=3), NodePullStatus(), {"present": None}, id="back to the default"),
        pytest.param(None, NodePullStatus(present=3), {"present": 3}, id="from nothing"),
        pytest.param(
            NodePullSpec(images=[NodeImage(image="a"), NodeImage(image="b")]),
            NodePullSpec(images=[NodeImage(image="b")]),
            {"images": [{"image": "b"}]},
            id="lists are replaced whole",
        ),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}, id="deep inside"),
        pytest.param({"a": {"b": 1}}, {"a": 5}, {"a": 5}, id="an object becomes a value"),
        pytest.param({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a value becomes an object"),
    ],
)
def test_differences(
    old: msgspec.Struct | dict[str, Any] | None, new: msgspec.Struct | dict[str, Any], patch: dict[str, Any]
) -> None:
    assert difference(old, new) == patch
