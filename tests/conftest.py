"""What every test has in common: no task may outlive its test, and property tests are repeatable."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"still running after the test: {sorted(task.get_name() for task in left)}"
