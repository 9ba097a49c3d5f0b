"""The receiver as registries, the leader and strangers see it."""

import asyncio
import gzip
import json
import re
import socket
from typing import Any

import aiohttp
import pytest

from controller.events.app import MOST_BYTES
from controller.events.arrivals import Arrival

SENDERS, READERS = "what registries know", "what the leader knows"
DIGEST = "sha256:" + "a" * 64
PUSH = {
    "action": "push",
    "target": {"repository": "team/app", "digest": DIGEST, "tag": "v1"},
    "request": {"host": "myregistry.azurecr.io"},
}
BODIES = {
    "acr": json.dumps(PUSH).encode(),
    "distribution": json.dumps({"events": [PUSH]}).encode(),
    "harbor": json.dumps(
        {
            "type": "PUSH_ARTIFACT",
            "event_data": {
                "resources": [{"digest": DIGEST, "tag": "v1", "resource_url": "myregistry.azurecr.io/team/app:v1"}],
                "repository": {"repo_full_name": "team/app"},
            },
        }
    ).encode(),
}
DISTRIBUTIONS = "application/vnd.docker.distribution.events.v2+json"
ARRIVAL = {"hosts": ["myregistry.azurecr.io"], "repository": "team/app", "digest": DIGEST, "tag": "v1"}


async def read(receiver: Any, after: str = "0", *, secret: str = f"Bearer {READERS}") -> tuple[int, Any]:
    headers = {"Authorization": secret}
    async with receiver.http.get(f"{receiver.url}/events", params={"after": after}, headers=headers) as response:
        return response.status, await response.json() if response.status == 200 else await response.text()


@pytest.mark.parametrize("kind", BODIES)
async def test_what_a_registry_posts_is_read_by_the_leader(receiver: Any, kind: str) -> None:
    assert await receiver.post(kind, BODIES[kind]) == 200
    status, told = await read(receiver)
    assert (status, told) == (200, {"next": 1001, "arrivals": [ARRIVAL], "dropped": 0})
    assert await read(receiver, "1001") == (200, {"next": 1001, "arrivals": [], "dropped": 0})


@pytest.mark.parametrize(
    "secret, status",
    [
        pytest.param(f"Bearer {SENDERS}", 200, id="bearer"),
        pytest.param(f"bearer {SENDERS}", 200, id="case-of-the-scheme"),
        pytest.param(SENDERS, 200, id="plain"),
        pytest.param("Bearer and what they knew before", 200, id="an-older-one"),
        pytest.param(None, 401, id="none"),
        pytest.param("", 401, id="empty"),
        pytest.param("Bearer", 401, id="scheme-only"),
        pytest.param("Bearer ", 401, id="scheme-and-nothing"),
        pytest.param(f"Bearer {READERS}", 401, id="the-reader's"),
        pytest.param(f"Basic {SENDERS}", 401, id="another-scheme"),
        pytest.param(SENDERS[:-1], 401, id="too-short"),
        pytest.param(SENDERS + "x", 401, id="too-long"),
        pytest.param(f"{SENDERS}\tand what they knew before", 401, id="both"),
        pytest.param("x" * 4000, 401, id="long"),
        pytest.param("\u00e9" * 16, 401, id="not-ascii"),
    ],
)
async def test_only_who_knows_a_secret_may_post(receiver: Any, secret: str | None, status: int) -> None:
    assert await receiver.post("acr", BODIES["acr"], secret=secret) == status
    assert len(receiver.backlog) == (status == 200)


@pytest.mark.parametrize("secret", ["", "Bearer x", f"Bearer {SENDERS}", SENDERS])
async def test_only_who_knows_the_readers_secret_may_read(receiver: Any, secret: str) -> None:
    assert (await read(receiver, secret=secret))[0] == 401


