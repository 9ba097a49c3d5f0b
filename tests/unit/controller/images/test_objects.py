"""How many objects there may be, and what is believed between a write and its echo."""

import asyncio
import random
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from controller.images.inventory import Inventory, Use
from controller.images.latest import Latest
from controller.images.naming import image_of
from controller.images.objects import Objects
from tidegate.kube.client import KubeClient
from tidegate.kube.own import ImageAvailability
from tidegate.kube.reflector import Reflector
from tidegate.kube.resources import IMAGEAVAILABILITIES
from tidegate.kube.shapes import Metadata
from tidegate.metrics import Metrics
from tidegate.testing.apiserver import ApiServerDouble


def version(number: int) -> ImageAvailability:
    return ImageAvailability(metadata=Metadata(name="img", uid="u", resource_version=str(number)))


def test_a_write_counts_until_the_copy_shows_it() -> None:
    observed = {"img": version(1)}
    latest = Latest(observed)
    assert latest.get("img") == version(1)
    latest.wrote(version(2))
    latest.seen("img", version(1))
    assert latest.get("img") == version(2), "an older version came late"
    observed["img"] = version(2)
    latest.seen("img", version(2))
    observed["img"] = version(3)
    assert latest.get("img") == version(3), "somebody else's write after it"


def test_an_echo_before_the_answer_a_conflict_and_a_deletion_end_it() -> None:
    observed = {"img": version(2)}
    latest = Latest(observed)
    latest.wrote(version(2))
    observed["img"] = version(3)
    assert latest.get("img") == version(3)
    latest.wrote(version(9))
    latest.doubt("img")
    assert latest.get("img") == version(3)
    latest.wrote(version(9))
    del observed["img"]
    latest.seen("img", None)
    assert latest.get("img") is None


async def test_there_are_no_more_objects_than_the_bound() -> None:
    async with ApiServerDouble() as api, KubeClient(api.connection()) as client:
        observed, inventory = Reflector(client, IMAGEAVAILABILITIES), Inventory()
        objects = Objects(
            client, observed=observed.objects, inventory=inventory, registries={},
            metrics=Metrics(CollectorRegistry(), program="test"), wall=lambda: datetime.now(UTC),
            chance=random.Random(0), most=2,  # noqa: S311  repeatable jitter
        )  # fmt: skip
        running = [asyncio.create_task(observed.run()), asyncio.create_task(objects.run())]
        await observed.synced.wait()
        for number in range(4):
            image = image_of(f"r.example/app:{number}", ())
            assert image is not None
            inventory.change(None, Use("shop", (image,)))
            seen = observed.revision
            objects.touch(image.name)
            if number < 2:
                await asyncio.wait_for(observed.changed(seen), 5)
        await asyncio.sleep(0.05)
        assert len(api.objects("tidegate.dev", "imageavailabilities")) == 2
        for task in running:
            task.cancel()
        await asyncio.wait(running)
