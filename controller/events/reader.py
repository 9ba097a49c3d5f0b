"""The leader's side: fetches arrivals from receivers and brings checks forward.

Each receiver is asked by a task of its own, one long request after the other. What fails is tried again after a pause
that grows, is capped and jittered, and nothing else waits for it: without any receiver arrivals are found by asking,
only later. A receiver that floods is read in pages, with a pause after each.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Never, Protocol
from urllib.parse import urlsplit

import aiohttp
import structlog
from yarl import URL

from controller.events.matching import Names
from controller.events.secret import Secrets
from controller.events.wire import DECODE, PATH, WAIT_S, Told
from tidegate.config import ConfigError
from tidegate.config.registries import is_loopback

log = structlog.get_logger()

_CONNECT_S = 5.0
_ANSWER_S = WAIT_S + 10.0
_MOST_BYTES = 4 << 20
_GATHER_S = 0.05
"""After each page."""
_FIRST_PAUSE_S = 0.5
_MOST_PAUSE_S = 30.0
_QUIET_FAILURES = 2
"""A receiver that is replaced is missing for a moment; what goes on is worth a line."""
_FAILED = (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError)


class Hurries(Protocol):
    """Who can bring a check forward: of `domain/path`, what has the digest or the tag; how many that were."""

    def hurry(self, name: str, *, digest: str | None, tag: str | None) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Receivers:
    """Where arrivals are fetched, and how."""

    urls: tuple[URL, ...]
    secrets: Secrets
    tls: ssl.SSLContext


class Failed(ValueError):
    """An answer that is none."""


class Reader:
    """See the module. `names` says which images an arrival is about."""

    def __init__(
        self,
        receivers: Receivers,
        *,
        names: Names,
        hurries: Sequence[Hurries],
        chance: random.Random,
    ) -> None:
        self._receivers = receivers
        self._names = names
        self._hurries = hurries
        self._chance = chance

    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, Never]]]:
        """What has to run for ever, each with its name."""
        reading = {f"read events of {url.authority}": partial(self._read, url) for url in self._receivers.urls}
        return {**reading, "follow events secret": self._receivers.secrets.follow}

    async def _read(self, url: URL) -> Never:
        number, dropped, failures = 0, 0, 0
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        connector = aiohttp.TCPConnector(ssl=self._receivers.tls, limit=1)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while True:
                try:
                    told = await self._ask(session, url, number)
                except _FAILED as exc:
                    failures += 1
                    await self._pause(url, failures, exc)
                    continue
                if told.dropped > dropped:
                    log.warning("events.dropped", receiver=url.authority, dropped=told.dropped - dropped)
                number, dropped, failures = told.next, told.dropped, 0
                self._pass_on(told)
                await asyncio.sleep(_GATHER_S)

    def _pass_on(self, told: Told) -> None:
        sooner = 0
        for arrival in told.arrivals:
            for name in self._names.of(arrival):
                sooner += sum(one.hurry(name, digest=arrival.digest, tag=arrival.tag) for one in self._hurries)
        if sooner:
            log.info("events.read", arrivals=len(told.arrivals), sooner=sooner)

    async def _ask(self, session: aiohttp.ClientSession, url: URL, after: int) -> Told:
        """One page. Raises one of `_FAILED`."""
        asked = url.with_query(after=str(after))
        headers = {"Authorization": self._receivers.secrets.header}
        async with (
            asyncio.timeout(_ANSWER_S),
            session.get(asked, headers=headers, allow_redirects=False) as response,
        ):
            if response.status != HTTPStatus.OK:
                message = f"HTTP {response.status}"
                raise Failed(message)
            body = await response.content.read(_MOST_BYTES)
            while not response.content.at_eof() and len(body) < _MOST_BYTES:
                body += await response.content.read(_MOST_BYTES - len(body))
        return DECODE(body)

    async def _pause(self, url: URL, failures: int, exc: BaseException) -> None:
        if failures > _QUIET_FAILURES:
            words = f"{type(exc).__name__}: {exc}"[:256]
            log.warning("events.unread", receiver=url.authority, failures=failures, error=words)
        pause = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
        await asyncio.sleep(pause * self._chance.uniform(0.5, 1.0))


def receivers_of(urls: Sequence[str], *, secret_file: Path | None, ca_file: Path | None) -> Receivers | None:
    """What the command line says; None where it names no receiver. Raises ConfigError."""
    if not urls:
        return None
    if secret_file is None:
        message = "--events-url needs --events-secret-file"
        raise ConfigError(message)
    asked = tuple(dict.fromkeys(_receiver(url) for url in urls))
    return Receivers(urls=asked, secrets=Secrets(secret_file), tls=_trusting(ca_file))


def _receiver(text: str) -> URL:
    parts = urlsplit(text) if text.isprintable() else urlsplit("")
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not (safe and parts.hostname) or parts.path not in {"", "/"} or parts.query or parts.username is not None:
        message = f"--events-url {text!r:.80}: write it like https://tidegate-events.tidegate.svc:8444"
        raise ConfigError(message)
    return URL(text).with_path(PATH)


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        message = f"--events-ca-file {ca_file}: {exc.strerror or exc}"
        raise ConfigError(message) from exc
