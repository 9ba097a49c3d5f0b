"""What waits for a reader: in order, once, bounded."""

import asyncio

import pytest

from controller.events.arrivals import Arrival
from controller.events.backlog import MOST_AT_ONCE, Backlog

pytestmark = pytest.mark.looptime


def came(name: str) -> Arrival:
    return Arrival(("r.example",), name)


def test_each_is_told_once_and_in_order() -> None:
    backlog = Backlog(first=100)
    backlog.add([came("a"), came("b")])
    number, arrivals = backlog.after(0)
    assert arrivals == [came("a"), came("b")]
    assert backlog.after(number) == (number, [])
    backlog.add([came("c")])
    assert backlog.after(number)[1] == [came("c")]


def test_what_is_told_again_before_it_was_read_is_there_once_and_last() -> None:
    backlog = Backlog(first=0)
    for _ in range(10_000):
        backlog.add([came("a"), came("b"), came("a")])
    assert backlog.after(0)[1] == [came("b"), came("a")]
    assert (len(backlog), backlog.dropped) == (2, 0)


def test_what_is_told_again_after_it_was_read_is_read_again() -> None:
    backlog = Backlog(first=0)
    backlog.add([came("a")])
    number, _ = backlog.after(0)
    backlog.add([came("a")])
    assert backlog.after(number)[1] == [came("a")]


def test_the_oldest_goes_first_and_is_counted() -> None:
    backlog = Backlog(first=0, most=3)
    backlog.add([came(name) for name in "abcde"])
    assert backlog.after(0)[1] == [came("c"), came("d"), came("e")]
    assert backlog.dropped == 2


@pytest.mark.parametrize("number", [0, 99, 10**17])
def test_a_number_of_another_receiver_tells_all(number: int) -> None:
    backlog = Backlog(first=100)
    backlog.add([came("a")])
    assert backlog.after(number) == (101, [came("a")])


def test_much_comes_in_pages_without_gaps() -> None:
    backlog = Backlog(first=0)
    everything = [came(str(number)) for number in range(2 * MOST_AT_ONCE + 7)]
    backlog.add(everything)
    seen: list[Arrival] = []
    number = 0
    while len(seen) < len(everything):
        number, page = backlog.after(number)
        assert 0 < len(page) <= MOST_AT_ONCE
        seen += page
    assert seen == everything


async def test_a_reader_waits_for_what_comes_and_several_may() -> None:
    backlog = Backlog(first=0)
    readers = [asyncio.create_task(backlog.wait(0, at_most_s=25)) for _ in range(3)]
    await asyncio.sleep(10)
    assert not any(reader.done() for reader in readers)
    backlog.add([came("a")])
    assert await asyncio.gather(*readers) == [(1, [came("a")])] * 3
    assert asyncio.get_running_loop().time() == 10


async def test_a_reader_waits_no_longer_than_it_should() -> None:
    assert await Backlog(first=7).wait(7, at_most_s=25) == (7, [])
    assert asyncio.get_running_loop().time() == 25