@pytest.mark.parametrize(
    "kind, body, content_type, status",
    [
        pytest.param("quay", BODIES["acr"], "application/json", 404, id="unknown-kind"),
        pytest.param("ACR", BODIES["acr"], "application/json", 404, id="case"),
        pytest.param("acr/x", BODIES["acr"], "application/json", 404, id="deeper"),
        pytest.param("%2e%2e/events", BODIES["acr"], "application/json", 405, id="climbing"),
        pytest.param("acr", BODIES["acr"], "text/plain", 415, id="text"),
        pytest.param("acr", BODIES["acr"], "application/x-www-form-urlencoded", 415, id="form"),
        pytest.param("acr", BODIES["acr"], "", 415, id="no-type"),
        pytest.param("acr", BODIES["acr"], "application/json; charset=utf-8", 200, id="charset"),
        pytest.param("distribution", BODIES["distribution"], DISTRIBUTIONS, 200, id="own-type"),
        pytest.param("harbor", BODIES["harbor"], "application/cloudevents+json", 200, id="cloudevents-type"),
        pytest.param("acr", b"{}", "application/json", 400, id="empty"),
        pytest.param("acr", b"[" * 100_000, "application/json", 400, id="deep"),
        pytest.param("acr", BODIES["distribution"], "application/json", 400, id="another-kind's"),
        pytest.param("acr", BODIES["acr"].ljust(MOST_BYTES - 1), "application/json", 200, id="full"),
        pytest.param("acr", BODIES["acr"] + b" " * MOST_BYTES, "application/json", 413, id="too-large"),
    ],
)  # fmt: skip
async def test_answers(receiver: Any, kind: str, body: bytes, content_type: str, status: int) -> None:
    assert await receiver.post(kind, body, content_type=content_type) == status
    assert len(receiver.backlog) == (status == 200)


async def test_a_body_that_unfolds_is_bounded_too(receiver: Any) -> None:
    headers = {"Authorization": SENDERS, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = gzip.compress(b" " * 50_000_000)
    async with receiver.http.post(f"{receiver.url}/events/acr", data=body, headers=headers) as response:
        assert response.status in {400, 413}


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "9" * 19, "٣", "0x1", " "])
async def test_a_reader_has_to_ask_after_a_number(receiver: Any, after: str) -> None:
    assert (await read(receiver, after))[0] == 400


async def test_who_guesses_is_soon_told_to_go_away_and_who_knows_is_served_all_the_while(receiver: Any) -> None:
    for _ in range(40):
        await receiver.post("acr", BODIES["acr"], secret="a guess that is wrong")
    assert set(receiver.statuses) == {401, 429}
    assert 8 <= receiver.statuses.count(401) <= 25
    assert await receiver.post("acr", BODIES["acr"]) == 200
    assert (await read(receiver))[0] == 200


async def test_the_file_is_read_again_when_it_changes_and_a_wrong_one_keeps_the_old(receiver: Any) -> None:
    receiver.file.write_text("something else entirely\n")
    receiver.senders.look()
    assert await receiver.post("acr", BODIES["acr"]) == 401
    assert await receiver.post("acr", BODIES["acr"], secret="Bearer something else entirely") == 200
    for wrong in ("", "short", "x" * 20 + "\x07", "é" * 20, "y" * 20_000):
        receiver.file.write_text(wrong)
        receiver.senders.look()
        assert await receiver.post("acr", BODIES["acr"], secret="something else entirely") == 200


async def test_a_flood_is_one_entry_and_few_lines(receiver: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(300):
            tasks.create_task(receiver.post("distribution", BODIES["distribution"]))
    assert set(receiver.statuses) <= {200, 503}
    assert receiver.backlog.after(0)[1] == [Arrival(("myregistry.azurecr.io",), "team/app", DIGEST, "v1")]


async def test_connections_that_say_nothing_are_cut_off(receiver: Any) -> None:
    host, port = re.fullmatch(r"http://(.*):(\d+)", receiver.url).groups()
    silent, slow = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
    async with asyncio.timeout(2):
        reading = [asyncio.create_task(reader.read()) for reader, _ in (silent, slow)]
        while not all(task.done() for task in reading):  # bytes that trickle in buy no time
            slow[1].write(b"P")
            await asyncio.sleep(0.02)
    await asyncio.gather(*reading, return_exceptions=True)
    for _, writer in (silent, slow):
        writer.close()


async def test_connections_are_bounded_and_come_free_again(receiver: Any) -> None:
    host, port = re.fullmatch(r"http://(.*):(\d+)", receiver.url).groups()
    idle = [socket.create_connection((host, int(port))) for _ in range(45)]
    await asyncio.sleep(0.05)
    with pytest.raises(aiohttp.ClientError):
        await receiver.post("acr", BODIES["acr"])
    for one in idle:
        one.close()
    await asyncio.sleep(0.05)
    assert await receiver.post("acr", BODIES["acr"]) == 200


async def test_probes_need_no_secret(receiver: Any) -> None:
    for path in ("livez", "readyz"):
        async with receiver.http.get(f"{receiver.url}/{path}") as response:
            assert response.status == 200
