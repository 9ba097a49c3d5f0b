"""A registry that follows another, late; the clock is virtual."""

import asyncio

import pytest

from tidegate.testing.images import build_image
from tidegate.testing.registry.replication import Lag, Replication
from tidegate.testing.registry.storage import Storage

pytestmark = pytest.mark.looptime

IMAGE = build_image()


@pytest.fixture
def home() -> Storage:
    return Storage()


@pytest.fixture
def replica() -> Storage:
    return Storage()


def here(storage: Storage, repository: str = "app") -> tuple[int, int]:
    """Manifests and blobs."""
    kept = storage.repositories.get(repository)
    return (len(kept.manifests), len(kept.blobs)) if kept is not None else (0, 0)


@pytest.mark.parametrize(
    "lag, after_1_s, after_6_s",
    [
        pytest.param(Lag(), (1, 4), (1, 4), id="none"),
        pytest.param(Lag(manifests_s=0, blobs_s=5), (1, 0), (1, 4), id="the-manifest-comes-first"),
        pytest.param(Lag(manifests_s=5, blobs_s=0), (0, 4), (1, 4), id="blobs-come-first"),
        pytest.param(Lag(manifests_s=None, blobs_s=None), (0, 0), (0, 0), id="never-by-itself"),
    ],
)
async def test_each_kind_arrives_after_its_lag(
    home: Storage, replica: Storage, lag: Lag, after_1_s: tuple[int, int], after_6_s: tuple[int, int]
) -> None:
    replication = Replication(home, replica, lag=lag)
    home.put_image("app", IMAGE, tag="1")

    await asyncio.sleep(1)
    assert here(replica) == after_1_s
    await asyncio.sleep(5)
    assert here(replica) == after_6_s
    replication.stop()


async def test_what_was_there_before_arrives_too(home: Storage, replica: Storage) -> None:
    home.put_image("app", IMAGE, tag="1")
    replication = Replication(home, replica, lag=Lag(manifests_s=1, blobs_s=1))

    await asyncio.sleep(1.1)

    assert here(replica) == (1, 4)
    assert replica.manifest("app", "1") == home.manifest("app", "1")
    replication.stop()


async def test_it_can_be_told_to_catch_up(home: Storage, replica: Storage) -> None:
    replication = Replication(home, replica, lag=Lag(blobs_s=None))
    home.put_image("app", IMAGE, tag="1")
    home.put_image("other", IMAGE, tag="1")
    assert len(replication.waiting) == 8

    replication.catch_up("app")

    assert (here(replica), here(replica, "other")) == ((1, 4), (1, 0))
    replication.catch_up()
    assert (here(replica, "other"), replication.waiting) == ((1, 4), ())
    replication.stop()


async def test_a_new_lag_counts_from_now_on(home: Storage, replica: Storage) -> None:
    replication = Replication(home, replica, lag=Lag(manifests_s=None, blobs_s=None))
    home.put_image("old", IMAGE)
    replication.lag = Lag()
    home.put_image("new", IMAGE)

    assert (here(replica, "old"), here(replica, "new")) == ((0, 0), (1, 4))
    replication.stop()


async def test_it_stops(home: Storage, replica: Storage) -> None:
    replication = Replication(home, replica, lag=Lag(manifests_s=1, blobs_s=1))
    home.put_image("app", IMAGE)
    replication.stop()
    home.put_image("app", build_image(seed="later"))

    await asyncio.sleep(5)

    assert here(replica) == (0, 0)


async def test_a_loss_stays_where_it_happened(home: Storage, replica: Storage) -> None:
    replication = Replication(home, replica, lag=Lag())
    home.put_image("app", IMAGE)

    replica.lose("app", IMAGE.layers[0])

    assert (here(home), here(replica)) == ((1, 4), (1, 3))
    replica.receive("app", IMAGE.layers[0])
    assert here(replica) == (1, 4)
    replication.stop()


def test_only_what_is_there_can_be_lost(home: Storage) -> None:
    with pytest.raises(KeyError):
        home.lose("app", IMAGE.digest)
