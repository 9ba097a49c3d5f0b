"""Root tasks: what has to run as long as the program does. One that ends is an incident with a name."""

from collections.abc import Awaitable
from typing import Any, Never


class RootTaskEnded(RuntimeError):
    """A root task returned; it may only be cancelled."""


async def forever(name: str, body: Awaitable[Any]) -> Never:
    """Run a root task. What it raises says which one it was; when it returns, RootTaskEnded is raised."""
    try:
        await body
    except Exception as exc:
        exc.add_note(f"in root task {name!r}")
        raise
    message = f"root task {name!r} returned"
    raise RootTaskEnded(message)
