"""Who is served first, what a pull costs on its node, and how images spread behind a mirror."""

from typing import Any

import pytest

from controller.budget import Limits
from controller.granted import Cost
from controller.records import OVERDUE_S
from tidegate.kube.own import Phase, Reason

HOST, OTHER = "registry.test", "other.test"
A, B, C = f"{HOST}/a:1", f"{HOST}/b:1", f"{HOST}/c:1"
ONE = Limits(in_flight=1, rate=1000, burst=1000)


def test_a_node_that_lacks_one_image_goes_before_one_that_lacks_two(make: Any, want: Any) -> None:
    bench = make(ONE)
    bench.nodes("empty", "nearly", wants=[want(A, 0), want(B, 1)])
    bench.say("nearly", A, Phase.PRESENT)
    assert bench.settle() == [("nearly", B)]
    bench.say("nearly", B, Phase.PRESENT, grant="g1")
    assert bench.settle() == [("empty", A)]


def test_nodes_become_whole_one_after_the_other(make: Any, want: Any) -> None:
    bench, served = make(ONE), []
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1), want(C, 2)])
    for turn in range(1, 7):
        [(node, image)] = bench.settle()
        bench.say(node, image, Phase.PRESENT, grant=f"g{turn}")
        served.append(node)
    assert served == [*"nnn", *"mmm"]


def test_priority_goes_before_lacking_little(make: Any, want: Any) -> None:
    bench = make(ONE)
    bench.nodes("nearly", wants=[want(A)])
    bench.nodes("urgent", wants=[want(B, priority=1), want(C, priority=1)])
    assert bench.settle() == [("urgent", B)]


def test_who_lacks_much_is_overtaken_for_so_long_and_no_longer(make: Any, want: Any) -> None:
    bench, now, turn = make(ONE), 0.0, 0
    bench.nodes("empty", wants=[want(A, 0), want(B, 1)])
    while now < 2 * OVERDUE_S:
        turn += 1
        bench.nodes(f"new-{turn}", wants=[want(C)], now=now)
        [(node, image)] = bench.settle(now)
        if node == "empty":
            break
        now += 10.0
        bench.say(node, image, Phase.PRESENT, grant=f"g{turn}", now=now)
    assert OVERDUE_S <= now <= OVERDUE_S + 20


def test_a_pull_costs_what_its_node_lacks_of_it(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=9, rate=10, burst=10))
    base = {f"sha256:{number}" for number in range(6)}
    bench.nodes("n", "m", wants=[want(A, 0), want(B, 1)])
    bench.grants.set_cost(A, Cost(9, 0, frozenset(base)), 0.0)
    bench.grants.set_cost(B, Cost(10, 0, frozenset(base | {"sha256:own"})), 0.0)
    bench.say("n", A, Phase.PRESENT)
    assert bench.settle(0.0) == [("n", B)], "4 of 10: six layers are there"
    assert bench.grants.next_at(0.0) == pytest.approx(0.3), "all 9 of the other: 10 - 4 are left"
    bench.say("n", A)  # it was collected
    bench.say("n", B, Phase.FAILED, grant="g1", reason=Reason.CANCELED)
    assert bench.settle(0.3) == [("m", A)]


def test_a_pull_of_what_is_all_there_costs_one_request(make: Any, want: Any) -> None:
    bench = make(Limits(in_flight=9, rate=1, burst=10))
    bench.nodes("n", wants=[want(A, 0), want(B, 1)])
    for image in (A, B):
        bench.grants.set_cost(image, Cost(3, 0, frozenset({"sha256:1", "sha256:2", "sha256:3"})), 0.0)
    bench.say("n", A, Phase.PRESENT)
    bench.settle(0.0)
    assert bench.budgets[HOST].wait(10, 0.0) == pytest.approx(1.0)


def spread(bench: Any, image: str, *, steps: int) -> list[int]:
    """How many begin with it at each step, if all that was begun is done by the next."""
    begun, now = [], 0.0
    for _ in range(steps):
        granted = bench.grants.settle(now)
        begun.append(len(granted))
        now += 10.0
        for one in granted:
            bench.say(one.node, image, Phase.PRESENT, grant=one.id, now=now)
    return begun


def test_behind_a_mirror_two_seed_and_the_number_doubles(make: Any, want: Any) -> None:
    bench = make(mirrored=[HOST])
    bench.nodes(*(f"n{number}" for number in range(20)), wants=[want(A)])
    assert spread(bench, A, steps=6) == [2, 2, 4, 8, 4, 0]


def test_behind_a_mirror_other_images_do_not_wait_for_one_that_spreads(make: Any, want: Any) -> None:
    bench = make(mirrored=[HOST])
    bench.nodes(*"abcd", wants=[want(A)])
    bench.nodes(*"efgh", wants=[want(B)])
    assert [image for _, image in bench.settle()] == [A, A, B, B]


def test_behind_a_mirror_a_pull_costs_little_once_two_have_it_and_all_again_after_a_throttle(
    make: Any, want: Any
) -> None:
    bench = make(Limits(in_flight=9, rate=10, burst=20), mirrored=[HOST])
    bench.nodes(*"abcdef", wants=[want(A)], cost=10)
    assert len(bench.settle(0.0)) == 2, "and the bucket is empty"
    for number, node in enumerate("ab", start=1):
        bench.say(node, A, Phase.PRESENT, grant=f"g{number}", now=0.2)
    assert bench.settle(0.2) == [("c", A), ("d", A)]
    bench.say("c", A, Phase.FAILED, grant="g3", reason=Reason.THROTTLED, now=0.3)
    assert bench.settle(1.25) == []
    assert bench.settle(5.0) == [("c", A)], "one, at full cost"


def test_behind_a_mirror_a_node_that_went_does_not_keep_its_place(make: Any, want: Any) -> None:
    bench = make(mirrored=[HOST])
    bench.nodes(*"abcd", wants=[want(A)])
    assert bench.settle() == [("a", A), ("b", A)]
    assert bench.settle(1.0) == []
    bench.grants.forget_node("c", 1.0)
    for number, node in enumerate("ab", start=1):
        bench.say(node, A, Phase.PRESENT, grant=f"g{number}", now=2.0)
    assert bench.settle(2.0) == [("d", A)]
