import pytest

from tidegate.completeness import Memory, MemorySettings, Presence, PullCost
from tidegate.findings import FAILURES, Finding, Missing
from tidegate.reference import Digest

DIGEST = Digest("sha256:" + "a" * 64)
KEY = ("r.example", "west", "team/app", DIGEST)
IMAGE = ("r.example", "team/app", DIGEST)
OK = Presence(Finding.OK, DIGEST, Missing(of_blobs=3))
LACKING = Presence(Finding.INCOMPLETE, DIGEST, Missing(blobs=1, of_blobs=3), detail="lacks one")
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Memory:
    return Memory(timer=clock)


@pytest.mark.parametrize(
    "presence, after_s, remembered",
    [
        pytest.param(OK, 0, True, id="complete"),
        pytest.param(OK, 5 * HOUR, True, id="complete-for-hours"),
        pytest.param(OK, 7 * HOUR, False, id="complete-not-for-ever"),
        pytest.param(LACKING, 0, True, id="absence"),
        pytest.param(LACKING, 2, True, id="absence-for-a-moment"),
        pytest.param(LACKING, 5, False, id="absence-at-most-five-seconds"),
        pytest.param(Presence(Finding.ABSENT), 5, False, id="absent-at-most-five-seconds"),
        pytest.param(Presence(Finding.MISMATCH), 5, False, id="mismatch-at-most-five-seconds"),
        *(pytest.param(Presence(failure), 0, False, id=f"never-{failure}") for failure in sorted(FAILURES)),
    ],
)
def test_how_long_what_is_believed(
    memory: Memory, clock: Clock, presence: Presence, after_s: float, *, remembered: bool
) -> None:
    memory.learn(KEY, presence)
    clock.now += after_s
    assert memory.presence(KEY) == (presence if remembered else None)


@pytest.mark.parametrize(
    "other",
    [
        ("other.example", "west", "team/app", DIGEST),
        ("r.example", "east", "team/app", DIGEST),
        ("r.example", "west", "team/other", DIGEST),
        ("r.example", "west", "team/app", "sha256:" + "b" * 64),
    ],
    ids=["registry", "replica", "repository", "digest"],
)
def test_presence_is_a_fact_of_all_four(memory: Memory, other: tuple[str, str, str, str]) -> None:
    memory.learn(KEY, OK)
    assert memory.presence(other) is None


def test_the_latest_proof_counts(memory: Memory) -> None:
    memory.learn(KEY, LACKING)
    memory.learn(KEY, OK)
    assert memory.presence(KEY) == OK
    memory.learn(KEY, LACKING)
    assert memory.presence(KEY) == LACKING


def test_a_failure_changes_nothing(memory: Memory) -> None:
    memory.learn(KEY, OK)
    memory.learn(KEY, Presence(Finding.UNREACHABLE))
    assert memory.presence(KEY) == OK


def test_that_it_was_complete_outlives_the_presence_but_not_a_proof(memory: Memory, clock: Clock) -> None:
    assert not memory.was_complete(IMAGE)
    memory.learn_outcome(IMAGE, Finding.OK)
    clock.now += 48 * HOUR
    memory.learn_outcome(IMAGE, Finding.THROTTLED)
    assert memory.was_complete(IMAGE)
    memory.learn_outcome(IMAGE, Finding.INCOMPLETE)
    assert not memory.was_complete(IMAGE)
    memory.learn_outcome(IMAGE, Finding.UNREACHABLE)
    assert not memory.was_complete(IMAGE)


def test_a_tag_points_somewhere_for_a_moment_only(memory: Memory, clock: Clock) -> None:
    key = ("r.example", "west", "team/app", "v1")
    memory.learn_tag(key, DIGEST)
    assert memory.tag(key) == DIGEST
    clock.now += 1.5
    assert memory.tag(key) is None


def test_a_cost_stays(memory: Memory, clock: Clock) -> None:
    memory.learn_cost(IMAGE, PullCost(3, 4))
    clock.now += 1000 * HOUR
    assert memory.cost(IMAGE) == PullCost(3, 4)


def test_memory_is_bounded_in_bytes_and_forgets_what_was_used_least_recently(clock: Clock) -> None:
    memory = Memory(MemorySettings(complete_bytes=100_000, other_bytes=100_000), timer=clock)
    keys = [("r.example", "west", "team/app", f"sha256:{number:064}") for number in range(10_000)]
    for key in keys:
        memory.learn(key, OK)
        memory.learn(("x", *key[1:]), LACKING)
        memory.learn_tag(key, DIGEST)
        memory.learn_cost(key[1:], PullCost(1, 1))
        memory.learn_outcome(key[1:], Finding.OK)
        memory.presence(keys[0])
    kept = [key for key in keys if memory.presence(key) is not None]
    assert 50 <= len(kept) <= 100
    assert kept[-1] == keys[-1]
    for remembered in (memory.tag(keys[0]), memory.cost(keys[0][1:]), memory.was_complete(keys[0][1:])):
        assert not remembered


def test_what_is_larger_than_the_whole_memory_is_not_remembered(clock: Clock) -> None:
    memory = Memory(MemorySettings(complete_bytes=10), timer=clock)
    memory.learn(KEY, OK)
    assert memory.presence(KEY) is None
