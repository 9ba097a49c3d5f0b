"""A receiver on loopback, in this process."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from controller.events.app import Receiver, create_app
from controller.events.backlog import Backlog
from controller.events.connections import receiving
from controller.events.secret import Secrets
from controller.events.tally import Tally

SENDERS = "what registries know"
READERS = "what the leader knows"


@dataclass
class Running:
    """A receiver that runs, and how to speak to it."""

    url: str
    backlog: Backlog
    tally: Tally
    http: aiohttp.ClientSession
    file: Path
    """Of the senders' secrets."""
    senders: Secrets
    statuses: list[int] = field(default_factory=list)

    async def post(
        self,
        kind: str,
        body: bytes,
        *,
        secret: str | None = f"Bearer {SENDERS}",
        content_type: str = "application/json",
    ) -> int:
        headers = {"Content-Type": content_type} | ({"Authorization": secret} if secret is not None else {})
        async with self.http.post(f"{self.url}/events/{kind}", data=io.BytesIO(body), headers=headers) as response:
            await response.read()
            self.statuses.append(response.status)
            return response.status


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Running]:
    file, other = tmp_path / "senders", tmp_path / "readers"
    file.write_text(f"{SENDERS}\nand what they knew before\n")
    other.write_text(READERS)
    senders = Secrets(file)
    backlog, tally = Backlog(first=1000), Tally()
    app = create_app(
        Receiver(
            backlog, senders=senders, readers=Secrets(other), tally=tally,
            clock=asyncio.get_running_loop().time, wait_s=0.05,
        )
    )  # fmt: skip
    async with receiving(app, port=0, host="127.0.0.1", most=40, idle_s=0.3) as port, aiohttp.ClientSession() as http:
        yield Running(f"http://127.0.0.1:{port}", backlog, tally, http, file, senders)
