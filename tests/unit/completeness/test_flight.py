import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest

from tidegate.completeness.flight import Flights

pytestmark = pytest.mark.looptime

who: ContextVar[str] = ContextVar("who", default="nobody")


class Work:
    """Takes some seconds, counts how often it was begun and how it ended."""

    def __init__(self, seconds: float = 1.0, *, failure: Exception | None = None) -> None:
        self.seconds = seconds
        self.failure = failure
        self.begun = 0
        self.ended = 0
        self.seen = ""

    async def __call__(self) -> str:
        self.begun += 1
        self.seen = who.get()
        await asyncio.sleep(self.seconds)
        self.ended += 1
        if self.failure is not None:
            raise self.failure
        return f"answer {self.begun}"


@pytest.fixture
async def flights() -> AsyncIterator[Flights[str, str]]:
    flights: Flights[str, str] = Flights(bound_s=30, most=2, departure=lambda key: key[1:])
    yield flights
    await flights.aclose()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_identical_work_is_done_once(flights: Flights[str, str]) -> None:
    work = Work()
    answers = await asyncio.gather(*(flights.join("a", work, until=now() + 5) for _ in range(1000)))
    assert (set(answers), work.begun) == ({"answer 1"}, 1)
    assert len(flights) == 0


async def test_different_work_is_not_shared(flights: Flights[str, str]) -> None:
    work = Work()
    await asyncio.gather(flights.join("a", work, until=now() + 5), flights.join("b", work, until=now() + 5))
    assert work.begun == 2


async def test_what_ended_is_begun_anew(flights: Flights[str, str]) -> None:
    work = Work()
    assert await flights.join("a", work, until=now() + 5) == "answer 1"
    assert await flights.join("a", work, until=now() + 5) == "answer 2"


async def test_each_caller_waits_to_its_own_deadline(flights: Flights[str, str]) -> None:
    work = Work(10)
    patient = asyncio.create_task(flights.join("a", work, until=now() + 20))
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        await flights.join("a", work, until=now() + 2)
    assert now() == pytest.approx(3)
    assert await patient == "answer 1"


@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["who-began-it", "who-joined", "the-last"])
async def test_one_callers_cancellation_fails_nobody_else(flights: Flights[str, str], cancelled: int) -> None:
    work = Work(10)
    callers = [asyncio.create_task(flights.join("a", work, until=now() + 20)) for _ in range(3)]
    await asyncio.sleep(1)
    callers[cancelled].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers].count(True) == 1
    assert answers.count("answer 1") == 2


async def test_what_nobody_waits_for_is_finished_for_the_next(flights: Flights[str, str]) -> None:
    work = Work(10)
    with pytest.raises(TimeoutError):
        await flights.join("a", work, until=now() + 1)
    assert await flights.join("a", work, until=now() + 20) == "answer 1"
    with pytest.raises(TimeoutError):
        await flights.join("a", work, until=now() + 1)
    await asyncio.sleep(20)
    assert work.ended == 2


async def test_no_flight_outlasts_its_bound(flights: Flights[str, str]) -> None:
    work = Work(1000)
    with pytest.raises(TimeoutError):
        await flights.join("a", work, until=now() + 100)
    assert now() == pytest.approx(30)
    assert (work.ended, len(flights)) == (0, 0)


async def test_a_failure_reaches_all_who_wait(flights: Flights[str, str]) -> None:
    work = Work(failure=ValueError("a bug"))
    answers = await asyncio.gather(
        *(flights.join("a", work, until=now() + 5) for _ in range(3)), return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["a bug"] * 3
    assert work.begun == 1


async def test_who_finds_no_place_waits_for_one(flights: Flights[str, str]) -> None:
    works = [Work(10) for _ in range(4)]
    callers = [flights.join(key, work, until=now() + 25) for key, work in zip("abcd", works, strict=True)]
    await asyncio.gather(*callers)
    assert now() == pytest.approx(20)


async def test_places_are_those_of_one_departure(flights: Flights[str, str]) -> None:
    keys = [f"{letter}{place}" for place in ("east", "west") for letter in "ab"]
    await asyncio.gather(*(flights.join(key, Work(10), until=now() + 15) for key in keys))
    assert now() == pytest.approx(10)


async def test_who_finds_no_place_in_time_gets_none(flights: Flights[str, str]) -> None:
    busy = [asyncio.create_task(flights.join(key, Work(10), until=now() + 20)) for key in "ab"]
    late = Work()
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        await flights.join("c", late, until=now() + 5)
    await asyncio.gather(*busy)
    assert late.begun == 0
    assert await flights.join("c", late, until=now() + 5) == "answer 1"  # and its place is not lost


async def test_two_who_waited_for_a_place_share_one_flight(flights: Flights[str, str]) -> None:
    busy = [asyncio.create_task(flights.join(key, Work(10), until=now() + 20)) for key in "ab"]
    await asyncio.sleep(1)
    work = Work(1)
    await asyncio.gather(*(flights.join("c", work, until=now() + 20) for _ in range(5)))
    await asyncio.gather(*busy)
    assert work.begun == 1
    assert await flights.join("c", work, until=now() + 5) == "answer 2"


async def test_a_deadline_that_has_passed_begins_nothing(flights: Flights[str, str]) -> None:
    work = Work()
    with pytest.raises(TimeoutError):
        await flights.join("a", work, until=now())
    await asyncio.sleep(1)
    assert work.begun == 0


async def test_a_flight_does_not_speak_in_its_first_callers_name(flights: Flights[str, str]) -> None:
    who.set("a caller")
    work = Work()
    await flights.join("a", work, until=now() + 5)
    assert work.seen == "nobody"


async def test_closing_cancels_and_waits() -> None:
    flights: Flights[str, str] = Flights(bound_s=30, most=2, departure=lambda key: key[1:])
    work = Work(10)
    caller = asyncio.create_task(flights.join("a", work, until=now() + 20))
    await asyncio.sleep(1)
    await flights.aclose()
    with pytest.raises(TimeoutError):
        await caller
    assert (work.ended, len(flights)) == (0, 0)
    with pytest.raises(RuntimeError):
        await flights.join("a", work, until=now() + 1)
