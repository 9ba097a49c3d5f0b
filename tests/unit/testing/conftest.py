from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tidegate.testing.registry import RegistryDouble


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """`await ask("GET", url, Header="value")`, over one session that follows no redirect."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def ask(method: str, url: str, *, data: Any = None, ssl: Any = True, **headers: str) -> Answer:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            async with session.request(
                method, url, data=data, headers=sent, allow_redirects=False, ssl=ssl
            ) as response:
                return Answer(response.status, dict(response.headers), await response.read())

        yield ask


@pytest.fixture
async def double() -> AsyncIterator[RegistryDouble]:
    async with RegistryDouble() as double:
        yield double
