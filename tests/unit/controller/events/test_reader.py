"""What the leader makes of what receivers tell, and what it bears."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.events.arrivals import Arrival
from controller.events.matching import Names
from controller.events.reader import Reader, receivers_of
from tidegate.config import ConfigError, parse
from tidegate.process.probes import served
from tidegate.reference import Digest

DIGEST = Digest("sha256:" + "a" * 64)
NAMES = Names(
    parse(
        "{apiVersion: tidegate.dev/v1alpha1, kind: Config, registries: [{host: r.example, replicas: "
        "{a: {endpoint: 'https://a.example', repository: 'mirror/{path}'}}}]}"
    ).registries
)


@dataclass
class Checks:
    """Whose checks are brought forward."""

    hurried: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int:
        self.hurried.append((name, digest, tag))
        return 1


@asynccontextmanager
async def reading(tmp_path: Path, *urls: str, secret: str = "what the leader knows") -> AsyncIterator[Checks]:
    (tmp_path / "secret").write_text(secret)
    receivers = receivers_of(urls, secret_file=tmp_path / "secret", ca_file=None)
    assert receivers is not None
    checks = Checks()
    reader = Reader(receivers, names=NAMES, hurries=[checks], chance=random.Random(0))  # noqa: S311  repeatable jitter
    tasks = [asyncio.create_task(loop(), name=name) for name, loop in reader.loops().items()]
    try:
        yield checks
        assert not any(task.done() for task in tasks), "nothing ends the reading"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_event_brings_the_checks_of_its_image_forward(tmp_path: Path, receiver: Any, eventually: Any) -> None:
    async with reading(tmp_path, receiver.url) as checks:
        receiver.backlog.add([Arrival(("a.example",), "mirror/app", DIGEST), Arrival(("r.example",), "b", None, "1")])
        await eventually(lambda: len(checks.hurried) == 2)
        receiver.backlog.add([Arrival(("stranger.example",), "app"), Arrival(("r.example",), "c")])
        await eventually(lambda: len(checks.hurried) == 3)
    assert checks.hurried == [("r.example/app", DIGEST, None), ("r.example/b", None, "1"), ("r.example/c", None, None)]


async def test_one_receiver_that_is_not_there_keeps_no_other_waiting(
    tmp_path: Path, receiver: Any, eventually: Any
) -> None:
    async with reading(tmp_path, "http://127.0.0.1:1", receiver.url) as checks:
        receiver.backlog.add([Arrival(("r.example",), "app")])
        await eventually(lambda: checks.hurried)


async def test_a_wrong_secret_reads_nothing(tmp_path: Path, receiver: Any) -> None:
    async with reading(tmp_path, receiver.url, secret="something else entirely") as checks:
        receiver.backlog.add([Arrival(("r.example",), "app")])
        await asyncio.sleep(0.05)
    assert not checks.hurried


HOSTILE: dict[str, Callable[[], web.Response]] = {
    "empty": lambda: web.Response(body=b""),
    "html": lambda: web.Response(text="<html>"),
    "null": lambda: web.Response(body=b"null"),
    "deep": lambda: web.Response(body=b'{"x":' * 100_000),
    "huge": lambda: web.Response(body=b'{"next":1,"arrivals":[' + b" " * 5_000_000 + b"]}"),
    "wrong-shape": lambda: web.Response(body=b'{"next":"1","arrivals":{}}'),
    "redirect": lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    "error": lambda: web.Response(status=500),
    "unauthorised": lambda: web.Response(status=401),
    "at-once-and-nothing": lambda: web.Response(body=b'{"next":-7,"arrivals":[]}'),
    "at-once-and-something": lambda: web.Response(
        body=b'{"next":1,"arrivals":[{"hosts":["r.example"],"repository":"\\ud7ff\\u0000"}]}'
    ),
    "no-hosts": lambda: web.Response(body=b'{"next":1,"arrivals":[{"hosts":[],"repository":""}]}'),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
async def test_a_receiver_that_answers_nonsense_is_asked_seldom(tmp_path: Path, answer: Any) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return answer()

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    async with served(app, port=0, host="127.0.0.1") as port, reading(tmp_path, f"http://127.0.0.1:{port}"):
        await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert set(asked) == {"/events"}
        assert len(asked) <= 3


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//x", "ftp://x", "http://events.example", "https://", "https:///x", "https://u:p@events.example",
        "https://events.example/path", "https://events.example?x=1", "https://events.example\n",
    ],
)  # fmt: skip
def test_the_secret_goes_only_where_it_is_safe(tmp_path: Path, url: str) -> None:
    (tmp_path / "secret").write_text("what the leader knows")
    with pytest.raises(ConfigError, match="--events-url"):
        receivers_of([url], secret_file=tmp_path / "secret", ca_file=None)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert receivers_of([], secret_file=None, ca_file=None) is None
    with pytest.raises(ConfigError, match="--events-secret-file"):
        receivers_of(["https://events.example"], secret_file=None, ca_file=None)
    (tmp_path / "secret").write_text("what the leader knows")
    with pytest.raises(ConfigError, match="--events-ca-file"):
        receivers_of(["https://events.example"], secret_file=tmp_path / "secret", ca_file=tmp_path / "none")
    with pytest.raises(ConfigError, match="No such file"):
        receivers_of(["https://events.example"], secret_file=tmp_path / "none", ca_file=None)
